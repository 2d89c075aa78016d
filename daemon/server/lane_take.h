/*
 * Lane's taking - the records of one lane: copied, done one by one, answered.
 *
 * LN3  `taken` is stored when the effects of all records before it are in the ledger and in the index,
 *      and their results are there. Of each record alone that is in the ledger, too, before the next
 *      one begins (daemon/core/position.h).
 */
#pragma once

#include <stdint.h>

struct client;
struct lane;
struct lane_state;

enum { LANE_TAKE_BATCH = 32 /* records of a lane, before others' turn */ };

/* How many records there are; none, if that cannot be. */
uint64_t lane_ready(const struct lane *lane, const struct lane_state *state);
/* A batch. How many records were taken; what waits is not. */
uint64_t lane_take(struct client *client, uint32_t number, uint64_t now);
/* Of what an earlier daemon left: the next record, if all that it asks for was done. */
void lane_resume(struct client *client, uint32_t number);
