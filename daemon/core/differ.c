/*
 * Differ - are two cores the same in records, free runs and sums (C5)?
 */
#include <string.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/state.h"

#define SAME(condition, text)        \
	do {                         \
		if (!(condition))    \
			return text; \
	} while (0)

static const char *records_differ(const struct records *a, const struct records *b)
{
	static const uint32_t sizes[RECORD_KINDS] = {
		[RECORD_SPACE] = sizeof(struct space_record),
		[RECORD_WINDOW] = sizeof(struct window_record),
		[RECORD_PAGES] = sizeof(struct pages_record),
		[RECORD_SESSION] = sizeof(struct session_record),
		[RECORD_MEMBER] = sizeof(struct member_record),
		[RECORD_EXTENT] = sizeof(struct extent_record),
		[RECORD_CHANNEL] = sizeof(struct channel_record),
		[RECORD_END] = sizeof(struct end_record),
		[RECORD_CACHE] = sizeof(struct cache_record),
		[RECORD_USER] = sizeof(struct user_record),
		[RECORD_RIGHT] = sizeof(struct right_record),
		[RECORD_LANES] = sizeof(struct lanes_record),
		[RECORD_RETURNS] = sizeof(struct returns_record),
		[RECORD_INTENT] = sizeof(struct intent_record),
		[RECORD_RESULT] = sizeof(struct result_record),
	};

	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind) {
		uint32_t slots = records_capacity(a)->slots[kind];

		SAME(slots == records_capacity(b)->slots[kind], "capacities");
		for (uint32_t i = 0; i < slots; ++i) {
			bool valid = records_valid(a, kind, i);

			SAME(valid == records_valid(b, kind, i), "which records are valid");
			SAME(!valid || !memcmp(records_at(a, kind, i), records_at(b, kind, i),
					       sizes[kind]),
			     "the words of a record");
		}
	}
	return NULL;
}

static const char *windows_differ(const struct window *a, const struct window *b)
{
	SAME(!a == !b, "which windows there are");
	if (!a)
		return NULL;
	SAME(!memcmp(&a->place, &b->place, sizeof(a->place)) && a->slot == b->slot &&
		     a->pending == b->pending,
	     "a window");
	SAME(window_largest(a) == window_largest(b), "the longest run of a window");
	SAME(!memcmp(a->taken, b->taken, a->units * sizeof(*a->taken)),
	     "slices taken of a unit");
	for (uint32_t i = 0; i < window_groups(a); ++i)
		SAME(a->groups[i].slot == b->groups[i].slot &&
			     a->groups[i].committed == b->groups[i].committed &&
			     a->groups[i].idle == b->groups[i].idle,
		     "committed units");
	/* Inside of a free run anything may stand: compare its tags only. */
	for (uint32_t i = 0, n; i < a->slices; i += n) {
		n = 1;
		SAME(a->words[i] == b->words[i], "a slice, or a free run");
		if (slice_state(a->words[i]) == SLICE_FREE)
			n = slice_value(a->words[i]);
	}
	return NULL;
}

static const char *spaces_differ(const struct space *a, const struct space *b)
{
	const struct link *right;

	SAME(!a == !b, "which spaces there are");
	if (!a)
		return NULL;
	SAME(a->rung->page_shift == b->rung->page_shift, "the rung of a space");
	SAME(a->slot == b->slot && a->state == b->state && a->removed == b->removed &&
		     !strcmp(a->name, b->name) && a->owner.uid == b->owner.uid &&
		     a->owner.gid == b->owner.gid && a->mode == b->mode &&
		     a->weight == b->weight && a->numa.kind == b->numa.kind &&
		     a->numa.nodes == b->numa.nodes &&
		     !memcmp(a->used_on, b->used_on, sizeof(a->used_on)) &&
		     a->placement == b->placement && a->reserve == b->reserve &&
		     a->client_limit == b->client_limit && a->tag_next == b->tag_next &&
		     a->window_next == b->window_next && a->ceiling == b->ceiling &&
		     a->hash_seed == b->hash_seed,
	     "a space");
	SAME(a->budget.limit == b->budget.limit && a->budget.used == b->budget.used,
	     "the budget of a space");
	SAME(a->units.committed == b->units.committed &&
		     a->units.committing == b->units.committing &&
		     a->units.idle == b->units.idle,
	     "the units of a space");
	SAME(a->n_windows == b->n_windows && a->n_members == b->n_members &&
		     a->n_extents == b->n_extents,
	     "the counts of a space");
	SAME(a->n_channels == b->n_channels && a->n_adopted == b->n_adopted,
	     "the channels of a space");
	SAME(a->n_caches == b->n_caches && a->n_sealed == b->n_sealed, "the caches of a space");
	for (uint32_t i = 0; i < a->windows_max || i < b->windows_max; ++i) {
		const char *wrong =
			windows_differ(space_window_at(a, i), space_window_at(b, i));

		if (wrong)
			return wrong;
	}
	/* Members and extents are the records'; what they add up to is compared here. */
	list_for_each(at, &a->members)
	{
		const struct member *left = list_entry(at, struct member, in_space);
		const struct member *found = NULL;

		for (right = b->members.next; right != &b->members; right = right->next)
			if (list_entry(right, struct member, in_space)->slot == left->slot)
				found = list_entry(right, struct member, in_space);
		SAME(found && found->read_only == left->read_only && found->id == left->id &&
			     found->barred == left->barred && found->via == left->via &&
			     found->budget.used == left->budget.used &&
			     found->budget.limit == left->budget.limit,
		     "a member");
	}
	return NULL;
}

const char *core_differ(const struct core *a, const struct core *b)
{
	const char *wrong = records_differ(a->records, b->records);

	for (uint32_t i = 0; !wrong && i < a->slots[RECORD_SPACE].total; ++i)
		wrong = spaces_differ(a->spaces[i], b->spaces[i]);
	if (wrong)
		return wrong;
	for (uint32_t i = 0; i < a->slots[RECORD_SESSION].total; ++i) {
		const struct session *left = a->sessions[i], *right = b->sessions[i];

		SAME(!left == !right && (!left || (left->used == right->used &&
						   left->n_members == right->n_members)),
		     "a session");
	}
	for (uint32_t i = 0; i < a->slots[RECORD_CACHE].total; ++i) {
		const struct estate *left = a->caches[i], *right = b->caches[i];

		SAME(!left == !right && (!left || (left->bytes == right->bytes &&
						   left->n_users == right->n_users &&
						   left->n_rights == right->n_rights &&
						   left->n_segments == right->n_segments &&
						   left->n_objects == right->n_objects)),
		     "a cache");
	}
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind)
		for (uint32_t i = 0; i < a->slots[kind].total; ++i)
			SAME(slots_used(&a->slots[kind], i) == slots_used(&b->slots[kind], i),
			     "which slots are free");
	SAME(a->n_rungs == b->n_rungs, "rungs");
	for (uint32_t i = 0; i < a->n_rungs; ++i)
		for (uint32_t node = 0; node < a->config.n_nodes; ++node) {
			const struct core_node *left = &a->rungs[i].nodes[node];
			const struct core_node *right = &b->rungs[i].nodes[node];

			SAME(left->committed == right->committed &&
				     left->pending == right->pending &&
				     left->used == right->used,
			     "the sums of a node");
		}
	SAME(a->region.used == b->region.used, "the region's budget");
	SAME(a->n_spaces == b->n_spaces && a->n_sessions == b->n_sessions, "counts");
	return NULL;
}
