/*
 * Sweeper - what the dead held of shared blocks is freed, their ids can be given again, and what
 * nobody holds any more goes back to its space. (How a sweep goes: daemon/core/core.h.)
 *
 * Z1  The loop touches no words: workers do, a piece at a time (words_job.h), one sweep at a time,
 *     each space in its turn.
 * Z2  A sweep begins when an id has died, before somebody is refused memory that it might free,
 *     and every minute where there are adopted extents. A space that has been swept rests
 *     for as long as three times what that took, a minute at most: so nobody's dying keeps a
 *     worker busy.
 * Z3  Whoever waits on `deaths` of the space's root file is woken when a sweep has ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct server;
struct sweeper;

int sweeper_new(struct sweeper **ret, struct server *server);
/* No worker of its may be under way. */
void sweeper_free(struct sweeper *sweeper);

/* Somebody may have died. */
void sweeper_look(struct sweeper *sweeper);
void sweeper_beat(struct sweeper *sweeper);

/* What somebody says is empty is looked for soon, with all that may be. */
void sweeper_want(struct sweeper *sweeper, uint32_t space);

/* How many sweeps have begun: what a request remembers of when it came. */
uint64_t sweeper_count(const struct sweeper *sweeper);
/*
 * Before memory of `space` (0: of any) is refused: may a sweep that begins after `since` free
 * some? Then there is one, now or within a second, and request_retry() follows its end.
 */
bool sweeper_helps(struct sweeper *sweeper, uint32_t space, uint64_t since);
