/* The terminal's echo, as a signal handler and an exit see it. */
#ifndef SMTPTEST_TTY_H
#define SMTPTEST_TTY_H

/* Puts back the terminal whose echo is off; nothing when there is none.
 * Async-signal-safe. */
void tty_restore(void);

#endif
