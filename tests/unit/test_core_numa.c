/*
 * Where policies put memory, on machines made up here: gaps between nodes, nodes without memory,
 * every order of distances.
 */
#include "tests/unit/core_world.h"

#define NODE(n) ((uint64_t)1 << (n))

/* Nodes 0, 2 and 3 with 16 MiB each, 5 with processors alone; 3 is nearest to 0, 0 to 5. */
static struct core_config sparse(uint32_t page_shift)
{
	struct core_config config = world_config(page_shift, 16 * MIB);
	static const struct {
		uint32_t a, b;
		uint8_t distance;
	} pairs[] = {{0, 2, 30}, {0, 3, 12}, {2, 3, 20}, {0, 5, 14}, {2, 5, 16}, {3, 5, 18}};

	config.n_nodes = 6;
	config.node_bytes[2] = config.node_bytes[3] = 16 * MIB;
	config.share = 48 * MIB;
	config.topology.nodes = NODE(0) | NODE(2) | NODE(3) | NODE(5);
	config.topology.memory = NODE(0) | NODE(2) | NODE(3);
	config.topology.cpus = NODE(0) | NODE(5);
	for (uint32_t i = 0; i < ARRAY_SIZE(pairs); ++i)
		config.topology.distance[pairs[i].a][pairs[i].b] =
			config.topology.distance[pairs[i].b][pairs[i].a] = pairs[i].distance;
	return config;
}

/* The node that 2 MiB of a space come from; UINT32_MAX: none. */
static uint32_t lands(struct world *world, uint32_t session, uint32_t space,
		      const struct numa *numa, uint32_t caller)
{
	struct extent_request request = {
		.size = 2 * MIB, .kind = EXTENT_SHARED, .numa = numa, .caller = caller};
	struct extent_info info;
	struct window_view view;
	struct plan *plan;
	uint32_t window;
	bool read_only;
	int r = core_extent_alloc(world->core, session, space, &request, &info, &plan,
				  &world->fault);

	if (r) {
		ck_assert_int_eq(r, CORE_E_MEMORY);
		return UINT32_MAX;
	}
	if (plan)
		plan_commit(world->core, plan);
	world_check(world, false);
	ck_assert_int_eq(core_window_open(world->core, session, space,
					  offset_window(info.offset), &window, &read_only,
					  &world->fault),
			 0);
	ck_assert(core_window_view(world->core, window, &view));
	return view.info.node;
}

static uint32_t space_with(struct world *world, uint32_t session, const char *name,
			   uint64_t limit, struct numa numa)
{
	uint32_t space = world_create(world, (struct space_request){.name = name,
								    .limit = limit,
								    .client_limit = limit,
								    .numa = numa});

	ck_assert_uint_eq(world_open(world, session, name), space);
	return space;
}

START_TEST(local_memory_spills_to_the_nearest_node_with_room)
{
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), space, i;

	space = space_with(&world, session, "a", 48 * MIB, (struct numa){NUMA_LOCAL, 0});
	for (i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 0), 0);
	for (; i < 16; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 0), 3);
	for (; i < 24; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 0), 2);
	world_end(&world);
}
END_TEST

START_TEST(who_runs_on_a_node_without_memory_gets_the_nearest)
{
	struct world world = world_new_with(sparse(21));
	uint32_t session = world_session(&world, 0), space, i;
	struct numa prefer = {NUMA_PREFERRED, NODE(5)};

	space = space_with(&world, session, "a", 48 * MIB, (struct numa){NUMA_LOCAL, 0});
	for (i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 5), 0);
	ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 5), 2);
	ck_assert_uint_eq(lands(&world, session, space, &prefer, 0), 2);
	/* who says nothing, or nonsense, is as if there were no policy */
	ck_assert_uint_ne(lands(&world, session, space, NULL, 0), 0);
	ck_assert_uint_ne(lands(&world, session, space, NULL, 1 + 63), 0);
	ck_assert_uint_ne(lands(&world, session, space, NULL, UINT32_MAX), 0);
	world_end(&world);
}
END_TEST

START_TEST(bound_memory_comes_from_its_nodes_or_is_refused_with_what_they_have)
{
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), space;
	struct numa bind = {NUMA_BIND, NODE(2)};

	space = space_with(&world, session, "a", 48 * MIB, (struct numa){0});
	for (uint32_t i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, &bind, 0), 2);
	ck_assert_uint_eq(lands(&world, session, space, &bind, 0), UINT32_MAX);
	ck_assert_str_eq(world.fault.which, "nodes");
	ck_assert_uint_eq(world.fault.nodes, NODE(2));
	ck_assert_uint_eq(world.fault.available, 0);
	ck_assert_uint_eq(core_node_view(world.core, 2).committed, 16 * MIB);
	ck_assert_uint_eq(core_node_view(world.core, 0).committed, 0);
	/* others go on */
	ck_assert_uint_eq(lands(&world, session, space, NULL, 0), 0);
	bind.nodes |= NODE(3);
	ck_assert_uint_eq(lands(&world, session, space, &bind, 0), 3);
	world_end(&world);
}
END_TEST

START_TEST(interleaved_memory_stays_level_and_within_its_nodes)
{
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), space, n[6] = {0}, node;
	struct numa interleave = {NUMA_INTERLEAVE, NODE(0) | NODE(2)};
	uint64_t committed, used;

	space = space_with(&world, session, "a", 32 * MIB, interleave);
	for (uint32_t i = 0; i < 16; ++i) {
		node = lands(&world, session, space, NULL, 1 + 3);
		ck_assert(node == 0 || node == 2);
		++n[node];
		ck_assert_uint_le(n[0] > n[2] ? n[0] - n[2] : n[2] - n[0], 1);
	}
	core_share_view(world.core, space, 2, &committed, &used);
	ck_assert_uint_eq(used, 16 * MIB);
	ck_assert_uint_eq(committed, 16 * MIB);
	core_share_view(world.core, space, 3, &committed, &used);
	ck_assert_uint_eq(used + committed, 0);
	world_end(&world);
}
END_TEST

START_TEST(preferred_nodes_come_first_and_their_neighbours_next)
{
	struct world world = world_new_with(sparse(21));
	uint32_t session = world_session(&world, 0), space, i;

	space = space_with(&world, session, "a", 48 * MIB,
			   (struct numa){NUMA_PREFERRED, NODE(3)});
	for (i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 2), 3);
	for (i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 2), 0);
	for (i = 0; i < 8; ++i)
		ck_assert_uint_eq(lands(&world, session, space, NULL, 1 + 2), 2);
	world_end(&world);
}
END_TEST

/* Four nodes; `order` is the one in which node 0 sees the others. */
START_TEST(every_order_of_distances_is_the_order_of_spilling)
{
	static const uint32_t orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3},
					      {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};

	for (uint32_t i = 0; i < ARRAY_SIZE(orders); ++i) {
		struct core_config config = world_config(12, 4 * MIB);
		uint32_t session, space;
		struct world world;

		config.n_nodes = 4;
		config.share = 16 * MIB;
		for (uint32_t node = 1; node < 4; ++node)
			config.node_bytes[node] = 4 * MIB;
		config.topology.nodes = config.topology.memory = 15;
		config.topology.distance[0][0] = 10;
		for (uint8_t near = 0; near < 3; ++near)
			config.topology.distance[0][orders[i][near]] = (uint8_t)(12 + near * 4);
		world = world_new_with(config);
		session = world_session(&world, 0);
		space = space_with(&world, session, "a", 16 * MIB,
				   (struct numa){NUMA_LOCAL, 0});
		for (uint32_t n = 0; n < 8; ++n)
			ck_assert_uint_eq(lands(&world, session, space, NULL, 1),
					  n < 2 ? 0 : orders[i][n / 2 - 1]);
		world_end(&world);
	}
}
END_TEST

START_TEST(nearness_robs_nobody_of_idle_pages_while_another_node_has_free_ones)
{
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), a, b;
	struct numa bind = {NUMA_BIND, NODE(0)};
	struct extent_request request = {
		.size = 16 * MIB, .kind = EXTENT_SHARED, .numa = &bind};
	struct extent_info info;
	struct plan *plan;

	a = space_with(&world, session, "a", 16 * MIB, (struct numa){0});
	b = space_with(&world, session, "b", 32 * MIB, (struct numa){NUMA_LOCAL, 0});
	ck_assert_int_eq(
		core_extent_alloc(world.core, session, a, &request, &info, &plan, &world.fault),
		0);
	plan_commit(world.core, plan);
	ck_assert_int_eq(world_free(&world, session, a, info), 0);
	ck_assert_uint_eq(world_space(&world, a).committed, 16 * MIB);
	ck_assert_uint_eq(lands(&world, session, b, NULL, 1 + 0), 3);
	ck_assert_uint_eq(world_space(&world, a).committed, 16 * MIB);
	/* bound, there is nowhere else */
	ck_assert_uint_eq(lands(&world, session, b, &bind, 0), 0);
	ck_assert_uint_eq(world_space(&world, a).committed, 14 * MIB);
	world_end(&world);
}
END_TEST

START_TEST(a_reserve_is_where_the_policy_says)
{
	struct world world = world_new_with(sparse(12));
	uint64_t committed, used;
	uint32_t slot;
	struct plan *plan;

	slot = world_create(
		&world, (struct space_request){.name = "level",
					       .limit = 32 * MIB,
					       .reserve = 16 * MIB,
					       .numa = {NUMA_INTERLEAVE, NODE(2) | NODE(3)}});
	world_check(&world, false);
	for (uint32_t node = 2; node < 4; ++node) {
		core_share_view(world.core, slot, node, &committed, &used);
		ck_assert_uint_eq(committed, 8 * MIB);
	}
	/* 8 are left on each: bound to one of them, 10 are not to be had */
	ck_assert_int_eq(world_try_create(&world,
					  (struct space_request){.name = "b",
								 .limit = 16 * MIB,
								 .reserve = 10 * MIB,
								 .numa = {NUMA_BIND, NODE(2)}},
					  &slot, &plan),
			 CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.nodes, NODE(2));
	ck_assert_uint_eq(world.fault.available, 8 * MIB);
	slot = world_create(&world, (struct space_request){.name = "b",
							   .limit = 16 * MIB,
							   .reserve = 10 * MIB,
							   .numa = {NUMA_PREFERRED, NODE(2)}});
	core_share_view(world.core, slot, 2, &committed, &used);
	ck_assert_uint_eq(committed, 8 * MIB);
	core_share_view(world.core, slot, 3, &committed, &used);
	ck_assert_uint_eq(committed, 2 * MIB);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(nodes_that_make_no_sense_are_named)
{
	static const struct {
		struct numa numa;
		const char *which;
		uint64_t nodes;
	} bad[] = {
		{{NUMA_BIND, 0}, "nodes", 0},
		{{NUMA_INTERLEAVE, 0}, "nodes", 0},
		{{NUMA_PREFERRED, 0}, "nodes", 0},
		{{NUMA_LOCAL, NODE(0)}, "nodes", 0},
		{{NUMA_DEFAULT, NODE(0)}, "nodes", 0},
		{{NUMA_BIND, NODE(0) | NODE(1)}, "nodes", NODE(1)},
		{{NUMA_BIND, NODE(0) | NODE(5)}, "nodes", NODE(5)},
		{{NUMA_PREFERRED, NODE(63)}, "nodes", NODE(63)},
		{{NUMA_KINDS, 0}, "numa", 0},
	};
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), space, slot;
	struct extent_info info;
	struct plan *plan;

	space = space_with(&world, session, "a", 16 * MIB, (struct numa){0});
	for (uint32_t i = 0; i < ARRAY_SIZE(bad); ++i) {
		struct extent_request request = {
			.size = 1, .kind = EXTENT_SHARED, .numa = &bad[i].numa};

		ck_assert_int_eq(world_try_create(&world,
						  (struct space_request){.name = "b",
									 .numa = bad[i].numa},
						  &slot, &plan),
				 CORE_E_INVALID);
		ck_assert_str_eq(world.fault.which, bad[i].which);
		ck_assert_uint_eq(world.fault.nodes, bad[i].nodes);
		ck_assert_int_eq(core_extent_alloc(world.core, session, space, &request, &info,
						   &plan, &world.fault),
				 CORE_E_INVALID);
		ck_assert_uint_eq(world.fault.nodes, bad[i].nodes);
		world_check(&world, false);
	}
	/* a limit that its nodes cannot hold */
	ck_assert_int_eq(world_try_create(&world,
					  (struct space_request){.name = "b",
								 .limit = 18 * MIB,
								 .numa = {NUMA_BIND, NODE(2)}},
					  &slot, &plan),
			 CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "nodes");
	ck_assert_uint_eq(world.fault.remaining, 16 * MIB);
	world_end(&world);
}
END_TEST

START_TEST(a_recovered_space_keeps_its_policy)
{
	struct world world = world_new_with(sparse(12));
	uint32_t session = world_session(&world, 0), space;
	struct core *again;
	struct space_view view;

	space = space_with(&world, session, "a", 32 * MIB,
			   (struct numa){NUMA_INTERLEAVE, NODE(2) | NODE(3)});
	lands(&world, session, space, NULL, 0);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&again, &world.config, world.records), 0);
	world.core = again;
	ck_assert(core_space_view(again, space, &view));
	ck_assert_int_eq(view.numa.kind, NUMA_INTERLEAVE);
	ck_assert_uint_eq(view.numa.nodes, NODE(2) | NODE(3));
	ck_assert_uint_eq(lands(&world, session, space, NULL, 0), 3); /* 2 has some */
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_numa");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, local_memory_spills_to_the_nearest_node_with_room);
	tcase_add_test(tcase, who_runs_on_a_node_without_memory_gets_the_nearest);
	tcase_add_test(tcase,
		       bound_memory_comes_from_its_nodes_or_is_refused_with_what_they_have);
	tcase_add_test(tcase, interleaved_memory_stays_level_and_within_its_nodes);
	tcase_add_test(tcase, preferred_nodes_come_first_and_their_neighbours_next);
	tcase_add_test(tcase, every_order_of_distances_is_the_order_of_spilling);
	tcase_add_test(tcase,
		       nearness_robs_nobody_of_idle_pages_while_another_node_has_free_ones);
	tcase_add_test(tcase, a_reserve_is_where_the_policy_says);
	tcase_add_test(tcase, nodes_that_make_no_sense_are_named);
	tcase_add_test(tcase, a_recovered_space_keeps_its_policy);
	return world_run(suite);
}
