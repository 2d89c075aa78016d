#include "bench/ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool ctl_beside(char *ret, size_t size, const char *name)
{
	char here[4096], *slash;
	ssize_t length = readlink("/proc/self/exe", here, sizeof(here) - 1);

	if (length < 0)
		return false;
	here[length] = 0;
	slash = strrchr(here, '/');
	if (slash)
		*slash = 0;
	return (size_t)snprintf(ret, size, "%s/%s", here, name) < size && !access(ret, X_OK);
}

bool ctl_find(char *ret, size_t size)
{
	const char *said = getenv("VARBOSCTL");

	if (said && *said)
		return (size_t)snprintf(ret, size, "%s", said) < size;
	return ctl_beside(ret, size, "varbosctl") ||
	       ctl_beside(ret, size, "../client/ctl/varbosctl");
}

/* What a verb prints. False: it failed. */
static bool printed(const char *path, const char *socket, const char *verb, char *ret,
		    size_t size)
{
	int ends[2], status;
	size_t n = 0;
	ssize_t some;
	pid_t pid;

	ret[0] = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (!pid) {
		dup2(ends[1], STDOUT_FILENO);
		execl(path, path, "--socket", socket, "--json", verb, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while (n < size - 1 && (some = read(ends[0], ret + n, size - 1 - n)) > 0)
		n += (size_t)some;
	ret[n] = 0;
	close(ends[0]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       !WEXITSTATUS(status);
}

static bool number(const char *socket, const char *verb, const char *field, uint64_t *ret)
{
	char path[4096], name[64], page[8192];
	char *at;

	if (!ctl_find(path, sizeof(path)) || !printed(path, socket, verb, page, sizeof(page)))
		return false;
	snprintf(name, sizeof(name), "\"%s\":", field);
	at = strstr(page, name);
	if (!at)
		return false;
	*ret = strtoull(at + strlen(name), NULL, 10);
	return true;
}

bool ctl_cache(const char *socket, const char *field, uint64_t *ret)
{
	return number(socket, "caches", field, ret);
}

bool ctl_status(const char *socket, const char *field, uint64_t *ret)
{
	return number(socket, "status", field, ret);
}
