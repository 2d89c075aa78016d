/*
 * Channel - a queue of references between members of a space: a name, an id, a ring, and ends.
 *
 * CH1  A channel has an id and an extent of one slice, which is nobody's, as long as it is
 *      recorded. It lives as long as it has an end; then its id is dead, and with it, at the end
 *      of a sweep (I1), go its record and its extent.
 * CH2  No two that live in one space have the same name.
 * CH3  An end is a holder's (so there are fewer ends than ids), who has one of a channel, with
 *      one role or both. It owes a change for each of them: that it is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"

struct asker;
struct member;
struct space;

struct channel {
	struct link link; /* of its space */
	struct space *space;
	uint32_t slot, id, extent; /* the last is a slot, too */
	uint32_t capacity_shift;
	bool pending; /* a plan makes it: not recorded, nor is its end */
	bool had_senders, had_receivers, died;
	uint32_t senders, receivers;
	struct link ends; /* struct end, in_channel; none: it is dead */
	char name[CHANNEL_NAME_MAX + 1];
};

struct end {
	struct link in_channel, in_member;
	struct channel *channel;
	struct member *member;
	uint32_t slot, roles;
};

/* What the root file says of it. */
uint64_t channel_id_word(const struct channel *channel);
/* The words of their records. */
struct channel_word channel_word(const struct channel *channel);
struct end_word end_word(const struct end *end);
/* Of those that live, or that plans make. */
struct channel *channel_named(const struct space *space, const char *name);
struct end *end_find(const struct channel *channel, const struct member *member);
/* CH3 */
uint32_t end_owes(const struct end *end);

/* Its memory is there: so is it. */
void channel_store(struct core *core, struct channel *channel, const struct asker *asker);
/* The plan that was to make it has failed: its extent is left to the caller. */
void channel_undo(struct core *core, struct channel *channel);
/* Its record is gone, then its extent. */
void channel_release(struct core *core, struct channel *channel);
/* The dead ones of which the sweep that ends is the one to wait for. */
void channels_reap(struct core *core, struct space *space);
/* All ends of a member close. */
void ends_close(struct core *core, struct member *member);

/* From records. NULL: no memory. */
struct channel *channel_enter(struct core *core, struct space *space, uint32_t slot,
			      struct channel_word word, const char *name);
struct end *end_enter(struct core *core, struct channel *channel, struct member *member,
		      uint32_t slot, uint32_t roles);
/* One store, if its record says anything else. */
void channel_record(struct core *core, const struct channel *channel);
/* With its ends, out of memory and accounts. */
void channel_free(struct core *core, struct channel *channel);
