/*
 * Publisher - keeps the statistics file beside the socket true.
 *
 * P1  Nothing is written but at beats and, after something changed, a moment later: an idle
 *     daemon wakes once a second.
 */
#pragma once

#include <stdint.h>

struct server;
struct publisher;

/* Puts a fresh file in place of what an earlier daemon left. */
int publisher_new(struct publisher **ret, struct server *server);
/* Removes it. */
void publisher_free(struct publisher *publisher);

/* Something that the file shows has changed. */
void publisher_touch(struct publisher *publisher);
/* Bring it up to date now. */
void publisher_publish(struct publisher *publisher);
/* Every second. */
void publisher_beat(struct publisher *publisher);
