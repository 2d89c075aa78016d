#include "daemon/server/left.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/log.h"

static int add(struct left *left, int fd, const char *name)
{
	char **names = realloc(left->names, (left->n + 1) * sizeof(*names));
	int *fds;

	if (!names)
		return -ENOMEM;
	left->names = names;
	fds = realloc(left->fds, (left->n + 1) * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	left->fds = fds;
	names[left->n] = strdup(name);
	if (!names[left->n])
		return -ENOMEM;
	fds[left->n++] = fd;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) ? -errno : 0;
}

static int read_list(struct left *left, int fd)
{
	FILE *list = fdopen(fd, "r");
	char name[256];
	int each, r = 0;

	if (!list)
		return -errno;
	rewind(list);
	while (!r && fscanf(list, "%d %255s", &each, name) == 2)
		r = add(left, each, name);
	fclose(list);
	return r;
}

/* $VARBOS_LEFT: whose it is, and the list's descriptor. */
static int take_own(struct left *left)
{
	const char *text = getenv("VARBOS_LEFT");
	int pid, fd, r = 0;

	if (text && sscanf(text, "%d:%d", &pid, &fd) == 2 && pid == getpid())
		r = read_list(left, fd);
	unsetenv("VARBOS_LEFT");
	return r;
}

void left_tell(int fd)
{
	char text[32];

	snprintf(text, sizeof(text), "%d:%d", (int)getpid(), fd);
	if (fd < 0)
		unsetenv("VARBOS_LEFT");
	else
		setenv("VARBOS_LEFT", text, 1);
}

int left_take(struct left *ret)
{
	char **names = NULL;
	struct left left = {};
	int n;

	n = take_own(&left);
	if (n) {
		log_error("what it had before is unclear: %s", strerror(-n));
		left_deinit(&left);
		return n;
	}
	if (left.n) {
		*ret = left;
		return 0;
	}
	/* For this process alone, by $LISTEN_PID: what it starts is passed nothing. */
	n = sd_listen_fds_with_names(1, &names);
	if (n < 0) {
		log_error("what was passed is unclear: %s", strerror(-n));
		return n;
	}
	left.names = names;
	if (n) {
		left.fds = calloc((size_t)n, sizeof(*left.fds));
		if (!left.fds) {
			log_error("no start: %s", strerror(ENOMEM));
			return -ENOMEM;
		}
	}
	for (left.n = 0; left.n < (uint32_t)n; left.n++)
		left.fds[left.n] = SD_LISTEN_FDS_START + (int)left.n;
	*ret = left;
	return 0;
}

void left_deinit(struct left *left)
{
	for (uint32_t i = 0; i < left->n; i++) {
		free(left->names[i]);
		closep(&left->fds[i]);
	}
	free(left->names);
	free(left->fds);
	*left = (struct left){};
}
