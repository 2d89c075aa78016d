/*
 * Hoard's return - memory that a scan has found free, on its way back to the ledger.
 *
 * HD7  What the cache gives back the ledger takes, at once or, without memory of its own, at a
 *      later beat; until then the hoard owes it, and takes no more from its cache than it can note.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hoard;

/* Is what the latest scan has found on its way back? */
bool hoard_returns(const struct hoard *hoard);
/* A step of it. */
void hoard_reclaim(struct hoard *hoard);
/* What is owed, once more. */
void hoard_settle(struct hoard *hoard);
/* The cache has sealed the extent in which this byte lies: the ledger follows. */
void hoard_seal(struct hoard *hoard, uint64_t offset);
/* The same, if it is one object's own, and not sealed yet. */
void hoard_seal_own(struct hoard *hoard, uint64_t offset);
