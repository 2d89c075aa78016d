/*
 * Outbox - what was told the daemon one way, until it is known that it has read it.
 *
 * OB1 A note has no answer. It is kept until an answer has come to a request that was sent after it:
 *     a daemon reads in order.
 * OB2 Told again, to a daemon that may have heard it before, it does no harm: an extent is freed
 *     `maybe`, and what counts is not told twice.
 * OB3 Notes leave in their order, which is also theirs among requests.
 *
 * Used with the lock of the calls held.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

enum { OUTBOX_NOTES = 64 };

struct outbox_note {
	uint64_t order;
	enum wire_method method;
	union {
		struct wire_extent_free extent_free;
		struct wire_channel_close channel_close;
		struct wire_cache_handle cache_close;
		struct wire_cache_seal cache_seal;
		struct wire_cache_fetch_end cache_fetch_end;
		struct wire_cache_count cache_count;
	} params;
};

/* Positions count up; zeroed is empty. */
struct outbox {
	uint64_t first, sent, end;
	struct outbox_note notes[OUTBOX_NOTES];
};

static inline bool outbox_is_full(const struct outbox *outbox)
{
	return outbox->end - outbox->first == OUTBOX_NOTES;
}

/* There is room. */
void outbox_add(struct outbox *outbox, uint64_t order, enum wire_method method,
		const void *params);

/* The next one to be sent, or NULL. */
const struct outbox_note *outbox_next(const struct outbox *outbox);
/* Its bytes: how many, or negative: it cannot be said. */
int outbox_encode(const struct outbox_note *note, char *buf, size_t size);
/* It has been. */
static inline void outbox_sent(struct outbox *outbox)
{
	outbox->sent++;
}

/* An answer has come to the request of that order. */
void outbox_taken(struct outbox *outbox, uint64_t order);

/* Whoever has read some of it has gone: what is not known to have been taken is to be sent again. */
void outbox_again(struct outbox *outbox);
