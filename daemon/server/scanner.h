/*
 * Scanner - which memory that objects have left readers still hold: hazard words of all sessions,
 * read by a worker.
 *
 * SN1  One scan at a time, for all caches that want one: it begins for each of them, then comes a
 *      barrier in all threads that read without fences, then all hazard words, in order.
 * SN2  Of a lane the words count that its session was granted, and they count for caches alone that its
 *      session has open: nobody holds more back, or what he is not charged for (core/pins.h).
 * SN3  While a worker reads lanes, none is unmapped (scanner_reads()).
 * SN4  The words are given to the caches in steps, and what comes back to the ledger, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct scanner;
struct server;

int scanner_new(struct scanner **ret, struct server *server);
/* No worker of its may be under way. */
void scanner_free(struct scanner *scanner);

/* Some cache wants a scan: there will be one, now or after the one that is under way. */
void scanner_want(struct server *server);
/* How many have begun: the number of the one that is under way. */
uint64_t scanner_count(const struct server *server);
/* A step of what the last scan has found. True: there is more. */
bool scanner_turn(struct server *server);
/* Is there one under way, a worker's part or the rest? */
bool scanner_scans(const struct server *server);
/* Does a worker read lanes? */
bool scanner_reads(const struct server *server);
