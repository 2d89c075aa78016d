/*
 * Contest - several implementations of one thing, each in a process of its own, in turns.
 *
 * O1  Each contender is a program beside this one (contender.h) that does the same operations on
 *     the same random sequence. It is warm before the first round counts.
 * O2  One runs while the others sleep: a round of each, then the next of each, in an order that
 *     rotates, so that the machine's moods meet all of them. What is told are medians.
 * O3  A contender that cannot be had is named on stderr, and has no row.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct harness;

enum side {
	SIDE_VARBOS,
	SIDE_PEER,  /* what varbos is held against */
	SIDE_EMPTY, /* the loop with nothing in it: to be subtracted by who reads */
};

struct side_program {
	const char *impl;
	enum side side;
	const char *program; /* beside this one */
	const char *preload; /* a library instead of libc's malloc; NULL: none */
	const char *package; /* of Debian, that has it */
};

struct contest {
	const char *bench;
	uint64_t size, keys; /* both told, unless 0; keys: of what there are so many */
	const char *unit;
	bool value;       /* a figure that is no time: a rate, or a ratio */
	bool few;         /* no more rounds than need be: the figure hardly varies */
	unsigned seconds; /* that rounds are made for; 0: as always */
	const struct side_program *sides;
	size_t n_sides;
};

void contest_run(struct harness *harness, const struct contest *contest);
