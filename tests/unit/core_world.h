/*
 * World - a core over anonymous records, with what tests say often.
 */
#pragma once

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)
#define GIB ((uint64_t)1 << 30)

#define WORLD_SLOTS                     \
	((struct record_capacity){{     \
		[RECORD_SPACE] = 16,    \
		[RECORD_WINDOW] = 64,   \
		[RECORD_PAGES] = 128,   \
		[RECORD_SESSION] = 32,  \
		[RECORD_MEMBER] = 64,   \
		[RECORD_EXTENT] = 2048, \
		[RECORD_CHANNEL] = 32,  \
		[RECORD_END] = 64,      \
		[RECORD_CACHE] = 16,    \
		[RECORD_USER] = 64,     \
		[RECORD_RIGHT] = 16,    \
		[RECORD_LANES] = 32,    \
		[RECORD_RETURNS] = 32,  \
		[RECORD_INTENT] = 1,    \
		[RECORD_RESULT] = 512,  \
	}})

struct world {
	struct core *core;
	struct records *records;
	struct core_config config;
	uint64_t size;
	struct core_fault fault;
};

static inline struct records *world_table(const struct record_capacity *capacity)
{
	void *memory = aligned_alloc(64, (records_size(capacity) + 63) / 64 * 64);

	ck_assert_ptr_nonnull(memory);
	memset(memory, 0, records_size(capacity));
	return records_init(memory, capacity);
}

static inline struct core_config world_config(uint32_t page_shift, uint64_t bytes)
{
	return (struct core_config){
		.page_shift = page_shift,
		.n_nodes = 1,
		.node_bytes = {bytes},
		.share = bytes,
		.uid = 500,
		.seed = 7,
	};
}

static inline struct world world_new_with(struct core_config config)
{
	struct record_capacity capacity = WORLD_SLOTS;
	struct world world = {.config = config, .size = records_size(&capacity)};

	world.records = world_table(&capacity);
	ck_assert_int_eq(core_new(&world.core, &world.config, world.records), 0);
	return world;
}

static inline struct world world_new(uint32_t page_shift, uint64_t bytes)
{
	return world_new_with(world_config(page_shift, bytes));
}

/* The invariants hold, and what is recovered from a copy of the records is the same core. */
static inline void world_check(const struct world *world, bool plans)
{
	void *copy = aligned_alloc(64, (world->size + 63) / 64 * 64);
	struct core *again;
	const char *wrong = core_check(world->core);

	ck_assert_msg(!wrong, "%s", wrong);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, world->records, world->size);
	ck_assert_int_eq(core_recover(&again, &world->config, records_open(copy, world->size)),
			 0);
	wrong = core_check(again);
	ck_assert_msg(!wrong, "recovered: %s", wrong);
	if (!plans) {
		wrong = core_differ(world->core, again);
		ck_assert_msg(!wrong, "the recovered core differs in %s", wrong);
	}
	core_free(again);
	free(copy);
}

static inline void world_end(struct world *world)
{
	core_free(world->core);
	free(world->records);
}

static inline uint32_t world_session(struct world *world, uint32_t uid)
{
	struct session_request request = {
		.credentials = {uid, uid}, .pid = 1000 + uid, .birth = 77, .image = 99};
	uint32_t session;

	ck_assert_int_eq(core_session_open(world->core, &request, &session, &world->fault), 0);
	return session;
}

static inline int world_try_create(struct world *world, struct space_request request,
				   uint32_t *ret, struct plan **ret_plan)
{
	return core_space_create(world->core, &request, ret, ret_plan, &world->fault);
}

static inline uint32_t world_create(struct world *world, struct space_request request)
{
	struct plan *plan;
	uint32_t space;

	ck_assert_int_eq(world_try_create(world, request, &space, &plan), 0);
	plan_commit(world->core, plan);
	return space;
}

static inline uint32_t world_open(struct world *world, uint32_t session, const char *name)
{
	uint32_t space;

	ck_assert_int_eq(core_space_open(world->core, session, name, false, NULL, 0, &space,
					 &world->fault),
			 0);
	return space;
}

static inline int world_try_alloc(struct world *world, uint32_t session, uint32_t space,
				  uint64_t size, enum extent_kind kind, struct extent_info *ret,
				  struct plan **ret_plan)
{
	struct extent_request request = {.size = size, .kind = kind};

	return core_extent_alloc(world->core, session, space, &request, ret, ret_plan,
				 &world->fault);
}

/* And the plan, if any, is carried out. */
static inline struct extent_info world_alloc(struct world *world, uint32_t session,
					     uint32_t space, uint64_t size,
					     enum extent_kind kind)
{
	struct extent_info info;
	struct plan *plan;

	ck_assert_int_eq(world_try_alloc(world, session, space, size, kind, &info, &plan), 0);
	if (plan)
		plan_commit(world->core, plan);
	return info;
}

static inline int world_free(struct world *world, uint32_t session, uint32_t space,
			     struct extent_info info)
{
	return core_extent_free(world->core, session, space, info.offset, info.tag,
				&world->fault);
}

/* An end of a channel, and the id that it takes to have one. */
static inline struct channel_info world_channel(struct world *world, uint32_t session,
						uint32_t space, const char *name,
						uint32_t roles)
{
	struct channel_request request = {.name = name, .roles = roles};
	struct channel_info info;
	struct plan *plan;
	uint32_t id;

	ck_assert_int_eq(core_holder_open(world->core, session, space, &id, &world->fault), 0);
	ck_assert_int_eq(core_channel_open(world->core, session, space, &request, &info, &plan,
					   &world->fault),
			 0);
	if (plan)
		plan_commit(world->core, plan);
	return info;
}

static inline uint32_t world_cache(struct world *world, uint32_t session, uint32_t space,
				   const char *name)
{
	struct cache_request request = {.name = name};
	uint32_t cache;

	ck_assert_int_eq(
		core_cache_open(world->core, session, space, &request, &cache, &world->fault),
		0);
	return cache;
}

/* Session 0: the cache's own. And the plan, if any, is carried out. */
static inline struct extent_info world_lease(struct world *world, uint32_t session,
					     uint32_t cache, uint64_t size)
{
	struct cache_lease lease = {.kind = size > CHUNK_BYTES ? EXTENT_OBJECT : EXTENT_SEGMENT,
				    .size = size};
	struct extent_info info = {0};
	struct plan *plan;

	ck_assert_int_eq(core_cache_lease(world->core, session, cache, &lease, &info, &plan,
					  &world->fault),
			 0);
	if (plan)
		plan_commit(world->core, plan);
	return info;
}

static inline struct space_view world_space(const struct world *world, uint32_t space)
{
	struct space_view view;

	ck_assert(core_space_view(world->core, space, &view));
	return view;
}

static inline int world_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
