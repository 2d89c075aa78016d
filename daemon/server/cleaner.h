/*
 * Cleaner - what lives between dead objects moves together (daemon/core/cache/clean.h): a worker
 * copies, the loop decides.
 *
 * CN1  A step of a cache at a time. Its worker reads and writes windows of the cache's space through
 *      guard.h alone, and looks whether each header says what the ledger does: what a member has
 *      spoiled is evicted.
 * CN2  While there is a step, neither the cache nor its space goes (cleaner_works()), and who waits
 *      for that has the next turn.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"

struct hoard;
struct server;

/* Begins a step, unless there is one. True: there is more to do at once. */
bool cleaner_step(struct hoard *hoard);
/* Is there a step in this space? */
bool cleaner_works(const struct server *server, uint32_t space);
/* Of any space that the session has open. */
bool cleaner_works_for(const struct server *server, uint32_t session);
/* Of a cache that was removed. */
bool cleaner_works_in_removed(const struct server *server);
