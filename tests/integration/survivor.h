/*
 * Survivor - a varbosd of the test's own whose descriptors outlive it, in a store that is this process
 * (tests/unit/fake_store.h): it is killed, and started again, as often as a test likes.
 */
#pragma once

#include <sys/types.h>

#include "tests/unit/fake_store.h"

enum { SURVIVOR_ARGS = 8 };

struct survivor {
	struct fake_store store;
	pid_t pid; /* 0: it does not run */
	char folder[64], socket[96], log[96];
	const char *extra[SURVIVOR_ARGS]; /* ended by NULL; they have to live as long */
	unsigned
		descriptors; /* that one started from now on may have; 0: as many as the test */
};

/* `varbosd --socket ... EXTRA...`, the extra arguments ended by NULL. It may not serve yet. */
void survivor_start(struct survivor *survivor, ...) __attribute__((sentinel));
/* SIGKILL. */
void survivor_kill(struct survivor *survivor);
/* SIGTERM, which has to end it well; what it kept stays in the store. */
void survivor_end(struct survivor *survivor);
/* Another at the same place, with what is in the store. */
void survivor_again(struct survivor *survivor);
/* The same, told other things. */
void survivor_again_with(struct survivor *survivor, ...) __attribute__((sentinel));
/* SIGTERM if it runs, and all is gone. */
void survivor_stop(struct survivor *survivor);
/* Of one that was started otherwise. */
void survivor_folder_remove(const struct survivor *survivor);

/* Of the running daemon, which has some for a moment: as many as there are when nothing changes any more. */
unsigned survivor_descriptors_settled(const struct survivor *survivor);
/* By and by. */
void survivor_descriptors_are(const struct survivor *survivor, unsigned expected);
/* Does its log, of all its lives, have this in it? */
bool survivor_said(const struct survivor *survivor, const char *text);

/*
 * A descriptor of the first thing in the store whose name begins so; the caller's. -1: there is none.
 * And take it out of the store.
 */
int survivor_kept(struct survivor *survivor, const char *prefix);
void survivor_lose(struct survivor *survivor, const char *prefix);
