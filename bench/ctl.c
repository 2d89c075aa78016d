#include "bench/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

bool ctl_cache(const char *socket, const char *field, uint64_t *ret)
{
	char path[4096], command[sizeof(path) + 256], name[64], page[8192];
	FILE *output;
	size_t n;
	char *at;

	if (!ctl_find(path, sizeof(path)))
		return false;
	snprintf(command, sizeof(command), "'%s' --socket '%s' --json caches", path, socket);
	output = popen(command, "re");
	if (!output)
		return false;
	n = fread(page, 1, sizeof(page) - 1, output);
	page[n] = 0;
	if (pclose(output))
		return false;
	snprintf(name, sizeof(name), "\"%s\":", field);
	at = strstr(page, name);
	if (!at)
		return false;
	*ret = strtoull(at + strlen(name), NULL, 10);
	return true;
}
