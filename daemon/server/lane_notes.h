/*
 * Lane's notes - what readers say beside records: which objects they used, and how often they hit.
 */
#pragma once

#include <stdbool.h>

struct client;
struct server;

/* What readers have noted is taken, so much of it, unless that was just done. */
void lanes_drain(struct server *server);
/* All of it, as long as the stint lasts. */
void lanes_drain_all(struct server *server);
/* What they have counted. False: not of all yet; the next call goes on. */
bool lanes_count(struct server *server);

/* What was counted in all of its lanes since: the caches are told. */
void lane_counts_take(const struct client *client);
/* It has closed caches, whose counts were taken: their rows are free. */
void lane_counts_free(const struct client *client);
