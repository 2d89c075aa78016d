#include "tests/unit/core_world.h"

#include <errno.h>

#include "daemon/core/policy/policy.h"

static struct world world;
static uint32_t one, two, space;

static void setup(void)
{
	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

static int try_open(uint32_t session, struct cache_request request, uint32_t *ret)
{
	return core_cache_open(world.core, session, space, &request, ret, &world.fault);
}

static struct estate_view view_of(uint32_t cache)
{
	struct estate_view view;

	ck_assert(core_cache_view(world.core, cache, &view));
	return view;
}

static int seal(uint32_t session, struct extent_info info)
{
	return core_cache_seal(world.core, session, space, info.offset, info.tag, &world.fault);
}

/* Some slices of it. */
static int give(uint32_t cache, struct extent_info info, uint32_t first, uint32_t count)
{
	return core_cache_return(world.core, cache, info.offset + first * SLICE_BYTES,
				 count * SLICE_BYTES, &world.fault);
}

static uint64_t used_by(uint32_t session)
{
	struct session_view view;

	ck_assert(core_session_view(world.core, session, &view));
	return view.used;
}

static void end(uint32_t session)
{
	struct plan *plan = NULL;
	int r;

	do
		r = core_session_end(world.core, session, &plan);
	while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	ck_assert_ptr_null(plan);
}

static void reap(void)
{
	int r;

	do
		r = core_cache_reap(world.core);
	while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
}

/* What the slice map says of a slice by now; 0 if nothing was said of it. */
static struct slice_info said_of(struct extent_info info, uint32_t slice)
{
	uint32_t n, first = (uint32_t)(offset_position(info.offset) >> SLICE_SHIFT);
	const struct change *changes = core_changes(world.core, &n);
	struct slice_info said = {0};

	for (uint32_t i = 0; i < n; ++i) {
		if (changes[i].kind != CHANGE_SLICES || first + slice < changes[i].first ||
		    first + slice >= changes[i].first + changes[i].count)
			continue;
		said = slice_word_unpack(changes[i].word);
		said.head &= first + slice == changes[i].first;
	}
	return said;
}

START_TEST(a_cache_is_made_once_and_opened_by_all)
{
	struct cache_request request = {
		.name = "thumbs", .capacity = 5 * MIB, .policy = "lru", .ttl_ms = 7000};
	struct estate_view view;
	uint32_t cache, same;

	ck_assert_int_eq(try_open(one, request, &cache), 0);
	ck_assert_uint_ne(cache, 0);
	ck_assert_int_eq(try_open(two, (struct cache_request){.name = "thumbs"}, &same), 0);
	ck_assert_uint_eq(same, cache);
	/* who has it open gets the same answer again */
	ck_assert_int_eq(try_open(one, request, &same), 0);
	ck_assert_uint_eq(same, cache);
	view = view_of(cache);
	ck_assert_str_eq(view.name, "thumbs");
	ck_assert_uint_eq(view.space, space);
	ck_assert_uint_eq(view.capacity, 5 * MIB);
	ck_assert_uint_eq(view.policy, POLICY_LRU);
	ck_assert_uint_eq(view.ttl_ms, 7000);
	ck_assert_uint_eq(view.sessions, 2);
	ck_assert_uint_eq(world_space(&world, space).caches, 1);
	ck_assert_uint_eq(core_cache_named(world.core, space, "thumbs"), cache);
	ck_assert_uint_eq(core_cache_next(world.core, 0), cache);
	ck_assert_uint_eq(core_cache_next(world.core, cache + 1), UINT32_MAX);
	ck_assert_uint_eq(core_cache_user(world.core, cache, 0), one);
	ck_assert_uint_eq(core_cache_user(world.core, cache, one + 1), two);
	ck_assert_uint_eq(core_cache_user(world.core, cache, two + 1), UINT32_MAX);

	/* it stays when nobody has it open */
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), 0);
	ck_assert(!core_cache_has(world.core, cache, one));
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), CORE_E_NOT_FOUND);
	end(two);
	ck_assert_uint_eq(view_of(cache).sessions, 0);
	request.existing = true;
	ck_assert_int_eq(try_open(one, request, &same), 0);
	ck_assert_uint_eq(same, cache);

	/* of one that says nothing else, the defaults */
	view = view_of(world_cache(&world, one, space, "plain"));
	ck_assert_uint_eq(view.capacity, 8 * MIB);
	ck_assert_uint_eq(view.policy, POLICY_S3FIFO);
	ck_assert_uint_eq(view.ttl_ms, 0);
}
END_TEST

START_TEST(who_may_not_make_one_is_told_why)
{
	uint32_t cache, reader = world_session(&world, 0), other;
	struct cache_request request = {.name = "c"};
	struct quota_limits limits = world.config.limits;

	ck_assert_int_eq(
		core_space_open(world.core, reader, "a", true, NULL, 0, &other, &world.fault),
		0);
	ck_assert_int_eq(try_open(reader, request, &cache), CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	ck_assert_int_eq(try_open(99, request, &cache), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "session");
	request.name = "a/b";
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "name");
	request = (struct cache_request){.name = "c", .capacity = 16 * MIB + 1};
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "capacity");
	ck_assert_uint_eq(world.fault.requested, 16 * MIB + 1);
	ck_assert_uint_eq(world.fault.max, 16 * MIB);
	request = (struct cache_request){.name = "c", .policy = "mru"};
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "policy");
	request = (struct cache_request){.name = "c", .ttl_ms = UINT64_MAX};
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "ttl");
	request = (struct cache_request){.name = "c", .existing = true};
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "cache");
	world_check(&world, false);
	ck_assert_uint_eq(core_cache_next(world.core, 0), UINT32_MAX);

	world_cache(&world, one, space, "c");
	request = (struct cache_request){.name = "c", .exclusive = true};
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_EXISTS);
	ck_assert_str_eq(world.fault.which, "cache");
	/* readers open what is there, and fill nothing */
	request = (struct cache_request){.name = "c"};
	ck_assert_int_eq(try_open(reader, request, &cache), 0);
	ck_assert_int_eq(
		core_cache_lease(world.core, reader, cache,
				 &(struct cache_lease){.kind = EXTENT_SEGMENT, .size = MIB},
				 &(struct extent_info){0}, &(struct plan *){NULL},
				 &world.fault),
		CORE_E_PERMISSION);

	limits.max[QUOTA_CACHES] = 1; /* root is not bound; the space is root's */
	limits.max[QUOTA_OPENS] = 1;
	core_limits_set(world.core, &limits);
	world_cache(&world, one, space, "more");
	for (uint32_t i = 0; i < 13; ++i) {
		char name[8];

		snprintf(name, sizeof(name), "c%u", i);
		world_cache(&world, one, space, name);
	}
	request.name = "full";
	ck_assert_int_eq(try_open(one, request, &cache), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.caches");
	ck_assert(world.fault.all);
	ck_assert_uint_eq(world.fault.max, 15);
}
END_TEST

START_TEST(caches_count_against_who_owns_the_space)
{
	struct quota_limits limits = world.config.limits;
	uint32_t his = world_session(&world, 7), cache;
	const struct quota *quota;

	limits.max[QUOTA_CACHES] = 2;
	limits.max[QUOTA_OPENS] = 4;
	core_limits_set(world.core, &limits);
	space = world_create(
		&world, (struct space_request){
				.name = "b", .limit = 8 * MIB, .owner = {9, 9}, .mode = 0666});
	world_open(&world, his, "b");
	world_cache(&world, his, space, "x");
	world_cache(&world, his, space, "y");
	ck_assert_int_eq(try_open(his, (struct cache_request){.name = "z"}, &cache),
			 CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.caches");
	ck_assert_uint_eq(world.fault.max, 2);
	ck_assert_uint_eq(world.fault.held, 2);
	quota = quota_find(core_quotas(world.core), 9);
	ck_assert_uint_eq(quota->held[QUOTA_CACHES], 2);
	ck_assert_uint_eq(quota->held[QUOTA_OPENS], 0);
	/* that he has them open, against himself */
	quota = quota_find(core_quotas(world.core), 7);
	ck_assert_uint_eq(quota->held[QUOTA_OPENS], 3);
	limits.max[QUOTA_CACHES] = 9;
	limits.max[QUOTA_OPENS] = 3;
	core_limits_set(world.core, &limits);
	ck_assert_int_eq(try_open(his, (struct cache_request){.name = "z"}, &cache),
			 CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.opens");
	/* a space that is given away takes its caches along */
	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "b",
					   &(struct space_change){.set = SPACE_SET_UID,
								  .to = {.owner = {11, 0}}},
					   &(struct plan *){NULL}, &world.fault),
			 0);
	ck_assert_uint_eq(quota_find(core_quotas(world.core), 11)->held[QUOTA_CACHES], 2);
}
END_TEST

/* Of the daemon's own, besides what the ledger has. */
START_TEST(files_of_caches_and_sessions_are_metadata_of_whose_they_are)
{
	struct quota_limits limits = world.config.limits;
	uint32_t his = world_session(&world, 7), cache;
	const struct quota *owner, *user;
	uint64_t before, mine;

	space = world_create(
		&world, (struct space_request){
				.name = "b", .limit = 8 * MIB, .owner = {9, 9}, .mode = 0666});
	world_open(&world, his, "b");
	cache = world_cache(&world, his, space, "x");
	owner = quota_find(core_quotas(world.core), 9);
	user = quota_find(core_quotas(world.core), 7);
	before = owner->held[QUOTA_METADATA];
	mine = user->held[QUOTA_METADATA];
	limits.max[QUOTA_METADATA] = u64_max(before, mine) + MIB;
	core_limits_set(world.core, &limits);
	ck_assert_int_eq(core_cache_files(world.core, cache, MIB / 2, &world.fault), 0);
	ck_assert_int_eq(core_session_files(world.core, his, MIB / 4, &world.fault), 0);
	ck_assert_uint_eq(owner->held[QUOTA_METADATA], before + MIB / 2);
	ck_assert_uint_eq(user->held[QUOTA_METADATA], mine + MIB / 4);
	ck_assert_ptr_null(core_check(world.core));
	ck_assert_int_eq(core_cache_files(world.core, cache, 9 * MIB, &world.fault),
			 CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.metadata");
	ck_assert_int_eq(core_session_files(world.core, his, 9 * MIB, &world.fault),
			 CORE_E_LIMIT);
	ck_assert_uint_eq(owner->held[QUOTA_METADATA], before + MIB / 2);
	limits.max[QUOTA_METADATA] = 1; /* less is never refused */
	core_limits_set(world.core, &limits);
	ck_assert_int_eq(core_cache_files(world.core, cache, MIB / 3, &world.fault), 0);
	limits.max[QUOTA_METADATA] = 0;
	core_limits_set(world.core, &limits);
	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "b",
					   &(struct space_change){.set = SPACE_SET_UID,
								  .to = {.owner = {11, 0}}},
					   &(struct plan *){NULL}, &world.fault),
			 0);
	ck_assert_ptr_null(core_check(world.core));
	owner = quota_find(core_quotas(world.core), 11);
	ck_assert_uint_eq(owner->held[QUOTA_METADATA], before + MIB / 3);
	ck_assert_int_eq(core_cache_files(world.core, cache, 0, &world.fault), 0);
	ck_assert_uint_eq(owner->held[QUOTA_METADATA], before);
	ck_assert_int_eq(core_cache_files(world.core, cache, MIB, &world.fault), 0);
}
END_TEST

START_TEST(a_segment_is_paid_for_by_who_fills_it_until_it_is_sealed)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct extent_info a = world_lease(&world, one, cache, 64 * KIB);
	struct extent_info b = world_lease(&world, one, cache, 2 * MIB);
	struct extent_info big = world_lease(&world, one, cache, 3 * MIB);
	struct extent_place place;
	struct estate_view view = view_of(cache);

	ck_assert_uint_eq(offset_position(b.offset) % CHUNK_BYTES, 0);
	ck_assert_uint_eq(view.segments, 2);
	ck_assert_uint_eq(view.objects, 1);
	ck_assert_uint_eq(view.bytes, 5 * MIB + 64 * KIB);
	ck_assert_uint_eq(used_by(one), view.bytes);
	ck_assert(core_extent_at(world.core, space, b.offset + MIB, &place));
	ck_assert_int_eq(place.kind, EXTENT_SEGMENT);
	ck_assert_uint_eq(place.session, one);
	ck_assert_uint_eq(place.cache, cache);
	ck_assert_int_eq(said_of(big, 0).kind, EXTENT_OBJECT);
	ck_assert_uint_eq(said_of(big, 0).session, one);
	world_check(&world, false);

	/* nobody but him seals it, and he once */
	ck_assert_int_eq(seal(two, b), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");
	ck_assert_int_eq(world_free(&world, one, space, b), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");
	ck_assert_int_eq(seal(one, b), 0);
	ck_assert_int_eq(seal(one, b), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");
	b.tag ^= 1;
	ck_assert_int_eq(seal(one, b), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "stale");
	ck_assert_uint_eq(used_by(one), 3 * MIB + 64 * KIB);
	ck_assert_uint_eq(said_of(b, 0).session, 0);
	ck_assert_uint_eq(said_of(b, 0).count, 32);
	ck_assert_uint_eq(view_of(cache).bytes, view.bytes);
	ck_assert_uint_eq(world_space(&world, space).used, view.bytes);
	world_check(&world, false);

	/* his end seals the rest */
	end(one);
	ck_assert_uint_eq(view_of(cache).bytes, view.bytes);
	ck_assert_uint_eq(view_of(cache).sessions, 0);
	ck_assert(core_extent_at(world.core, space, a.offset, &place));
	ck_assert_uint_eq(place.session, 0);
	ck_assert_uint_eq(said_of(big, 0).session, 0);
	ck_assert(!core_sweep_due(world.core, space));
	ck_assert(!core_sweep_pays(world.core, space));
}
END_TEST

START_TEST(what_is_sealed_is_beyond_the_clients_limit)
{
	struct space_change change = {.set = SPACE_SET_CLIENT_LIMIT,
				      .to = {.client_limit = 2 * MIB}};
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = 2 * MIB};
	uint32_t cache = world_cache(&world, one, space, "c");
	struct extent_info info;
	struct plan *plan;

	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a",
					   &change, &plan, &world.fault),
			 0);
	for (uint32_t i = 0; i < 4; ++i) {
		struct extent_info full = world_lease(&world, one, cache, 2 * MIB);

		ck_assert_int_eq(core_cache_lease(world.core, one, cache, &lease, &info, &plan,
						  &world.fault),
				 CORE_E_BUDGET);
		ck_assert_str_eq(world.fault.which, "client");
		ck_assert_uint_eq(world.fault.requested, 2 * MIB);
		ck_assert_uint_eq(world.fault.remaining, 0);
		ck_assert_int_eq(seal(one, full), 0);
	}
	lease.size = 2 * MIB + 1;
	ck_assert_int_eq(
		core_cache_lease(world.core, one, cache, &lease, &info, &plan, &world.fault),
		CORE_E_TOO_LARGE);
	ck_assert_uint_eq(world.fault.max, 2 * MIB);
	lease.kind = EXTENT_PRIVATE;
	ck_assert_int_eq(
		core_cache_lease(world.core, one, cache, &lease, &info, &plan, &world.fault),
		CORE_E_INVALID);
	/* without the cache there is nothing to fill */
	lease.kind = EXTENT_SEGMENT;
	ck_assert_int_eq(
		core_cache_lease(world.core, two, cache, &lease, &info, &plan, &world.fault),
		CORE_E_NOT_FOUND);
	/* nor is there memory for a cache by other ways */
	ck_assert_int_eq(world_try_alloc(&world, one, space, MIB, EXTENT_SEGMENT, &info, &plan),
			 CORE_E_INVALID);
}
END_TEST

START_TEST(a_segment_of_nobodys_is_the_caches_at_once)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = MIB};
	struct extent_info info = world_lease(&world, 0, cache, 2 * MIB);
	struct extent_place place;
	struct plan *plan;

	ck_assert(core_extent_at(world.core, space, info.offset, &place));
	ck_assert_uint_eq(place.session, 0);
	ck_assert_uint_eq(place.cache, cache);
	ck_assert_uint_eq(view_of(cache).bytes, 2 * MIB);
	ck_assert_uint_eq(used_by(one), 0);
	/* and if it cannot be made, of nobody */
	ck_assert_int_eq(
		core_cache_lease(world.core, 0, cache, &lease, &info, &plan, &world.fault), 0);
	ck_assert_ptr_nonnull(plan);
	world_check(&world, true);
	plan_abort(world.core, plan);
	ck_assert_uint_eq(view_of(cache).bytes, 2 * MIB);
	ck_assert_uint_eq(view_of(cache).segments, 1);
}
END_TEST

START_TEST(slices_of_a_sealed_segment_go_from_anywhere)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct extent_info info = world_lease(&world, one, cache, 2 * MIB), other;
	struct extent_place place;

	ck_assert_int_eq(give(cache, info, 3, 1), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "leased");
	ck_assert_int_eq(seal(one, info), 0);
	ck_assert_int_eq(give(cache, info, 0, 33), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "foreign");
	ck_assert_int_eq(give(0, info, 0, 1), CORE_E_NOT_FOUND);

	/* its head, its tail, and what lies between */
	ck_assert_int_eq(give(cache, info, 0, 2), 0);
	world_check(&world, false);
	ck_assert_int_eq(give(cache, info, 0, 1), CORE_E_REFERENCE);
	ck_assert_int_eq(give(cache, info, 30, 2), 0);
	world_check(&world, false);
	ck_assert_int_eq(give(cache, info, 10, 10), 0);
	world_check(&world, false);
	ck_assert_int_eq(give(cache, info, 4, 1), 0);
	world_check(&world, false);
	ck_assert_int_eq(give(cache, info, 9, 2), CORE_E_REFERENCE); /* across a hole */
	ck_assert_uint_eq(view_of(cache).bytes, 17 * 64 * KIB);
	ck_assert_uint_eq(world_space(&world, space).used, 17 * 64 * KIB);
	ck_assert_uint_eq(said_of(info, 4).kind, EXTENT_NONE);
	ck_assert_uint_eq(said_of(info, 5).kind, EXTENT_SEGMENT);
	ck_assert(core_extent_at(world.core, space, info.offset + 5 * SLICE_BYTES, &place));
	ck_assert_uint_eq(place.tag, info.tag);
	ck_assert_uint_eq(place.count, 28);
	ck_assert(!core_extent_at(world.core, space, info.offset + 12 * SLICE_BYTES, &place));

	/* others use the holes */
	other = world_alloc(&world, two, space, 10 * 64 * KIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(other.offset, info.offset + 10 * SLICE_BYTES);
	world_check(&world, false);
	/* a sweep steps over what is left, and finds what lies between */
	ck_assert_uint_eq(world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED).offset,
			  info.offset + 4 * SLICE_BYTES);
	ck_assert_uint_eq(world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED).offset,
			  info.offset);
	ck_assert_uint_eq(world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED).offset,
			  info.offset + SLICE_BYTES);
	{
		struct extent_place places[8];
		uint64_t dead[IDS_MAX / 64];
		uint32_t n;

		ck_assert_int_eq(core_sweep_begin(world.core, space, dead), 0);
		ck_assert_int_eq(core_sweep_next(world.core, space, places, 8, &n), 0);
		ck_assert_uint_eq(n, 3);
		core_sweep_end(world.core, space, true);
	}

	/* and it goes with its last slices */
	ck_assert_int_eq(give(cache, info, 2, 2), 0);
	ck_assert_int_eq(give(cache, info, 5, 5), 0);
	world_check(&world, false);
	ck_assert_uint_eq(view_of(cache).segments, 1);
	ck_assert_int_eq(give(cache, info, 20, 10), 0);
	ck_assert_uint_eq(view_of(cache).segments, 0);
	ck_assert_uint_eq(view_of(cache).bytes, 0);
	ck_assert_uint_eq(world_space(&world, space).used, 13 * 64 * KIB);
}
END_TEST

/* What it says next of a run that is this. */
static void run_is(uint64_t *at, uint64_t offset, uint64_t size, uint32_t cache,
		   uint32_t session, bool object)
{
	struct cache_run run;

	ck_assert(core_cache_run(world.core, at, &run));
	ck_assert_uint_eq(run.offset, offset);
	ck_assert_uint_eq(run.size, size);
	ck_assert_uint_eq(run.cache, cache);
	ck_assert_uint_eq(run.session, session);
	ck_assert_int_eq(run.object, object);
}

START_TEST(the_memory_of_caches_is_listed_run_by_run)
{
	uint32_t c = world_cache(&world, one, space, "c");
	uint32_t d = world_cache(&world, two, space, "d");
	struct extent_info holes = world_lease(&world, 0, c, 2 * MIB), leased, object;
	struct cache_run none;
	uint64_t at = 0;

	world_alloc(&world, one, space, MIB, EXTENT_SHARED);
	leased = world_lease(&world, two, d, 64 * KIB);
	object = world_lease(&world, one, c, 3 * MIB);
	ck_assert_int_eq(give(c, holes, 0, 1), 0);
	ck_assert_int_eq(give(c, holes, 4, 3), 0);
	ck_assert_int_eq(give(c, holes, 31, 1), 0);
	for (uint32_t i = 0; i < 2; ++i) {
		at = 0;
		run_is(&at, holes.offset + SLICE_BYTES, 3 * SLICE_BYTES, c, 0, false);
		run_is(&at, holes.offset + 7 * SLICE_BYTES, 24 * SLICE_BYTES, c, 0, false);
		run_is(&at, leased.offset, 64 * KIB, d, two, false);
		run_is(&at, object.offset, 3 * MIB, c, one, true);
		ck_assert(!core_cache_run(world.core, &at, &none));
		core_free(world.core);
		ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	}
}
END_TEST

START_TEST(a_segment_with_holes_goes_with_its_cache)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct extent_info info = world_lease(&world, 0, cache, 2 * MIB);

	for (uint32_t i = 1; i < 32; i += 2)
		ck_assert_int_eq(give(cache, info, i, 1), 0);
	world_check(&world, false);
	ck_assert_uint_eq(view_of(cache).bytes, MIB);
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), 0);
	ck_assert_int_eq(core_cache_remove(world.core, one, space, "c", false, &world.fault),
			 0);
	reap();
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	for (uint32_t i = 0; i < 32; ++i)
		ck_assert_int_eq(said_of(info, i).kind, EXTENT_NONE);
	ck_assert(!core_cache_view(world.core, cache, &(struct estate_view){0}));
}
END_TEST

START_TEST(a_large_object_goes_whole)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct extent_info info = world_lease(&world, one, cache, 3 * MIB);

	ck_assert_int_eq(seal(one, info), 0);
	/* its publication has sealed it, and who published it says so, too */
	ck_assert_int_eq(seal(one, info), 0);
	ck_assert_uint_eq(world_space(&world, space).counts.refused, 0);
	ck_assert_int_eq(give(cache, info, 0, 3), CORE_E_REFERENCE);
	ck_assert_int_eq(give(cache, info, 1, 47), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "foreign");
	ck_assert_int_eq(give(cache, info, 0, 48), 0);
	ck_assert_uint_eq(view_of(cache).objects, 0);
	ck_assert_uint_eq(world_space(&world, space).used, 0);
}
END_TEST

static int change(uint32_t session, struct cache_change change)
{
	return core_cache_change(world.core, session, space, "c", &change, &world.fault);
}

START_TEST(terms_of_a_cache_change_while_it_is_used)
{
	uint32_t cache = world_cache(&world, one, space, "c"), slot;
	uint32_t reader = world_session(&world, 0);
	struct estate_view view;

	ck_assert_int_eq(change(two, (struct cache_change){.set = CACHE_SET_ALL,
							   .capacity = MIB,
							   .ttl_ms = 5,
							   .policy = "gdsf"}),
			 0);
	view = view_of(cache);
	ck_assert_uint_eq(view.capacity, MIB);
	ck_assert_uint_eq(view.ttl_ms, 5);
	ck_assert_uint_eq(view.policy, POLICY_GDSF);
	world_check(&world, false);
	/* what is wrong in any of them changes none */
	ck_assert_int_eq(change(two, (struct cache_change){.set = CACHE_SET_ALL,
							   .capacity = 2 * MIB,
							   .ttl_ms = 6,
							   .policy = "what"}),
			 CORE_E_INVALID);
	ck_assert_int_eq(change(two, (struct cache_change){.set = CACHE_SET_CAPACITY}),
			 CORE_E_INVALID);
	ck_assert_uint_eq(view_of(cache).capacity, MIB);
	ck_assert_int_eq(
		core_space_open(world.core, reader, "a", true, NULL, 0, &slot, &world.fault),
		0);
	ck_assert_int_eq(change(reader, (struct cache_change){.set = CACHE_SET_TTL}),
			 CORE_E_PERMISSION);
	ck_assert_int_eq(core_cache_remove(world.core, reader, space, "c", true, &world.fault),
			 CORE_E_PERMISSION);
	/* a limit that is lowered leaves a capacity above it as it is */
	ck_assert_int_eq(change(one, (struct cache_change){.set = CACHE_SET_CAPACITY,
							   .capacity = 16 * MIB}),
			 0);
	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a",
					   &(struct space_change){.set = SPACE_SET_LIMIT,
								  .to = {.limit = 4 * MIB}},
					   &(struct plan *){NULL}, &world.fault),
			 0);
	ck_assert_uint_eq(view_of(cache).capacity, 16 * MIB);
}
END_TEST

START_TEST(a_cache_in_use_is_removed_by_force_alone)
{
	uint32_t cache = world_cache(&world, one, space, "c"), again;
	struct extent_info info = world_lease(&world, one, cache, MIB);

	world_cache(&world, two, space, "c");
	ck_assert_int_eq(core_cache_remove(world.core, two, space, "c", false, &world.fault),
			 CORE_E_IN_USE);
	ck_assert_uint_eq(world.fault.available, 2);
	ck_assert_int_eq(core_cache_remove(world.core, two, space, "d", false, &world.fault),
			 CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_cache_remove(world.core, two, space, "c", true, &world.fault), 0);
	ck_assert(view_of(cache).removed);
	reap();
	world_check(&world, false);

	/* its name is another's from now on; who has it open goes on */
	ck_assert_uint_eq(core_cache_named(world.core, space, "c"), 0);
	again = world_cache(&world, two, space, "c");
	ck_assert_uint_ne(again, cache);
	ck_assert_int_eq(seal(one, info), 0);
	world_lease(&world, one, cache, 64 * KIB);
	ck_assert_int_eq(core_cache_close(world.core, two, space, cache), 0);
	reap();
	ck_assert_uint_eq(view_of(cache).bytes, MIB + 64 * KIB);
	/* until the last of them goes, and its memory with it */
	end(one);
	ck_assert_uint_eq(view_of(cache).sessions, 0);
	world_check(&world, false);
	reap();
	ck_assert(!core_cache_view(world.core, cache, &(struct estate_view){0}));
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	ck_assert_uint_eq(world_space(&world, space).caches, 1);
}
END_TEST

START_TEST(a_plan_keeps_who_waits_for_it_and_its_cache)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = MIB};
	struct extent_info info;
	struct plan *plan, *none;

	ck_assert_int_eq(
		core_cache_lease(world.core, one, cache, &lease, &info, &plan, &world.fault),
		0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), CORE_E_BUSY);
	ck_assert_int_eq(core_session_end(world.core, one, &none), CORE_E_BUSY);
	plan_commit(world.core, plan);
	end(one);

	lease.size = 2 * MIB;
	ck_assert_int_eq(
		core_cache_lease(world.core, 0, cache, &lease, &info, &plan, &world.fault), 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_int_eq(core_cache_remove(world.core, two, space, "c", false, &world.fault),
			 0);
	ck_assert_int_eq(core_cache_reap(world.core), CORE_E_BUSY);
	world_check(&world, true);
	plan_commit(world.core, plan);
	reap();
	ck_assert_uint_eq(world_space(&world, space).used, 0);
}
END_TEST

START_TEST(a_removed_space_takes_its_caches_along)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	struct plan *plan = NULL;
	int r;

	world_cache(&world, two, space, "c");
	world_cache(&world, two, space, "d");
	for (uint32_t i = 0; i < 100; ++i)
		world_lease(&world, i % 2 ? one : 0, cache, 64 * KIB);
	ck_assert_int_eq(core_cache_remove(world.core, one, space, "d", true, &world.fault), 0);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "a", true,
					   &plan, &world.fault),
			 0);
	end(one);
	do
		r = core_session_end(world.core, two, &plan);
	while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(core_view(world.core).used, 0);
	for (uint32_t i = 0; i < 16; ++i)
		ck_assert(!records_valid(world.records, RECORD_CACHE, i));
	for (uint32_t i = 0; i < 64; ++i)
		ck_assert(!records_valid(world.records, RECORD_USER, i));
}
END_TEST

START_TEST(what_goes_in_many_steps_can_be_asked_for_again)
{
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = 64 * KIB};
	uint32_t cache, calls = 0;
	struct extent_info info;
	struct plan *plan;
	int r;

	space = world_create(&world, (struct space_request){.name = "b", .limit = 32 * MIB});
	world_open(&world, one, "b");
	cache = world_cache(&world, one, space, "c");
	for (uint32_t i = 0; i < 300; ++i)
		world_lease(&world, one, cache, 64 * KIB);
	r = core_cache_close(world.core, one, space, cache);
	ck_assert_int_eq(r, CORE_MORE);
	/* meanwhile he fills nothing */
	ck_assert_int_eq(
		core_cache_lease(world.core, one, cache, &lease, &info, &plan, &world.fault),
		CORE_E_NOT_FOUND);
	ck_assert_int_eq(try_open(one, (struct cache_request){.name = "c"}, &cache),
			 CORE_E_BUSY);
	world_check(&world, false);
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), 0);
	ck_assert_uint_eq(used_by(one), 0);
	ck_assert_int_eq(core_cache_remove(world.core, one, space, "c", false, &world.fault),
			 0);
	/* dead in the midst: what comes up again goes on with it */
	ck_assert_int_eq(core_cache_reap(world.core), CORE_MORE);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert(view_of(cache).removed);
	for (r = CORE_MORE; r == CORE_MORE; ++calls)
		r = core_cache_reap(world.core);
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	ck_assert(!core_cache_view(world.core, cache, &(struct estate_view){0}));
}
END_TEST

START_TEST(a_space_keeps_its_seed_of_key_hashes)
{
	const struct space_record *record;
	uint32_t slot =
		world_create(&world, (struct space_request){.name = "b",
							    .limit = 4 * MIB,
							    .hash_seed = 0x123456789abcdef0});

	record = records_at(world.records, RECORD_SPACE, slot);
	ck_assert_uint_eq(record->hash_seed, 0x123456789abcdef0);
	ck_assert_uint_eq(world_space(&world, slot).hash_seed, 0x123456789abcdef0);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert_uint_eq(world_space(&world, slot).hash_seed, 0x123456789abcdef0);
}
END_TEST

/* A copy: recovery clears what is nobody's before it comes to what cannot be. */
static void refused(void)
{
	void *copy = aligned_alloc(64, (world.size + 63) / 64 * 64);
	struct core *core;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, world.records, world.size);
	ck_assert_int_eq(core_recover(&core, &world.config, records_open(copy, world.size)),
			 -EUCLEAN);
	free(copy);
}

static void recovered_without(enum record_kind kind, uint32_t slot)
{
	struct records *copy = aligned_alloc(64, (world.size + 63) / 64 * 64);
	struct core *core;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, world.records, world.size);
	ck_assert_int_eq(core_recover(&core, &world.config, records_open(copy, world.size)), 0);
	ck_assert_ptr_null(core_check(core));
	ck_assert(!records_valid(copy, kind, slot));
	core_free(core);
	free(copy);
}

START_TEST(contradictions_of_caches_are_refused)
{
	uint32_t cache = world_cache(&world, one, space, "c");
	const struct cache_record *at = records_at(world.records, RECORD_CACHE, cache);
	struct cache_record good = *at, bad = good;
	struct user_word user = {.cache = cache, .session = one}, other = user;
	struct extent_owner owner = {.holder = one + 1, .tag = 9, .cache = cache};
	struct extent_run run;

	world_lease(&world, one, cache, MIB);
	run = extent_run_unpack(
		((const struct extent_record *)records_at(world.records, RECORD_EXTENT, 0))
			->run,
		EXTENT_SEGMENT);
	bad.capacity = 0;
	record_cache_put(world.records, cache, &bad);
	refused();
	bad.capacity = 17 * MIB;
	record_cache_put(world.records, cache, &bad);
	refused();
	bad = good;
	bad.ttl_ms = UINT64_MAX;
	record_cache_put(world.records, cache, &bad);
	refused();
	bad = good;
	bad.name[0] = '.';
	record_cache_put(world.records, cache, &bad);
	refused();
	bad = good;
	bad.name[20] = 'x'; /* behind its end */
	record_cache_put(world.records, cache, &bad);
	refused();
	bad = good;
	bad.word = cache_word_pack(
		(struct cache_word){.space = space, .policy = POLICIES, .serial = 1});
	record_cache_put(world.records, cache, &bad);
	refused();
	bad.word = cache_word_pack((struct cache_word){
		.space = space, .serial = records_serial(world.records)}); /* not yet given */
	record_cache_put(world.records, cache, &bad);
	refused();
	bad.word = cache_word_pack((struct cache_word){.space = 9, .serial = 1});
	record_cache_put(world.records, cache, &bad);
	refused();
	record_cache_put(world.records, cache, &good);
	/* two of one name; but not of one that is removed */
	record_cache_put(world.records, cache + 1, &good);
	refused();
	record_clear(world.records, RECORD_CACHE, cache + 1);
	/* none is in slot 0 */
	bad = good;
	bad.name[0] = 'd';
	record_cache_put(world.records, 0, &bad);
	refused();
	record_clear(world.records, RECORD_CACHE, 0);

	record_user_put(world.records, 1, other); /* twice */
	refused();
	/* of none: a cache that was to be made comes after its first user */
	other.cache = cache + 1;
	record_user_put(world.records, 1, other);
	recovered_without(RECORD_USER, 1);
	other = (struct user_word){.cache = cache, .session = 30};
	record_user_put(world.records, 1, other);
	refused();
	record_clear(world.records, RECORD_USER, 1);

	/* who fills it has it open */
	record_clear(world.records, RECORD_USER, 0);
	refused();
	record_user_put(world.records, 0, user);
	/* what is a cache's is of a cache, and of its kind, and in its space */
	owner.kind = EXTENT_SEGMENT;
	owner.cache = 0;
	record_extent_owner(world.records, 0, owner);
	refused();
	owner.cache = cache + 1;
	record_extent_owner(world.records, 0, owner);
	refused();
	owner.cache = 0xffff;
	record_extent_owner(world.records, 0, owner);
	refused();
	owner.cache = cache;
	owner.kind = EXTENT_SHARED;
	record_extent_owner(world.records, 0, owner);
	refused();
	owner.kind = EXTENT_OBJECT + 1;
	record_extent_owner(world.records, 0, owner);
	refused();
	owner.kind = EXTENT_SEGMENT;
	/* a leased one has no holes, a sealed one may */
	run.slices &= ~(uint32_t)2;
	record_extent_owner(world.records, 0, owner);
	record_extent_run(world.records, 0, run);
	refused();
	owner.holder = 0;
	record_extent_owner(world.records, 0, owner);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert_uint_eq(view_of(cache).bytes, MIB - 64 * KIB);
	ck_assert_uint_eq(view_of(cache).segments, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_cache");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_cache_is_made_once_and_opened_by_all);
	tcase_add_test(tcase, who_may_not_make_one_is_told_why);
	tcase_add_test(tcase, caches_count_against_who_owns_the_space);
	tcase_add_test(tcase, files_of_caches_and_sessions_are_metadata_of_whose_they_are);
	tcase_add_test(tcase, a_segment_is_paid_for_by_who_fills_it_until_it_is_sealed);
	tcase_add_test(tcase, what_is_sealed_is_beyond_the_clients_limit);
	tcase_add_test(tcase, a_segment_of_nobodys_is_the_caches_at_once);
	tcase_add_test(tcase, slices_of_a_sealed_segment_go_from_anywhere);
	tcase_add_test(tcase, the_memory_of_caches_is_listed_run_by_run);
	tcase_add_test(tcase, a_segment_with_holes_goes_with_its_cache);
	tcase_add_test(tcase, a_large_object_goes_whole);
	tcase_add_test(tcase, terms_of_a_cache_change_while_it_is_used);
	tcase_add_test(tcase, a_cache_in_use_is_removed_by_force_alone);
	tcase_add_test(tcase, a_plan_keeps_who_waits_for_it_and_its_cache);
	tcase_add_test(tcase, a_removed_space_takes_its_caches_along);
	tcase_add_test(tcase, what_goes_in_many_steps_can_be_asked_for_again);
	tcase_add_test(tcase, a_space_keeps_its_seed_of_key_hashes);
	tcase_add_test(tcase, contradictions_of_caches_are_refused);
	return world_run(suite);
}
