/*
 * Pages - which pages the region is made of, and whether the machine can spare it at all.
 */
#pragma once

#include <stdbool.h>

struct server;

/* Sets page_shift and pages_why, takes hugepages from the pool. -errno after having said why. */
int pages_choose(struct server *server);

/* Does the uid we run as keep what we own from our clients? */
bool pages_isolate(void);
