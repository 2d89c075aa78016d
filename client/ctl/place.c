#include "client/ctl/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static enum answer place_take(char *ret, size_t size, const char *path)
{
	if ((size_t)snprintf(ret, size, "%s", path) >= size)
		return answer_say(ANSWER_USAGE, "%s: a socket's path has at most %zu bytes",
				  path, size - 1);
	return ANSWER_OK;
}

enum answer place_find(char *ret, size_t size, const char *said)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat info;
	char path[4096];

	if (!said)
		said = getenv("VARBOS_SOCKET");
	if (said && *said)
		return place_take(ret, size, said);

	if (runtime && *runtime &&
	    (size_t)snprintf(path, sizeof(path), "%s/varbos/varbos.sock", runtime) <
		    sizeof(path) &&
	    !stat(path, &info))
		return place_take(ret, size, path);
	return place_take(ret, size, "/run/varbos/varbos.sock");
}
