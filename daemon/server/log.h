/*
 * Log - one event, one line, on standard error, where journald reads it.
 *
 * Lines start with a syslog level ("<4>") when standard error is the journal's, and with the
 * level's name when a person is likely to read them.
 */
#pragma once

#include "base/base.h"

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6
};

/* Is standard error the journal? */
void log_open(void);
/* The least urgent lines that are written. */
void log_limit(enum log_level level);
/* Whatever is among the arguments, it is one line: control characters become question marks. */
void log_line(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)

/*
 * Write the last error once more to someone who waits for it at a descriptor: the code that a
 * client would be answered with (proto/errors.def), a blank, the line.
 */
void log_tell(int fd, unsigned code);
