/*
 * Crew - threads that help with one large copy, and end with it.
 *
 * CW1 They live while the call does. So nothing of them is left when a program forks, changes its
 *     user or namespaces, or ends, and there is nobody to wake, to keep, or to make anew.
 * CW2 There are as many, the caller among them, as processors that it may run on, CREW_MAX at
 *     most; where no thread can be had, those that are there do it all. They have the caller's
 *     priority, so that it waits for none that is less urgent.
 * CW3 They take steps of CREW_STEP bytes in turn: one that does not get to run holds up no more.
 * CW4 Whether a crew pays is found out in a copy itself, which is done alone for a half and by a
 *     crew for the other; and again now and then: no verdict, nor any moment's, is for ever.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CREW_MAX = 4 };
#define CREW_LEAST \
	((size_t)32 << 20) /* bytes: what takes over a ms, where a thread takes 50 us */
#define CREW_STEP ((size_t)1 << 20)

/* The copy; zeros where `from` is NULL. */
struct crew_work {
	char *to;
	const char *from;
	size_t size;
};

/* By so many threads, the caller included. */
void crew_run(const struct crew_work *work, unsigned members);

/* How many the caller may have, itself included. */
unsigned crew_members(void);

/*
 * Crew word - does it pay? Zeroed, nothing is known yet.
 *
 *   turn:24  score:8 (signed)   loaded and stored by any thread: of two votes at once one counts
 */
enum { CREW_SURE = 2, CREW_SCORE_MAX = 3, CREW_AGAIN = 16 };

enum crew_plan {
	CREW_ALONE,
	CREW_TOGETHER,
	CREW_TRIAL, /* until the score is sure, and each 16th time */
};

/* Pure: what to do this time, and the word for the next. */
enum crew_plan crew_plan(uint32_t *word);
/* Pure: the word after a trial; half of the bytes took so long alone, the others by a crew. */
void crew_vote(uint32_t *word, uint64_t alone_ns, uint64_t together_ns);

/* All of it: as that word says, of which there is one for copies and one for zeros. */
void crew_do(const struct crew_work *work);
