/*
 * Answer - how varbosctl ends: one exit status, and on stderr one line that says why.
 *
 * The status of a refusal by the daemon is the third column of proto/errors.def.
 */
#pragma once

#include <stdint.h>

#include "base/base.h"

struct wire_fault;

enum answer {
	ANSWER_OK = 0,
	ANSWER_FAILED = 1,
	ANSWER_USAGE = 2,
	ANSWER_NOT_FOUND = 3,
	ANSWER_UNREACHABLE = 4,
	ANSWER_PERMISSION = 5,
	ANSWER_MEMORY = 6,
	ANSWER_TIMEOUT = 8,
	ANSWER_VERSION = 9,
};

/* "varbosctl: ..." on stderr; returns `answer`. */
enum answer answer_say(enum answer answer, const char *format, ...) _printf_(2, 3);

/* What the daemon refused, with its numbers. */
enum answer answer_fault(const char *what, const struct wire_fault *fault);

/* The status that belongs to a code of errors.def; ANSWER_FAILED if it is not one. */
enum answer answer_of_code(uint64_t code);
