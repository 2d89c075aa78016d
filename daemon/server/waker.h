/*
 * Waker - who waits on a space's `deaths`, where there are more than the loop has time to wake.
 *
 * WK1  The loop wakes a few itself (files_tell_deaths()); a crowd is a worker's, one space after
 *      the other: a member may have thousands of threads asleep there, or one asleep many times.
 * WK2  Nobody is left asleep: a crowd is woken once more for what changed while it was woken.
 */
#pragma once

struct server;
struct waker;

int waker_new(struct waker **ret, struct server *server);
/* No worker of its may be under way. */
void waker_free(struct waker *waker);

/* After files_apply() and files_tell_deaths(). */
void waker_look(struct waker *waker);
