/*
 * Scrub - finding and taking back what stands in windows that nobody committed.
 *
 * Whoever has a window mapped makes pages by touching its holes, and a writer can fill them. So
 * after each session's end, and once a minute, all windows are looked at, some at each beat.
 *
 * B1  A look disturbs nobody: a worker asks how much a window holds, by a descriptor of its own
 *     (F1 in files.h), so that the window may go meanwhile.
 * B2  A look can be wrong, since memory moves. What it suspects becomes a plan of the core, which
 *     holds the holes; its worker asks again, and takes them back only if there is surplus.
 * B3  Nothing that is committed is ever punched here.
 */
#pragma once

struct server;
struct scrub;

int scrub_new(struct scrub **ret, struct server *server);
/* No worker of its may be under way. */
void scrub_free(struct scrub *scrub);

/* Someone is gone who had windows mapped: look at the next beats. */
void scrub_soon(struct scrub *scrub);
void scrub_beat(struct scrub *scrub);
