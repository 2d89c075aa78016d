/*
 * Wait - asleep until another process changes one of two words.
 *
 * V1  What a channel's ends wait for is a word of the channel, which a peer changes; what a
 *     peer's death changes is the root file's `deaths`. Who waits for both misses neither.
 * V2  Where the kernel waits on one word only (futex_waitv() is of Linux 5.16), it waits on the
 *     first, and looks at the second every 50 ms.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct wait_word {
	const _Atomic uint32_t *word; /* in shared memory; read-only will do */
	uint32_t value;
};

/*
 * Sleep while both words are what they were, at the longest until `deadline_ns` of
 * CLOCK_MONOTONIC (0: for good). May return early: look again.
 */
void wait_either(struct wait_word first, struct wait_word second, uint64_t deadline_ns);

/* Whoever sleeps on that word, in any process. */
void wait_wake(_Atomic uint32_t *word);
