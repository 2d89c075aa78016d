/*
 * Keep's group - many descriptors that are two of the store's. With the lock.
 *
 * KE4  Above some 200 the rest is parked in groups (park.h). A group that changes is stored anew,
 *      and its former state goes when the store has the new one.
 */
#pragma once

#include "daemon/server/keep_private.h"

/* Empty, and the last. NULL: without memory. */
struct keep_group *keep_group_new(struct keep *keep);
void keep_group_free(struct keep_group *group);
/* -ENOSPC: the store takes no more of them. */
int keep_group_with_room(struct keep *keep, struct keep_group **ret);

void keep_group_add(struct keep_group *group, struct keep_entry *entry);
/* Out of the one that it is in. */
void keep_group_take(struct keep_entry *entry);

/* The thread's: tells the store the next state of one that has changed. */
int keep_group_store(struct keep *keep, struct keep_group *group, uint64_t deadline);
/* The store has the next states: the former ones go. */
void keep_groups_commit(struct keep *keep, uint64_t deadline);
/* It has not got all: what it may have of them goes. */
void keep_groups_abort(struct keep *keep);
