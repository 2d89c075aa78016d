/*
 * Lane's notes - what readers say beside records: which objects they used, and how often they hit.
 */
#pragma once

#include <stdint.h>

struct client;

/* Accesses that were noted since, so many at most: the policies are told. How many; `most`: or more. */
uint32_t lane_notes_take(struct client *client, uint32_t lane, uint32_t most);
/* What was counted in all of its lanes since: the caches are told. */
void lane_counts_take(const struct client *client);
/* It has closed caches, whose counts were taken: their rows are free. */
void lane_counts_free(const struct client *client);
