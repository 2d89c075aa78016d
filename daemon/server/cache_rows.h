/*
 * Cache rows - what the statistics file shows of caches: what became of their objects, who keeps
 * memory from coming back, and which hashes are hot.
 *
 * CR1 Readers count in their lanes, and wake nobody: at each beat the daemon looks, and the file is
 *     brought up to date if anything is another than it shows.
 * CR2 No key stands in the file, for who may read it need not be a member of the space: of a hot one
 *     its hash.
 */
#pragma once

#include "proto/layout.h"

struct server;

/* At each beat, and before somebody is told. */
void caches_look(struct server *server);
/* Of a copy that has room for them all. */
void caches_fill(struct stats_copy *copy, const struct server *server);
