/*
 * Keep - descriptors that outlive this process, by name (kept.h): what an earlier daemon left, and
 * what the store (store.h) is to hold for the next.
 *
 * KE1  What keep_put() has returned 0 for is in the store, and the next daemon is handed it,
 *      whatever becomes of this one.
 * KE3  A descriptor is its owner's to close, after keep_remove(); until then it stays open, for it
 *      may be told anew.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/kept.h"

struct keep;
struct left;

struct kept {
	const char *name;
	int fd;
};

struct keep_terms {
	bool keeper_only;     /* another store is not ours */
	uint32_t patience_ms; /* how long the store may take; 0: a minute and a half */
};

/*
 * Takes over what was left of known names, leaving the rest. Without a store it keeps nothing beyond
 * this process, and all calls work.
 */
int keep_new(struct keep **ret, struct left *left, const struct keep_terms *terms);
/* What is in the store stays there. Open descriptors are their owners', as ever. */
void keep_free(struct keep *keep);

/* Is there a store? */
bool keep_lasts(const struct keep *keep);
/* Has an earlier daemon left anything? */
bool keep_resumes(const struct keep *keep);

/*
 * From a worker, or before the loop runs: returns when the store has all of them. Without a store: 0
 * at once. -errno: none is kept; -ENOSPC: the store is full, -EEXIST: that name is kept already. (One that
 * was left, and that nobody has taken, goes: it is of a try that a death has ended.)
 */
int keep_put(struct keep *keep, const struct kept *what, uint32_t n);
/*
 * Never waits, from any thread; a name that is not kept is fine. What is put under it after this
 * comes after this.
 */
void keep_remove(struct keep *keep, const char *name);

/* Of what was left: -1 if it was not, or was taken. The caller's from then on, and kept as before. */
int keep_take(struct keep *keep, const char *name);
/* The name of something of this kind that was left and that nobody has taken yet; false: none. */
bool keep_left(struct keep *keep, enum kept_kind kind, char ret[KEPT_NAME_MAX]);
/* What nobody took is closed, and removed from the store: how many, after having named them. */
uint32_t keep_drop_rest(struct keep *keep);

/* Words for the manager, if there is one; without waiting: false if it has no room for them. */
bool keep_say(struct keep *keep, const char *text);
/* Is there anyone to say it to? */
bool keep_has_manager(const struct keep *keep);
