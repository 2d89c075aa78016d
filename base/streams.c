#include "base/streams.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"

void streams_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int way = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) >= 0 || mutant(streams_closed))
			continue;
		/* The lowest number that is free is this one. */
		if (open("/dev/null", way) != fd)
			abort();
	}
}
