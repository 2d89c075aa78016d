#include "tests/unit/core_world.h"

#include "daemon/core/ids.h"

static int try_holder(struct world *world, uint32_t session, uint32_t space, uint32_t *ret)
{
	return core_holder_open(world->core, session, space, ret, &world->fault);
}

static uint32_t holder(struct world *world, uint32_t session, uint32_t space)
{
	uint32_t id;

	ck_assert_int_eq(try_holder(world, session, space, &id), 0);
	return id;
}

/* What was last said of an id. */
static struct id_info said_of(const struct world *world, uint32_t space, uint32_t id)
{
	uint32_t n;
	const struct change *changes = core_changes(world->core, &n);
	struct id_info said = {0};

	for (uint32_t i = 0; i < n; ++i)
		if (changes[i].kind == CHANGE_ID && changes[i].space == space &&
		    changes[i].first == id)
			said = id_word_unpack(changes[i].word);
	return said;
}

static void end(struct world *world, uint32_t session)
{
	struct plan *plan = NULL;

	ck_assert_int_eq(core_session_end(world->core, session, &plan), 0);
	ck_assert_ptr_null(plan);
}

static void sweep(struct world *world, uint32_t space)
{
	uint64_t dead[ID_WORDS];

	ck_assert_int_eq(core_sweep_begin(world->core, space, dead), 0);
	core_sweep_end(world->core, space, true);
}

START_TEST(a_holder_keeps_its_id_and_says_who_it_is)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), a, b, id;

	a = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	b = world_create(&world, (struct space_request){.name = "b", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	world_open(&world, two, "b");
	ck_assert_uint_eq(world_space(&world, a).ids, 0);
	id = holder(&world, one, a);
	ck_assert_uint_ge(id, 1);
	ck_assert_uint_eq(holder(&world, one, a), id);
	ck_assert_uint_ne(holder(&world, two, a), id);
	/* each space has ids of its own */
	ck_assert_uint_eq(holder(&world, two, b), id);
	ck_assert_int_eq(said_of(&world, a, id).kind, ID_PROCESS);
	ck_assert(!said_of(&world, a, id).dead);
	ck_assert_uint_eq(said_of(&world, a, id).pid, 1000);
	ck_assert_uint_eq(said_of(&world, b, id).pid, 1500);
	ck_assert_uint_eq(world_space(&world, a).ids, 2);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(who_may_not_write_holds_nothing)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), stranger = world_session(&world, 500), a, id;

	a = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	ck_assert_int_eq(core_space_open(world.core, one, "a", true, NULL, 0, &a, &world.fault),
			 0);
	ck_assert_int_eq(try_holder(&world, one, a, &id), CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	ck_assert_int_eq(try_holder(&world, stranger, a, &id), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "space");
	ck_assert_int_eq(try_holder(&world, 31, a, &id), CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "session");
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(an_id_dies_with_its_member_and_waits_for_a_sweep)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), a, id, other;
	struct plan *plan = NULL;
	uint64_t words[IDS_MAX];

	a = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	id = holder(&world, one, a);
	end(&world, one);
	ck_assert(said_of(&world, a, id).dead);
	ck_assert_uint_eq(said_of(&world, a, id).pid, 1000);
	world_check(&world, false);
	ck_assert(core_sweep_due(world.core, a));
	other = holder(&world, two, a);
	ck_assert_uint_ne(other, id);

	/* the same when only the space is closed */
	ck_assert_int_eq(core_space_close(world.core, two, a, &plan), 0);
	ck_assert(said_of(&world, a, other).dead);
	world_open(&world, two, "a");
	ck_assert_uint_eq(world_space(&world, a).ids_dead, 2);
	sweep(&world, a);
	ck_assert(!core_sweep_due(world.core, a));
	ck_assert_uint_eq(world_space(&world, a).ids_dead, 0);
	ck_assert_uint_eq(holder(&world, two, a), id);
	core_id_words(world.core, a, words);
	ck_assert_uint_eq(words[0], 0);
	ck_assert(!id_word_unpack(words[id]).dead);
	ck_assert_uint_eq(id_word_unpack(words[id]).pid, 1500);
	ck_assert(id_word_unpack(words[other]).dead);
	ck_assert(id_word_unpack(words[IDS_MAX - 1]).dead);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(when_all_ids_are_taken_a_sweep_helps_only_if_some_are_dead)
{
	struct record_capacity capacity = WORLD_SLOTS;
	struct world world = {.config = world_config(12, 64 * MIB)};
	uint32_t first = 0, last = 0, a, id;

	capacity.slots[RECORD_SESSION] = IDS_MAX + 8;
	capacity.slots[RECORD_RESULT] = (IDS_MAX + 8) * RESULTS_A_SESSION;
	capacity.slots[RECORD_MEMBER] = IDS_MAX + 8;
	capacity.slots[RECORD_USER] = IDS_MAX + 8;
	world.size = records_size(&capacity);
	world.records = world_table(&capacity);
	ck_assert_int_eq(core_new(&world.core, &world.config, world.records), 0);
	a = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	for (uint32_t i = 0; i < IDS_MAX; ++i) {
		last = world_session(&world, 0);
		first = first ? first : last;
		world_open(&world, last, "a");
		if (i < IDS_MAX - 1)
			ck_assert_uint_le(holder(&world, last, a), IDS_MAX - 1);
	}
	ck_assert_int_eq(try_holder(&world, last, a, &id), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "ids");
	ck_assert_uint_eq(world.fault.max, IDS_MAX - 1);
	ck_assert_uint_eq(world.fault.held, IDS_MAX - 1);
	world_check(&world, false);
	end(&world, first);
	ck_assert_int_eq(try_holder(&world, last, a, &id), CORE_E_BUSY);
	ck_assert_str_eq(world.fault.which, "sweep");
	sweep(&world, a);
	ck_assert_int_eq(try_holder(&world, last, a, &id), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

/* I3. By its channels: one process is enough. */
START_TEST(the_last_ids_are_for_who_has_none_and_for_the_owner)
{
	struct record_capacity capacity = WORLD_SLOTS;
	struct world world = {.config = world_config(12, 128 * MIB)};
	uint32_t owner, greedy, another, same, a, id, made = 0;
	struct channel_request request = {.roles = CHANNEL_SENDS};
	struct channel_info info;
	struct plan *plan;
	char name[16];
	int r;

	capacity.slots[RECORD_CHANNEL] = IDS_MAX;
	capacity.slots[RECORD_END] = IDS_MAX;
	world.size = records_size(&capacity);
	world.records = world_table(&capacity);
	ck_assert_int_eq(core_new(&world.core, &world.config, world.records), 0);
	a = world_create(&world, (struct space_request){.name = "a",
							.limit = 128 * MIB,
							.mode = 0666,
							.owner = {.uid = 1, .gid = 1}});
	greedy = world_session(&world, 2);
	same = world_session(&world, 2);
	another = world_session(&world, 3);
	owner = world_session(&world, 1);
	world_open(&world, greedy, "a");
	world_open(&world, same, "a");
	world_open(&world, another, "a");
	world_open(&world, owner, "a");
	holder(&world, greedy, a);
	for (;; made++) {
		snprintf(name, sizeof(name), "%u", made);
		request.name = name;
		r = core_channel_open(world.core, greedy, a, &request, &info, &plan,
				      &world.fault);
		if (r)
			break;
		plan_commit(world.core, plan);
	}
	ck_assert_int_eq(r, CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "ids");
	ck_assert_uint_eq(made, IDS_MAX - 1 - IDS_MAX / 8 - 1);
	ck_assert_int_eq(try_holder(&world, same, a, &id), CORE_E_LIMIT);
	holder(&world, another, a);
	request.name = "more";
	ck_assert_int_eq(
		core_channel_open(world.core, another, a, &request, &info, &plan, &world.fault),
		CORE_E_LIMIT);
	holder(&world, owner, a);
	ck_assert_int_eq(
		core_channel_open(world.core, owner, a, &request, &info, &plan, &world.fault),
		0);
	plan_commit(world.core, plan);
	world_check(&world, false);

	/* What is dead is free when it has been swept. */
	end(&world, greedy);
	ck_assert_int_eq(try_holder(&world, same, a, &id), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(one_id_is_not_two_holders)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), a;
	const struct member_record *at;
	struct member_word word;
	struct core *core;

	a = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	holder(&world, one, a);
	holder(&world, two, a);
	at = records_at(world.records, RECORD_MEMBER, 1);
	word = member_word_unpack(at->word);
	ck_assert_uint_eq(word.id, 2);
	word.id = 1;
	record_member_put(world.records, 1, word);
	ck_assert_int_lt(core_recover(&core, &world.config, world.records), 0);
	/* nor a reader's */
	word.id = 2;
	word.read_only = true;
	record_member_put(world.records, 1, word);
	ck_assert_int_lt(core_recover(&core, &world.config, world.records), 0);
	word.read_only = false;
	record_member_put(world.records, 1, word);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_holder");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_holder_keeps_its_id_and_says_who_it_is);
	tcase_add_test(tcase, who_may_not_write_holds_nothing);
	tcase_add_test(tcase, an_id_dies_with_its_member_and_waits_for_a_sweep);
	tcase_add_test(tcase, when_all_ids_are_taken_a_sweep_helps_only_if_some_are_dead);
	tcase_add_test(tcase, the_last_ids_are_for_who_has_none_and_for_the_owner);
	tcase_add_test(tcase, one_id_is_not_two_holders);
	return world_run(suite);
}
