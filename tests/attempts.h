/*
 * Attempts - everything that a process may try on a file that it was given, and on another process,
 * and what the kernel says to it.
 *
 * A1  0: it succeeded; else the errno. What succeeds is done: the bytes of `target` are not to be
 *     anyone's.
 * A2  Each attempt succeeds for whoever may: attempts_control() has seen it, so that a denial is
 *     not the attempt's own mistake.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

enum file_attempt {
#define FILE_ATTEMPT(name, text) ATTEMPT_##name,
#include "tests/attempts.def"
	FILE_ATTEMPTS
};

enum process_attempt {
#define PROCESS_ATTEMPT(name, text) ATTEMPT_PROCESS_##name,
#include "tests/attempts.def"
	PROCESS_ATTEMPTS
};

extern const char *const file_attempt_texts[FILE_ATTEMPTS];
extern const char *const process_attempt_texts[PROCESS_ATTEMPTS];

struct attempt_target {
	int fd;
	uint64_t offset,
		size; /* the bytes to try it on: whole pages, or all of a smaller file */
};

int attempt_on_file(enum file_attempt attempt, const struct attempt_target *target);
int attempt_on_process(enum process_attempt attempt, pid_t pid);

/* Who has become another user is one whom /proc believes, and ptrace. */
int attempts_prepare(void);
/*
 * All of it on a file and a child of the process's own. NULL; or what does not even succeed there.
 */
const char *attempts_control(void);
