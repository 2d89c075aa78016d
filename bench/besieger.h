/*
 * Besieger - a client that does at once all that no client should: it writes anything over all that it
 * may write, asks in any words, sends descriptors, forks, stops, execs, and never says good-bye.
 *
 * What one does follows from its seed; what comes of it, from who else runs. It ends when its process
 * group is killed, or with its lifeline.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What came of it: where all of them count. */
struct siege_counts {
	_Atomic uint64_t entered; /* with a space, lanes and all */
	_Atomic uint64_t gone, frames, records, words, descriptors;
};

struct siege {
	const char *socket;
	const char *space; /* its own; made if there is none */
	uint64_t seed;
	int counts;   /* a file with a struct siege_counts */
	bool alone;   /* one process that never sleeps */
	int lifeline; /* its end is the siege's; -1: its parent's is */
};

_Noreturn void besiege(const struct siege *siege);

/* One of them goes on in a new image of this program: to be called first thing in main(). */
void besieger_again(int argc, char **argv);
