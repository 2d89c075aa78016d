#include "daemon/server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/wire.h"

static bool to_journal;
static _Atomic enum log_level level_max = LOG_LEVEL_INFO;
static _Thread_local char last_error[512]; /* of the thread that starts the daemon */

/* The variable outlives redirections: only if it names our standard error is that the journal. */
void log_open(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	int end = 0;

	to_journal = stream && sscanf(stream, "%llu:%llu%n", &device, &inode, &end) == 2 &&
		     !stream[end] && !fstat(STDERR_FILENO, &st) && st.st_dev == device &&
		     st.st_ino == inode;
}

void log_limit(enum log_level level)
{
	level_max = level;
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

/* Names come from clients, paths from anybody: none of them may begin a line of its own. */
static void clean(char *text)
{
	bool is_clean = mutant(log_lines_forged) || wire_str_is_clean(wire_str(text));

	for (; !is_clean && *text; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
			*text = '?';
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
	line[used] = '\0';
	clean(line);
	if (level == LOG_LEVEL_ERROR)
		snprintf(last_error, sizeof(last_error), "%.*s", (int)(used - (size_t)start),
			 line + start);
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* there is no one left to tell */
}

void log_tell(int fd, unsigned code)
{
	char line[sizeof(last_error) + 16];
	int n = snprintf(line, sizeof(line), "%u %s\n", code, last_error);

	if (write(fd, line, (size_t)n) < 0)
		return; /* no one waits any more */
}
