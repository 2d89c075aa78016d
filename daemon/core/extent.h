/*
 * Extent - a run of slices with one purpose, and the charge that pays for it.
 *
 * X1  A recorded extent's slices are used and name it; its units are committed.
 * X2  A private extent has a member. A shared one, and one of blocks, has the member that
 *     allocated it, then none: it is adopted, and its charge is the space's.
 *     A channel's never has one, and names its channel.
 * X3  An extent owes the changes that it will make: being stored, being cleared; one of blocks
 *     in between that it is no session's, since its slices name who cuts them.
 *
 * Extents live in an array by record slot, so none is ever allocated; zeroed means free.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/budget.h"
#include "daemon/core/core.h"
#include "daemon/core/list.h"

struct extent {
	struct link link; /* of its member, or of the space */
	struct window *window;
	struct member *member; /* NULL: adopted, or a channel's */
	struct channel *channel;
	struct charge charge;
	uint32_t first, count;
	uint32_t tag;
	enum extent_kind kind;
	bool worded;  /* as in its record */
	bool pending; /* a plan makes it: not recorded */
};

struct channel;
struct core;
struct core_plan;

/*
 * A slice of zeros for a channel, who pays for itself from the space. The plan, which is never
 * NULL, has not been started. As core_extent_alloc().
 */
int extent_for_channel(struct core *core, struct channel *channel, struct member *member,
		       uint32_t caller, uint64_t avoid, struct core_plan **ret_plan,
		       struct core_fault *fault);
/* It is there now: used, recorded, said. */
void extent_store(struct core *core, uint32_t slot);
/* Undo or free: its slices and its charge go back. Clears the record if there is one. */
void extent_release(struct core *core, uint32_t slot);
/* A shared one, or one of blocks, loses its member. */
void extent_adopt(struct core *core, uint32_t slot);
struct extent_place extent_place(const struct extent *extent);
/* The account that it is in: its session's, or its space's owner's. */
struct quota *extent_quota(const struct extent *extent);
/* Adopted, is it a sweep's to free if its words say that it holds nothing? */
bool extent_may_be_empty(const struct extent *extent);
/* X3 */
uint32_t extent_owes(const struct extent *extent);
uint32_t extent_slot(const struct core *core, const struct extent *extent);
