#include "daemon/server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool to_journal;
static enum log_level level_max = LOG_LEVEL_INFO;
static _Thread_local char last_error[512]; /* of the thread that starts the daemon */

void log_init(bool quiet)
{
	level_max = quiet ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO;
	to_journal = getenv("JOURNAL_STREAM") != NULL;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_NOTICE:
		return "notice";
	case LOG_LEVEL_INFO:
		return "info";
	}
	return "?";
}

/* One write(2) a line: lines of several threads or processes do not mix. */
void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	size_t used;
	va_list args;
	int n, start;

	if (level > level_max)
		return;
	n = to_journal ? snprintf(line, sizeof(line), "<%d>", (int)level)
		       : snprintf(line, sizeof(line), "varbosd: %s: ", level_name(level));
	start = n;
	used = (size_t)n;
	va_start(args, format);
	n = vsnprintf(line + used, sizeof(line) - used, format, args);
	va_end(args);
	if (n > 0)
		used += (size_t)n;
	if (used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	if (level == LOG_LEVEL_ERROR)
		snprintf(last_error, sizeof(last_error), "%.*s", (int)(used - (size_t)start),
			 line + start);
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* there is no one left to tell */
}

void log_tell(int fd)
{
	char line[sizeof(last_error) + 1];
	int n = snprintf(line, sizeof(line), "%s\n", last_error);

	if (write(fd, line, (size_t)n) < 0)
		return; /* no one waits any more */
}
