/*
 * Ids - who may hold blocks of a space: numbers from 1 to 1023, of its members and channels alike.
 *
 * I1  An id is free, somebody's, or dead. A dead one is free again at the end of a sweep of the
 *     space that began after it died: until then some word may name it.
 *     So may one afterwards, by a sender who saw it alive before, and died before he looked
 *     again. So every sweep is also for the free ones that were somebody's, and gives none of
 *     them away while it runs: only those that never were anybody's.
 * I2  Who has which is in the records. What nobody has counts as dead after a recovery, unless
 *     the space has no extent with words.
 * I3  The last eighth is for uids that have none yet, for the space's owner, root and the daemon's
 *     own uid: no member keeps the others from holding blocks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/layout.h"

enum { ID_WORDS = IDS_MAX / 64 };

struct ids {
	uint64_t taken[ID_WORDS]; /* somebody's, or dead */
	uint64_t dead[ID_WORDS];
	uint64_t past[ID_WORDS];  /* have been swept: they were somebody's once */
	uint64_t swept[ID_WORDS]; /* dead, or past and free, when the sweep began that runs */
};

/* All are free. */
void ids_init(struct ids *ids);
/* The lowest that is free, and not being swept; 0: none is. */
uint32_t ids_take(struct ids *ids);
/* This one. False: it is somebody's, or none. */
bool ids_claim(struct ids *ids, uint32_t id);
/* Nobody has been told of it since it was taken. */
void ids_put(struct ids *ids, uint32_t id);
void ids_die(struct ids *ids, uint32_t id);
/* All that are free die. */
void ids_doubt(struct ids *ids);
uint32_t ids_dead(const struct ids *ids);
uint32_t ids_alive(const struct ids *ids);
uint32_t ids_free(const struct ids *ids);

/* I1. Is the sweep that runs for this one? */
void ids_sweep_begin(struct ids *ids);
bool ids_swept(const struct ids *ids, uint32_t id);
/* Not `done`: what was dead stays so. */
void ids_sweep_end(struct ids *ids, bool done);

/* NULL, or what is wrong. */
const char *ids_check(const struct ids *ids);
