/*
 * Extent - a run of slices with one purpose, and the charge that pays for it.
 *
 * X1  A recorded extent's slices are used and name it; its units are committed.
 * X2  A private extent has a member. A shared one, and one of blocks, has the member that
 *     allocated it, then none: it is adopted, and its charge is the space's.
 *     A channel's never has one, and names its channel. One of a cache has the member that fills
 *     it, then none, and names its cache.
 * X3  An extent owes the changes that it will make: being stored, being cleared; one of blocks or
 *     of a cache in between that it is no session's, since its slices name who cuts them.
 * X4  A segment stands in one chunk, and can lose any of its slices once it is nobody's: what is
 *     left of it is `first` to `first + count` with holes, and is cleared run by run.
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
	struct estate *cache; /* NULL: none's */
	struct link in_cache; /* of its cache, or of the user that fills it */
	struct charge charge;
	uint32_t first, count;
	uint32_t slices; /* X4: as in its record; of what is no segment 0 */
	uint32_t tag;
	enum extent_kind kind;
	bool worded;  /* as in its record */
	bool pending; /* a plan makes it: not recorded */
};

struct channel;
struct asker;
struct core;
struct core_plan;
struct estate;
struct member;
struct node_order;
struct space;
struct user;

/*
 * A slice of zeros for a channel, who pays for itself from the space. The plan, which is never
 * NULL, has not been started. As core_extent_alloc().
 */
int extent_for_channel(struct core *core, struct channel *channel, struct member *member,
		       uint32_t caller, uint64_t avoid, struct core_plan **ret_plan,
		       struct core_fault *fault);
/*
 * For a cache, by the user that fills it; NULL: the cache's own at once, and its space pays. As
 * core_extent_alloc(), whose checks its caller has made.
 */
int extent_for_cache(struct core *core, struct estate *cache, struct user *user,
		     enum extent_kind kind, uint64_t bytes, const struct node_order *order,
		     const struct asker *asker, struct extent_info *ret, struct plan **ret_plan,
		     struct core_fault *fault);
/* It is there now: used, recorded, said. */
void extent_store(struct core *core, uint32_t slot, const struct asker *asker);
/* Undo or free: its slices and its charge go back. Clears the record if there is one. */
void extent_release(struct core *core, uint32_t slot);
/* A shared one, one of blocks or of a cache loses its member. */
void extent_adopt(struct core *core, uint32_t slot);
/* Some slices of a segment that is nobody's, not all. -ENOMEM: nothing has changed. */
int extent_reduce(struct core *core, uint32_t slot, uint32_t slices);
struct extent_place extent_place(const struct extent *extent);
/* The account that it is in: its session's, or its space's owner's. */
struct quota *extent_quota(const struct extent *extent);
uint64_t extent_bytes(const struct extent *extent);
/* How many slices from this one of it on it has, up to the next hole. */
uint32_t extent_stretch(const struct extent *extent, uint32_t slice);
/* All of them. */
#define for_each_stretch(extent, at, n)                                                        \
	for (uint32_t at = (extent)->first, n;                                                 \
	     at < (extent)->first + (extent)->count && (n = extent_stretch(extent, at), true); \
	     at += n ? n : 1)                                                                  \
		if (n)
/* As its record says it. */
struct extent_owner extent_owner(const struct extent *extent);
struct extent_run extent_run(const struct extent *extent);
/* What a slice map says of its first slice, or of another. */
uint64_t extent_slice_word(const struct extent *extent, bool head);
/* The slot of the extent that begins at `offset` under this tag, or why there is none. */
const char *extent_find(const struct core *core, const struct space *space, uint64_t offset,
			uint32_t tag, uint32_t *ret);
/* Do the words file's words say what of it is in use? */
bool extent_has_words(const struct extent *extent);
/* Adopted, is it a sweep's to free if its words say that it holds nothing? */
bool extent_may_be_empty(const struct extent *extent);
/* X3 */
uint32_t extent_owes(const struct extent *extent);
uint32_t extent_slot(const struct core *core, const struct extent *extent);
