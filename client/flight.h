/*
 * Flight - a key whose value a thread of this process is after: the others wait for that one.
 *
 * FL1  Of a cache's opening and a key hash there is at most one, of the thread that leads it. It ends it
 *      with what has become of it; who has waited then looks for the value.
 * FL2  No thread waits for a flight that cannot end before it goes on: one that it leads itself, or whose
 *      leader waits, over however many others, for one that it leads.
 * FL3  A forked child has none of its parent's.
 */
#pragma once

#include <stdint.h>

struct flight;

enum {
	FLIGHT_E_ENDED =
		1,         /* it was another's, and *ret_code says why it has failed; 0: look */
	FLIGHT_E_OTHERS,   /* it is another's still */
	FLIGHT_E_DEADLOCK, /* FL2 */
};

/*
 * 0: *ret is the calling thread's. Waits for another's until then, of CLOCK_MONOTONIC; 0: not at all.
 * -ENOMEM.
 */
int flight_join(struct flight **ret, uint64_t opening, uint64_t hash, uint64_t deadline_ns,
		uint32_t *ret_code);
void flight_end(struct flight *flight, uint32_t code);
