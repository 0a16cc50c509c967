/* A thread for a call that can only wait. */
#ifndef SMTPTEST_THREAD_H
#define SMTPTEST_THREAD_H

/* Runs run(argument) in a detached thread that no signal reaches. Returns 0 or
 * an errno value. */
int thread_start(void *(*run)(void *), void *argument);

/* For its last words: makes the other end of pipe fd readable, closes fd. */
void thread_signal(int fd);

#endif
