#include "daemon/server/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/base.h"

static char path[PATH_MAX];
static char **arguments;

int program_remember(int argc, char **argv, bool is_keeper)
{
	const char *name =
		(const char *)getauxval(AT_EXECFN); // NOLINT(performance-no-int-to-ptr)
	char folder[PATH_MAX];
	int n = 0;

	arguments = calloc((size_t)argc + 1, sizeof(*arguments));
	if (!arguments)
		return -ENOMEM;
	for (int i = 0; i < argc; i++)
		if (i != 1 || !is_keeper)
			arguments[n++] = argv[i];
	if (!name || !getcwd(folder, sizeof(folder)))
		return -errno;
	if (*name == '/')
		*folder = '\0';
	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", name) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	return 0;
}

const char *program_path(void)
{
	return path;
}

char *const *program_arguments(void)
{
	return arguments;
}

int program_exec(char *const *argv)
{
	execv(path, argv);
	if (errno == ENOENT)
		execv("/proc/self/exe", argv);
	return -errno;
}
