/*
 * Store - this process's own memory about a space: spans, heaps, leases.
 *
 * O1  One range of address space, reserved at once and made writable as it is used, so that
 *     it costs what is in it, and goes at once. Neither forked children nor core dumps get it.
 * O2  Nothing is given back singly: who allocates keeps lists of what can be used again, of its
 *     own type. So a stale pointer into it meets a thing of the type it names, never a stranger.
 */
#pragma once

#include <stddef.h>

#include "client/lock.h"

struct store {
	struct lock lock;
	char *base;
	size_t size, used, writable;
};

/* 0 or -errno. */
int store_init(struct store *store, size_t size);
void store_deinit(struct store *store);

/* Zeroed, on a cache line of its own; NULL: there is no more. */
void *store_get(struct store *store, size_t size);
