/*
 * Hands - processes that do what this one does, at the same time.
 *
 * They are forked from it, each on a processor of its own as far as there are, and wait to be told
 * what to do; they end with it. This one is hand 0.
 */
#pragma once

#include "bench/contender.h"

enum { HANDS_MAX = 16 };

/* `ready` is the first thing that each of the others does; then they wait. */
void hands_start(const struct contender *contender, unsigned n,
		 void (*ready)(const struct contender *contender, unsigned hand));
void hands_stop(void);

/* Told to all, done by all: then it returns. What it takes, in ns. */
uint64_t hands_do(void (*work)(void));
