#include "tests/unit/core_world.h"

#include <errno.h>

#include "daemon/core/ids.h"

static struct world world;
static uint32_t one, two, space;

static void setup(void)
{
	uint32_t id;

	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	core_holder_open(world.core, one, space, &id, &world.fault);
	core_holder_open(world.core, two, space, &id, &world.fault);
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

static int try_open(uint32_t session, struct channel_request request, struct channel_info *ret,
		    struct plan **ret_plan)
{
	return core_channel_open(world.core, session, space, &request, ret, ret_plan,
				 &world.fault);
}

static struct channel_info open_with(uint32_t session, struct channel_request request)
{
	struct channel_info info = {0};
	struct plan *plan;

	ck_assert_int_eq(try_open(session, request, &info, &plan), 0);
	if (plan)
		plan_commit(world.core, plan);
	return info;
}

static struct channel_info open_as(uint32_t session, uint32_t roles)
{
	return open_with(session, (struct channel_request){.name = "frames", .roles = roles});
}

static int close_as(uint32_t session, uint32_t id, uint32_t roles)
{
	return core_channel_close(world.core, session, space, id, roles, &world.fault);
}

/* What the root file says of an id by now. */
static struct id_info said_of(uint32_t id)
{
	uint32_t n;
	const struct change *changes = core_changes(world.core, &n);
	uint64_t words[IDS_MAX], said = 0;

	for (uint32_t i = 0; i < n; ++i)
		if (changes[i].kind == CHANGE_ID && changes[i].first == id)
			said = changes[i].word;
	core_id_words(world.core, space, words);
	ck_assert_uint_eq(said, words[id]);
	return id_word_unpack(said);
}

static void end(uint32_t session)
{
	struct plan *plan = NULL;

	ck_assert_int_eq(core_session_end(world.core, session, &plan), 0);
	ck_assert_ptr_null(plan);
}

static void sweep(void)
{
	uint64_t dead[ID_WORDS];

	ck_assert_int_eq(core_sweep_begin(world.core, space, dead), 0);
	core_sweep_end(world.core, space, true);
}

START_TEST(a_channel_is_made_by_a_plan_that_zeroes_its_slice)
{
	struct channel_request request = {
		.name = "frames", .roles = CHANNEL_SENDS, .capacity = 100};
	struct extent_place place;
	struct channel_view view;
	struct channel_info info;
	const struct effect *last;
	struct plan *plan;

	ck_assert_int_eq(try_open(one, request, &info, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	world_check(&world, true);
	last = &plan->effects[plan->n_effects - 1];
	ck_assert_int_eq(last->kind, EFFECT_ZERO);
	ck_assert_uint_eq(last->first, offset_position(info.offset) >> SLICE_SHIFT);
	ck_assert_uint_eq(last->count, 1);
	/* until then it is nowhere to be seen, and others wait */
	ck_assert(!core_channel_view(world.core, space, info.id, &view));
	ck_assert_uint_eq(core_channel_next(world.core, space, 1), 0);
	ck_assert_int_eq(try_open(two, request, &info, &plan), CORE_E_BUSY);
	ck_assert_str_eq(world.fault.which, "plan");
	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), CORE_E_NOT_FOUND);
	plan_commit(world.core, plan);

	ck_assert(core_channel_view(world.core, space, info.id, &view));
	ck_assert_str_eq(view.name, "frames");
	ck_assert_uint_eq(view.senders, 1);
	ck_assert_uint_eq(view.receivers, 0);
	ck_assert_uint_eq(view.info.capacity, 128);
	ck_assert_uint_eq(view.info.offset, info.offset);
	ck_assert_uint_eq(info.size, 64 * KIB);
	ck_assert_uint_eq(core_channel_next(world.core, space, 1), info.id);
	ck_assert_uint_eq(core_channel_next(world.core, space, info.id + 1), 0);
	ck_assert(core_extent_at(world.core, space, info.offset, &place));
	ck_assert_int_eq(place.kind, EXTENT_CHANNEL);
	ck_assert_uint_eq(place.session, 0);
	ck_assert_int_eq(said_of(info.id).kind, ID_CHANNEL);
	ck_assert_uint_eq(said_of(info.id).senders, 1);
	ck_assert(said_of(info.id).had_senders && !said_of(info.id).had_receivers);
	ck_assert_uint_eq(core_holder_at(world.core, space, info.id), 0);

	/* where memory is there already, zeros are still to be stored */
	request.name = "others";
	ck_assert_int_eq(try_open(one, request, &info, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_uint_eq(plan->n_effects, 1);
	ck_assert_int_eq(plan->effects[0].kind, EFFECT_ZERO);
	plan_commit(world.core, plan);
}
END_TEST

START_TEST(a_channel_that_could_not_be_made_was_never_there)
{
	struct channel_request request = {.name = "frames", .roles = 3};
	struct space_view before = world_space(&world, space);
	struct channel_info info, again;
	struct plan *plan;

	ck_assert_int_eq(try_open(one, request, &info, &plan), 0);
	plan_abort(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, space).ids, before.ids);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	ck_assert_int_eq(try_open(two, request, &again, &plan), 0);
	ck_assert_uint_eq(again.id, info.id);
	ck_assert_uint_ne(again.tag, info.tag);
	plan_commit(world.core, plan);
}
END_TEST

START_TEST(ends_are_counted_by_their_roles)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS), again;
	uint32_t n, before;

	ck_assert_uint_eq(open_as(two, CHANNEL_RECEIVES).id, info.id);
	ck_assert_uint_eq(said_of(info.id).senders, 1);
	ck_assert_uint_eq(said_of(info.id).receivers, 1);
	ck_assert(said_of(info.id).had_receivers);
	/* what it has already changes nothing */
	core_changes(world.core, &before);
	again = open_as(one, CHANNEL_SENDS);
	core_changes(world.core, &n);
	ck_assert_uint_eq(n, before);
	ck_assert_uint_eq(again.offset, info.offset);
	ck_assert_uint_eq(again.capacity, 64);
	open_as(one, CHANNEL_SENDS | CHANNEL_RECEIVES);
	ck_assert_uint_eq(said_of(info.id).senders, 1);
	ck_assert_uint_eq(said_of(info.id).receivers, 2);
	world_check(&world, false);

	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), 0);
	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "channel");
	ck_assert_uint_eq(said_of(info.id).senders, 0);
	ck_assert(said_of(info.id).had_senders);
	ck_assert(!said_of(info.id).died);
	world_check(&world, false);
	ck_assert_int_eq(close_as(two, info.id, 3), 0);
	ck_assert_uint_eq(said_of(info.id).receivers, 1);
	ck_assert(!said_of(info.id).dead);
}
END_TEST

START_TEST(a_death_closes_ends_and_says_so)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS);
	uint32_t n, holder = UINT32_MAX, channel = UINT32_MAX, id;
	const struct change *changes;

	open_as(two, CHANNEL_RECEIVES);
	core_holder_open(world.core, one, space, &id, &world.fault);
	core_changes_clear(world.core);
	end(one);
	ck_assert_uint_eq(said_of(info.id).senders, 0);
	ck_assert(said_of(info.id).died);
	ck_assert(!said_of(info.id).dead);
	/* who sees the end gone sees that its holder, who may have a lock, is dead */
	changes = core_changes(world.core, &n);
	for (uint32_t i = n; i--;) {
		if (changes[i].kind == CHANGE_ID && changes[i].first == id)
			holder = i;
		if (changes[i].kind == CHANGE_ID && changes[i].first == info.id)
			channel = i;
	}
	ck_assert_uint_lt(holder, channel);
	world_check(&world, false);
	/* how one of several receivers goes does not change how the last sender went */
	open_as(two, CHANNEL_RECEIVES);
	one = world_session(&world, 0);
	world_open(&world, one, "a");
	world_channel(&world, one, space, "frames", CHANNEL_RECEIVES);
	ck_assert_int_eq(close_as(one, info.id, CHANNEL_RECEIVES), 0);
	ck_assert(said_of(info.id).died);
	end(one);
	/* one that comes after is not said to have died when it closes */
	one = world_session(&world, 0);
	world_open(&world, one, "a");
	core_holder_open(world.core, one, space, &id, &world.fault);
	open_as(one, CHANNEL_SENDS);
	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), 0);
	ck_assert(!said_of(info.id).died);
}
END_TEST

START_TEST(closing_the_space_closes_ends_without_a_death)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS);
	struct plan *plan = NULL;

	open_as(two, CHANNEL_RECEIVES);
	ck_assert_int_eq(core_space_close(world.core, one, space, &plan), 0);
	ck_assert_uint_eq(said_of(info.id).senders, 0);
	ck_assert(!said_of(info.id).died);
}
END_TEST

START_TEST(the_last_end_takes_the_channel_along)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS), next;
	struct extent_place place;
	struct channel_view view;
	uint64_t dead[ID_WORDS];

	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), 0);
	ck_assert(said_of(info.id).dead);
	ck_assert(!core_channel_view(world.core, space, info.id, &view));
	ck_assert_uint_eq(core_channel_next(world.core, space, 1), 0);
	ck_assert_int_eq(close_as(one, info.id, CHANNEL_SENDS), CORE_E_NOT_FOUND);
	ck_assert(core_sweep_due(world.core, space));
	world_check(&world, false);
	/* its name is free at once, its id and its memory are not */
	next = open_as(two, CHANNEL_SENDS);
	ck_assert_uint_ne(next.id, info.id);
	ck_assert_uint_ne(next.offset, info.offset);
	ck_assert(core_extent_at(world.core, space, info.offset, &place));
	ck_assert_int_eq(world_free(&world, one, space,
				    (struct extent_info){info.offset, info.size, info.tag}),
			 CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");

	/* one that dies during a sweep waits for the next one */
	ck_assert_int_eq(core_sweep_begin(world.core, space, dead), 0);
	ck_assert_int_eq(close_as(two, next.id, CHANNEL_SENDS), 0);
	core_sweep_end(world.core, space, true);
	ck_assert(!core_extent_at(world.core, space, info.offset, &place));
	ck_assert(core_extent_at(world.core, space, next.offset, &place));
	ck_assert_uint_eq(world_space(&world, space).used, 64 * KIB);
	world_check(&world, false);
	sweep();
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	ck_assert(!core_sweep_pays(world.core, space));
}
END_TEST

START_TEST(who_may_not_open_one_is_told_why)
{
	struct channel_request request = {.name = "frames", .roles = CHANNEL_SENDS};
	uint32_t reader = world_session(&world, 0), slot;
	struct channel_info info;
	struct plan *plan;

	ck_assert_int_eq(try_open(31, request, &info, &plan), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "session");
	ck_assert_int_eq(try_open(reader, request, &info, &plan), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "space");
	ck_assert_int_eq(
		core_space_open(world.core, reader, "a", true, NULL, 0, &slot, &world.fault),
		0);
	ck_assert_int_eq(try_open(reader, request, &info, &plan), CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	end(reader);
	reader = world_session(&world, 0);
	world_open(&world, reader, "a");
	ck_assert_int_eq(try_open(reader, request, &info, &plan), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "holder");

	request.name = "no/name";
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "name");
	request = (struct channel_request){.name = "frames", .roles = 0};
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "roles");
	request.roles = 5;
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_INVALID);
	ck_assert_int_eq(close_as(one, 1, 4), CORE_E_INVALID);
	ck_assert_int_eq(close_as(31, 1, 1), CORE_E_NOT_FOUND);
	request = (struct channel_request){
		.name = "frames", .roles = 1, .capacity = CHANNEL_CAPACITY_MAX + 1};
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "capacity");
	ck_assert_uint_eq(world.fault.max, CHANNEL_CAPACITY_MAX);

	request = (struct channel_request){.name = "frames", .roles = 1, .existing = true};
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "channel");
	open_as(one, CHANNEL_SENDS);
	ck_assert_int_eq(try_open(two, request, &info, &plan), 0);
	request = (struct channel_request){.name = "frames", .roles = 1, .exclusive = true};
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_EXISTS);
	ck_assert_str_eq(world.fault.which, "channel");
}
END_TEST

static void fill(uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		char name[8];

		snprintf(name, sizeof(name), "c%u", i);
		open_with(one, (struct channel_request){.name = name, .roles = CHANNEL_SENDS});
	}
}

START_TEST(full_tables_of_channels_say_so)
{
	struct channel_request request = {.name = "frames", .roles = CHANNEL_SENDS};
	struct channel_info info;
	struct plan *plan;

	fill(32);
	world_check(&world, false);
	ck_assert_int_eq(try_open(two, request, &info, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "channels");
	ck_assert_uint_eq(world.fault.max, 32);
	/* dead ones are in the way only until a sweep */
	ck_assert_int_eq(close_as(one, core_channel_next(world.core, space, 1), CHANNEL_SENDS),
			 0);
	ck_assert_int_eq(try_open(two, request, &info, &plan), CORE_E_BUSY);
	ck_assert_str_eq(world.fault.which, "sweep");
	sweep();
	ck_assert_int_eq(try_open(two, request, &info, &plan), 0);
	plan_abort(world.core, plan);
}
END_TEST

START_TEST(ends_and_channels_count_against_quotas)
{
	struct channel_request request = {.name = "frames", .roles = CHANNEL_SENDS};
	struct quota_limits limits = {0};
	const struct quota *quota;
	struct channel_info info;
	uint32_t bound, id;
	struct plan *plan;
	uint64_t metadata;

	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a",
					   &(struct space_change){.set = SPACE_SET_MODE,
								  .to = {.mode = 0666}},
					   &plan, &world.fault),
			 0);
	bound = world_session(&world, 7);
	world_open(&world, bound, "a");
	core_holder_open(world.core, bound, space, &id, &world.fault);
	limits.max[QUOTA_CHANNELS] = 2;
	core_limits_set(world.core, &limits);
	open_as(bound, CHANNEL_SENDS);
	open_as(bound, CHANNEL_SENDS | CHANNEL_RECEIVES);
	request.name = "more";
	ck_assert_int_eq(try_open(bound, request, &info, &plan), 0);
	plan_commit(world.core, plan);
	request.name = "most";
	ck_assert_int_eq(try_open(bound, request, &info, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.channels");
	ck_assert_uint_eq(world.fault.held, 2);
	/* also where only an end is wanted */
	open_with(one, request);
	ck_assert_int_eq(try_open(bound, request, &info, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.channels");

	/* the channel is its space's, and the end its session's */
	quota = quota_find(core_quotas(world.core), 7);
	ck_assert_uint_eq(quota->held[QUOTA_CHANNELS], 2);
	ck_assert_uint_eq(quota->held[QUOTA_LEASES], 0);
	metadata = METADATA_SESSION + METADATA_OPEN + 2 * METADATA_END;
	ck_assert_uint_eq(quota->held[QUOTA_METADATA], metadata);
	end(bound);
	ck_assert_uint_eq(world_space(&world, space).used, 3 * 64 * KIB);
	world_check(&world, false);

	/* who is given the space has to bear its channels, dead ones included */
	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a",
					   &(struct space_change){.set = SPACE_SET_UID,
								  .to = {.owner = {8, 0}}},
					   &plan, &world.fault),
			 0);
	quota = quota_find(core_quotas(world.core), 8);
	ck_assert_uint_eq(quota->held[QUOTA_LEASES], 3);
	ck_assert_uint_ge(quota->held[QUOTA_METADATA],
			  METADATA_SPACE + 3 * (METADATA_CHANNEL + METADATA_LEASE));
}
END_TEST

START_TEST(a_channel_is_paid_for_by_its_space)
{
	struct channel_request request = {.name = "frames", .roles = CHANNEL_SENDS};
	struct quota_limits limits = {0};
	struct channel_info info;
	struct plan *plan;

	world_alloc(&world, one, space, 4 * MIB, EXTENT_PRIVATE);
	world_alloc(&world, two, space, 4 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "space");
	ck_assert_uint_eq(world.fault.remaining, 0);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, space).ids, 2);
	space = world_create(
		&world, (struct space_request){.name = "b", .limit = 8 * MIB, .owner = {9, 9}});
	world_open(&world, one, "b");
	core_holder_open(world.core, one, space, &info.id, &world.fault);
	limits.max[QUOTA_LEASES] = 1;
	core_limits_set(world.core, &limits);
	open_as(one, CHANNEL_SENDS);
	request.name = "more";
	ck_assert_int_eq(try_open(one, request, &info, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.leases");
	world_check(&world, false);
}
END_TEST

START_TEST(a_removed_space_takes_its_channels_along)
{
	struct plan *plan = NULL;
	int r;

	fill(20);
	for (uint32_t i = 0; i < 5; ++i)
		ck_assert_int_eq(
			close_as(one, core_channel_next(world.core, space, 1), CHANNEL_SENDS),
			0);
	open_as(two, CHANNEL_RECEIVES);
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
	for (uint32_t i = 0; i < 32; ++i)
		ck_assert(!records_valid(world.records, RECORD_CHANNEL, i));

	/* nor has one whose members have gone before */
	teardown();
	setup();
	fill(20);
	end(one);
	end(two);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "a", false,
					   &plan, &world.fault),
			 0);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(core_view(world.core).used, 0);
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

START_TEST(what_a_death_left_of_a_channel_is_completed)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS);
	const struct channel_record *at = records_at(world.records, RECORD_CHANNEL, 0);
	struct channel_word word = channel_word_unpack(at->word);
	struct channel_record copy = *at;
	struct channel_view view;
	struct extent_place place;
	uint64_t words[IDS_MAX];

	/* stored before the channel said that it had senders */
	word.had_senders = false;
	record_channel_word(world.records, 0, word);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert(channel_word_unpack(at->word).had_senders);
	ck_assert(core_channel_view(world.core, space, info.id, &view));
	ck_assert_uint_eq(view.senders, 1);

	/* a channel, and no end yet: dead */
	record_clear(world.records, RECORD_END, 0);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert(!core_channel_view(world.core, space, info.id, &view));
	core_id_words(world.core, space, words);
	ck_assert(id_word_unpack(words[info.id]).dead);
	ck_assert(core_sweep_due(world.core, space));

	/* an extent, and no channel: gone */
	record_clear(world.records, RECORD_CHANNEL, 0);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert(!core_extent_at(world.core, space, info.offset, &place));
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	/* a channel without its extent no death leaves */
	record_channel_put(world.records, 0, &copy);
	refused();
	record_clear(world.records, RECORD_CHANNEL, 0);
}
END_TEST

START_TEST(contradictions_of_channels_are_refused)
{
	struct channel_info info = open_as(one, CHANNEL_SENDS);
	const struct channel_record *at = records_at(world.records, RECORD_CHANNEL, 0);
	struct channel_record good = *at, bad = good;
	struct channel_word word = channel_word_unpack(good.word), other = word;
	struct end_word end_good = {.channel = 0, .session = one, .roles = CHANNEL_SENDS};
	struct end_word end_bad = end_good;

	world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	ck_assert_uint_eq(info.id, word.id);
	other.capacity_shift = 13;
	record_channel_word(world.records, 0, other);
	refused();
	other = word;
	other.space = 9;
	record_channel_word(world.records, 0, other);
	refused();
	other = word;
	other.id = 1; /* a holder's */
	record_channel_word(world.records, 0, other);
	refused();
	other.id = 0;
	record_channel_word(world.records, 0, other);
	refused();
	other = word;
	other.extent = 1; /* shared */
	record_channel_word(world.records, 0, other);
	refused();
	other.extent = 0x1fffffff;
	record_channel_word(world.records, 0, other);
	refused();
	bad.name[0] = '/';
	record_channel_put(world.records, 0, &bad);
	refused();
	record_channel_put(world.records, 0, &good);

	/* two of one extent, of one name */
	other = word;
	other.id = 77;
	bad = good;
	bad.word = channel_word_pack(other);
	record_channel_put(world.records, 1, &bad);
	refused();
	record_clear(world.records, RECORD_CHANNEL, 1);

	end_bad.channel = 5;
	record_end_put(world.records, 1, end_bad);
	refused();
	end_bad = end_good; /* a second one */
	record_end_put(world.records, 1, end_bad);
	refused();
	end_bad.session = 30;
	record_end_put(world.records, 1, end_bad);
	refused();
	end_bad = (struct end_word){.channel = 0, .session = two, .roles = 0};
	record_end_put(world.records, 1, end_bad);
	refused();
	record_clear(world.records, RECORD_END, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_channel");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_channel_is_made_by_a_plan_that_zeroes_its_slice);
	tcase_add_test(tcase, a_channel_that_could_not_be_made_was_never_there);
	tcase_add_test(tcase, ends_are_counted_by_their_roles);
	tcase_add_test(tcase, a_death_closes_ends_and_says_so);
	tcase_add_test(tcase, closing_the_space_closes_ends_without_a_death);
	tcase_add_test(tcase, the_last_end_takes_the_channel_along);
	tcase_add_test(tcase, who_may_not_open_one_is_told_why);
	tcase_add_test(tcase, full_tables_of_channels_say_so);
	tcase_add_test(tcase, ends_and_channels_count_against_quotas);
	tcase_add_test(tcase, a_channel_is_paid_for_by_its_space);
	tcase_add_test(tcase, a_removed_space_takes_its_channels_along);
	tcase_add_test(tcase, what_a_death_left_of_a_channel_is_completed);
	tcase_add_test(tcase, contradictions_of_channels_are_refused);
	return world_run(suite);
}
