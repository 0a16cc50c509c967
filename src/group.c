#include "group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether the process of this folder in /proc runs in the group (proc(5)). */
static int
member_runs(const char *name, pid_t group)
{
	char path[64], text[512], *end, state;
	ssize_t length;
	long its;
	int fd;

	snprintf(path, sizeof path, "/proc/%.20s/stat", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof text - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	/* The name before it may have anything in it, parentheses too. */
	end = strrchr(text, ')');
	return end != NULL && sscanf(end + 1, " %c %*d %ld", &state, &its) == 2 &&
	    its == (long)group && state != 'Z' && state != 'X';
}

int
group_runs(pid_t group)
{
	struct dirent *entry;
	DIR *folder;
	int runs = 0;

	if (kill(-group, 0) < 0 && errno == ESRCH)
		return 0;
	/* Elsewhere there is no telling. */
	if (access("/proc/self/stat", R_OK) < 0 ||
	    (folder = opendir("/proc")) == NULL)
		return 1;
	while (!runs && (entry = readdir(folder)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			runs = member_runs(entry->d_name, group);
	closedir(folder);
	return runs;
}
