/*
 * Pages - which pages the region is made of, and whether the machine can spare it at all.
 *
 * L1  The ladder is 1 GiB, 2 MiB, 4 KiB. `auto` takes the first rung that the machine has free
 *     pages for, and says what was wrong with those above; a size that was asked for is had, or
 *     the daemon does not start.
 * L2  Where there are pages of 1 GiB, a part of the region (memory.small) is on the next rung, for
 *     spaces below 4 GiB; of a region with fewer of them, for those below all of them together.
 * L3  What was taken on a rung that did not do is given back before the next one is tried.
 */
#pragma once

#include <stdbool.h>

#include "daemon/server/ledger.h"

struct server;

/*
 * Sets page_shift, large and pages_why, takes hugepages from the pools. -errno after having said
 * why.
 */
int pages_choose(struct server *server);

/* What was chosen, as the ledger is to remember it. */
void pages_describe(const struct server *server, struct ledger_region *ret);
/*
 * Instead of choosing: the region as of birth; takes no hugepages. Says so if the configuration asks
 * for another by now, which *ret_differs tells, and has it say what is. -errno as pages_choose().
 */
int pages_restore(struct server *server, const struct ledger_region *region, bool *ret_differs);

enum { PAGES_TEXT_MAX = 96 };

/* "256 MiB in pages of 2 MiB", or of both sizes. */
const char *pages_format(const struct server *server, char ret[PAGES_TEXT_MAX]);

/* Does the uid we run as keep what we own from our clients? */
bool pages_isolate(void);
