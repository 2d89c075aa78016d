/*
 * Contender - the frame of a program that is measured by a contest.
 *
 * It is started as IMPL ROW SIZE KEYS CPU CPU SOCKET: what it is, what to do, with how many things (0: the
 * row knows), and where: its first thread on the first processor, a second one on the second. It prepares, runs some rounds to get warm, says so,
 * and then runs one round for each message that comes in, and answers with its figure. On the
 * end of its input it cleans up and ends.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	CONTENDER_MISSING = 77, /* exit status: what was to be measured is not there */
	CONTENDER_CPUS = 2,
};

struct contender {
	const char *impl;
	uint64_t size, keys;
	int cpus[CONTENDER_CPUS];
	const char *socket; /* of the daemon */
};

struct contender_row {
	const char *name;
	void (*start)(const struct contender *contender);
	/* Thousandths of the row's unit: of ns for an operation, say. */
	uint64_t (*round)(void);
	unsigned warm; /* rounds */
};

/* `stop` undoes what `start` has done beyond this process; either may be NULL. */
int contender_main(int argc, char **argv, const struct contender_row *rows, size_t n,
		   void (*start)(const struct contender *contender), void (*stop)(void));

/* The calling thread, from now on. */
void contender_pin(int cpu);

void contender_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* One turn of a loop that waits for another thread: spins, and then gives way. */
void contender_wait(unsigned *turns);

#ifdef __cplusplus
}
#endif
