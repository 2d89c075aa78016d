/*
 * The server over a fake machine, in this process: which pages it takes, of which nodes, and what it does
 * where there are none.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/host.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct wire_daemon_status status_of_auto(bool hugepages)
{
	static struct peer peer; /* what the status points at outlives this call */
	struct wire_daemon_status status;

	host_start(64 * MIB, CONFIG_PAGES_AUTO, hugepages);
	peer_open(&peer, host.options.config.socket.path);
	status = peer_status(&peer);
	close(peer.fd);
	host_stop();
	return status;
}

START_TEST(auto_takes_hugepages_if_there_are_enough)
{
	struct wire_daemon_status status = status_of_auto(true);

	ck_assert_uint_eq(status.page, 2 * MIB);
	ck_assert_uint_eq(status.pages_why.size, 0);
}
END_TEST

START_TEST(auto_falls_back_to_small_pages_and_says_why)
{
	struct wire_daemon_status status = status_of_auto(false);

	ck_assert_uint_eq(status.page, 4096);
	ck_assert_uint_gt(status.pages_why.size, 0);
}
END_TEST

static uint64_t page_of(struct peer *peer, const char *name)
{
	ck_assert(peer_call(peer, WIRE_SPACE_OPEN,
			    &(struct wire_space_open){.name = wire_str(name)}));
	return peer->answer.body.space_opened.page;
}

START_TEST(spaces_of_four_gibibytes_take_pages_of_one_and_others_the_next_size)
{
	struct wire_daemon_status status;
	struct peer peer;
	uint64_t large;

	host_prepare(4 * GIB, CONFIG_PAGES_1G, true);
	host.fake.host.giant_total = host.fake.host.giant_free = 4 * GIB;
	host.fake.nodes.node[0].giant_total = host.fake.nodes.node[0].giant_free = 4 * GIB;
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert_uint_eq(host.fake.reserved_giant, 3 * GIB);
	peer_create_space(&peer, "small", 64 * MIB);
	ck_assert_uint_eq(page_of(&peer, "small"), 2 * MIB);
	/* all there is, where that is less than four */
	peer_create_space(&peer, "large", 3 * GIB);
	ck_assert_uint_eq(page_of(&peer, "large"), GIB);
	large = peer.answer.body.space_opened.space;
	ck_assert(alloc(&peer, large, 64 * KIB));
	ck_assert(alloc(&peer, large, 2 * GIB));
	status = peer_status(&peer);
	ck_assert_uint_eq(status.page, 2 * MIB);
	ck_assert_uint_eq(status.large_page, GIB);
	ck_assert_uint_eq(status.large_region, 3 * GIB);
	ck_assert_uint_eq(status.large_from, 3 * GIB);
	ck_assert_uint_eq(status.large_committed, 3 * GIB);
	ck_assert_uint_eq(status.committed, 3 * GIB);
	ck_assert(peer_call(&peer, WIRE_NUMA_NODES, &(struct wire_page_after){0}));
	ck_assert_uint_eq(
		((const struct wire_numa_node *)peer.answer.body.numa_nodes.rows.rows)[0]
			.large_committed,
		3 * GIB);

	/* what does not fit its rung says which, and what each has */
	ck_assert(!peer_call(
		&peer, WIRE_SPACE_CREATE,
		&(struct wire_space_create){.name = wire_str("more"), .limit = 2 * GIB}));
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_BUDGET);
	ck_assert(wire_str_is(peer.answer.fault.which, "rung"));
	ck_assert(strstr(peer.answer.fault.message.data,
			 "3 GiB in pages of 1 GiB and 1 GiB in pages of 2 MiB"));
	ck_assert(alloc(&peer, large, 512 * MIB));
	ck_assert(!alloc(&peer, large, GIB));
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.host.giant_free, 4 * GIB);
}
END_TEST

/* It does not start; what it said, as whoever started it for himself gets to read it. */
static void run_and_read_why(char *ret, size_t size)
{
	ssize_t n;

	host_run();
	pthread_join(host.thread, NULL);
	ck_assert_int_lt(host.result, 0);
	n = recv(host.lifeline, ret, size - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	ret[n] = '\0';
	close(host.lifeline);
	close(host.options.lifeline);
	fake_sys_deinit(&host.fake);
}

START_TEST(memory_that_may_not_be_locked_is_no_start_and_says_what_would_help)
{
	char why[1024];

	host_prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.lock = true;
	host.fake.lock_limit = 8 * MIB;
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why,
			     "memory.lock: 64 MiB is to be locked, RLIMIT_MEMLOCK is 8 MiB: "
			     "LimitMEMLOCK=infinity in the unit, or `ulimit -l 65536`, or "
			     "CAP_IPC_LOCK"),
		      "%s", why);
}
END_TEST

START_TEST(hugepages_are_not_locked_and_that_is_no_error)
{
	struct peer peer;

	host_prepare(64 * MIB, CONFIG_PAGES_AUTO, true);
	host.options.config.memory.lock = true;
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.calls[FAKE_LOCK], 0);

	host_prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.lock = true;
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.locked, 64 * MIB);
}
END_TEST

START_TEST(a_kernel_without_transparent_hugepages_is_served_without)
{
	struct peer peer;

	host_prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.thp = CONFIG_THP_ALWAYS;
	fake_sys_fail(&host.fake, FAKE_COLLAPSE, 1, EINVAL);
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.calls[FAKE_COLLAPSE], 1);
}
END_TEST

/* A machine of two nodes, with so much on each. */
static void prepare_two(uint64_t size, uint64_t on_first, uint64_t on_second)
{
	host_prepare(size, CONFIG_PAGES_4K, false);
	host.fake.nodes = (struct sys_nodes){
		.topology = {.nodes = 3, .memory = 3, .cpus = 3},
		.node = {{.total = 1024 * MIB, .available = on_first, .cpus = 1},
			 {.total = 1024 * MIB, .available = on_second, .cpus = 1}},
	};
}

static bool create(struct peer *peer, const char *name, const char *numa, uint64_t nodes,
		   uint64_t limit, uint64_t reserve)
{
	return peer_call(peer, WIRE_SPACE_CREATE,
			 &(struct wire_space_create){.name = wire_str(name),
						     .numa = wire_str(numa),
						     .nodes = nodes,
						     .limit = limit,
						     .reserve = reserve,
						     .client_limit = limit});
}

static void refused_for(const struct peer *peer, enum fault_code code, const char *text)
{
	char said[512];

	snprintf(said, sizeof(said), "%.*s", (int)peer->answer.fault.message.size,
		 peer->answer.fault.message.data);
	ck_assert_msg(peer->answer.failed && peer->answer.fault.code == code &&
			      strstr(said, text),
		      "%s", said);
}

START_TEST(the_region_lies_where_memory_nodes_says)
{
	struct peer peer;

	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	strcpy(host.options.config.memory.nodes, "1");
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "", 0, 64 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "a"), 64 * MIB));
	ck_assert(!create(&peer, "b", "bind", 1, 2 * MIB, 0));
	refused_for(&peer, FAULT_INVALID,
		    "nodes: 0: no memory there for Varbos; there is on 1");
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_eq(host.fake.committed_on[1], 64 * MIB);
}
END_TEST

START_TEST(a_node_that_cannot_bear_its_share_is_no_start)
{
	char why[1024];

	prepare_two(64 * MIB, 1024 * MIB, 72 * MIB);
	strcpy(host.options.config.memory.nodes, "0:32M,1:32M");
	run_and_read_why(why, sizeof(why)); /* 5 % of 1 GiB stay others' */
	ck_assert_msg(strstr(why,
			     "memory.nodes: node 1 cannot spare 32 MiB: 72 MiB available, of "
			     "which Varbos takes at most 2"),
		      "%s", why);
	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	strcpy(host.options.config.memory.nodes, "0,4-5");
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why, "memory.nodes: there is no node 4-5; there are 0-1"), "%s",
		      why);
	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	host.fake.nodes.refused = -EPERM;
	strcpy(host.options.config.memory.nodes, "0");
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why, "lets no one choose a NUMA node"), "%s", why);
}
END_TEST

/* Of a machine whose first node has no more to give than the 5 % that stay others'. */
static void run_one_full(struct peer *peer)
{
	prepare_two(128 * MIB, 10 * MIB, 1024 * MIB);
	host_run();
	peer_open(peer, host.options.config.socket.path);
}

static const char on_first[] =
	"node 0 cannot spare 4 MiB: 10 MiB available, of which Varbos takes at most 0 B";

START_TEST(memory_that_a_node_cannot_give_comes_from_another_where_the_policy_allows)
{
	static const struct {
		const char *name, *numa;
		uint64_t nodes;
		bool is_had;
	} cases[] = {
		{"a", "", 0, true},
		{"b", "local", 0, true},
		{"c", "preferred", 1, true},
		{"d", "interleave", 3, true},
		{"e", "bind", 3, true},
		{"f", "bind", 1, false},
		{"g", "interleave", 1, false},
	};
	struct peer peer;
	uint64_t had = 0;

	run_one_full(&peer);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool ok;

		ck_assert(create(&peer, cases[i].name, cases[i].numa, cases[i].nodes, 8 * MIB,
				 0));
		ok = alloc(&peer, peer_open_space(&peer, cases[i].name), 4 * MIB);
		ck_assert_msg(ok == cases[i].is_had, "%s:%u", cases[i].numa,
			      (unsigned)cases[i].nodes);
		if (!ok)
			refused_for(&peer, FAULT_MEMORY, on_first);
		had += ok ? 4 * MIB : 0;
		ck_assert_uint_eq(peer_status(&peer).used, had);
	}
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_ge(host.fake.committed_on[1], had);
}
END_TEST

START_TEST(allocations_that_a_node_refuses_at_once_all_come_from_another)
{
	enum { AT_ONCE = 4 }; /* as many as there are workers */
	static struct peer peers[AT_ONCE];
	uint64_t space[AT_ONCE], ids[AT_ONCE], calls, refused;

	prepare_two(128 * MIB, 1024 * MIB, 1024 * MIB);
	host_run();
	for (int i = 0; i < AT_ONCE; i++) {
		peer_open(&peers[i], host.options.config.socket.path);
		ck_assert(i || create(peers, "a", "preferred", 1, 64 * MIB, 0));
		space[i] = peer_open_space(&peers[i], "a");
	}
	ck_assert(alloc(peers, space[0], 2 * MIB));
	pthread_mutex_lock(&host.fake.lock);
	host.fake.nodes.node[0].available = 10 * MIB;
	pthread_mutex_unlock(&host.fake.lock);
	calls = noted.calls[FAKE_COMMIT];
	refused = commits_refused;
	gate_shut = gate_elsewhere_shut = true;
	for (int i = 0; i < AT_ONCE; i++)
		ids[i] = ask_memory(&peers[i], space[i], 2 * MIB);
	while (noted.calls[FAKE_COMMIT] < calls + AT_ONCE)
		usleep(1000);
	gate_shut = false;
	/* All are refused, and the loop has heard so, before any has come from elsewhere. */
	while (commits_refused < refused + AT_ONCE)
		usleep(1000);
	for (int i = 0; i < AT_ONCE; i++)
		peer_call(&peers[i], WIRE_PING, &(struct wire_ping){});
	gate_elsewhere_shut = false;
	for (int i = 0; i < AT_ONCE; i++)
		ck_assert_msg(got_memory(&peers[i], ids[i]), "%.*s",
			      (int)peers[i].answer.fault.message.size,
			      peers[i].answer.fault.message.data);
	ck_assert_uint_eq(peer_status(peers).used, 10 * MIB);
	for (int i = 0; i < AT_ONCE; i++)
		peer_close(&peers[i]);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 2 * MIB);
}
END_TEST

START_TEST(a_reserve_that_a_node_cannot_give_comes_from_another_where_the_policy_allows)
{
	struct peer peer;

	run_one_full(&peer);
	ck_assert(create(&peer, "a", "", 0, 8 * MIB, 4 * MIB));
	ck_assert(create(&peer, "b", "preferred", 1, 8 * MIB, 4 * MIB));
	ck_assert(create(&peer, "c", "interleave", 3, 8 * MIB, 4 * MIB));
	ck_assert(!create(&peer, "d", "bind", 1, 8 * MIB, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, on_first);
	ck_assert(create(&peer, "d", "bind", 1, 8 * MIB, 0)); /* nothing of it was left */
	ck_assert(peer_call(&peer, WIRE_SPACE_CHANGE,
			    &(struct wire_space_change){.name = wire_str("b"),
							.set = SPACE_SET_RESERVE,
							.reserve = 8 * MIB}));
	ck_assert(!peer_call(&peer, WIRE_SPACE_CHANGE,
			     &(struct wire_space_change){.name = wire_str("d"),
							 .set = SPACE_SET_RESERVE,
							 .reserve = 4 * MIB}));
	refused_for(&peer, FAULT_MEMORY, on_first);
	ck_assert_uint_eq(peer_status(&peer).committed, 16 * MIB);
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_ge(host.fake.committed_on[1], 16 * MIB);
}
END_TEST

START_TEST(when_no_node_can_give_it_memory_is_refused_and_nothing_is_left)
{
	struct peer peer;

	prepare_two(128 * MIB, 10 * MIB, 20 * MIB);
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(!create(&peer, "a", "", 0, 8 * MIB, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "cannot spare 4 MiB");
	ck_assert(create(&peer, "a", "", 0, 8 * MIB, 0));
	ck_assert(!alloc(&peer, peer_open_space(&peer, "a"), 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "cannot spare 4 MiB");
	ck_assert_uint_eq(peer_status(&peer).used, 0);
	ck_assert_uint_eq(peer_status(&peer).committed, 0);
	peer_close(&peer);
	host_stop();
}
END_TEST

START_TEST(pages_that_came_from_elsewhere_are_not_given_out)
{
	struct peer peer;
	uint64_t space;

	prepare_two(128 * MIB, 1024 * MIB, 1024 * MIB);
	host.fake.elsewhere = 4096; /* of the first commit */
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 2, 8 * MIB, 0));
	space = peer_open_space(&peer, "a");
	ck_assert(!alloc(&peer, space, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "the kernel gave pages of other nodes");
	ck_assert_uint_eq(peer_status(&peer).committed, 0);
	ck_assert(alloc(&peer, space, 4 * MIB));
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
}
END_TEST

START_TEST(a_pool_that_strangers_emptied_is_told_and_memory_comes_from_others)
{
	struct peer peer;
	uint64_t space;

	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	host.options.config.memory.pages = CONFIG_PAGES_2M;
	host.fake.host.huge_total = host.fake.host.huge_free = 128 * MIB;
	for (uint32_t i = 0; i < 2; i++)
		host.fake.nodes.node[i].huge_total = host.fake.nodes.node[i].huge_free =
			64 * MIB;
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 1, 16 * MIB, 0));
	space = peer_open_space(&peer, "a");
	ck_assert(alloc(&peer, space, 2 * MIB));
	pthread_mutex_lock(&host.fake.lock);
	host.fake.nodes.node[0].huge_free = 2 * MIB;
	pthread_mutex_unlock(&host.fake.lock);
	ck_assert(!alloc(&peer, space, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY,
		    "node 0 cannot spare 4 MiB: 2 MiB available, of which Varbos takes at most "
		    "2 MiB");
	ck_assert(alloc(&peer, space, 2 * MIB));
	ck_assert(create(&peer, "b", "preferred", 1, 16 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "b"), 4 * MIB));
	peer_close(&peer);
	host_stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 4 * MIB);
	ck_assert_uint_eq(host.fake.committed_on[1], 4 * MIB);
}
END_TEST

START_TEST(where_no_node_can_be_chosen_the_machine_counts_as_one)
{
	const struct wire_numa_nodes *nodes;
	struct peer peer;

	prepare_two(128 * MIB, 10 * MIB, 1024 * MIB);
	host.fake.nodes.refused = -EPERM;
	host_run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 1, 64 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "a"), 64 * MIB));
	ck_assert(!create(&peer, "b", "bind", 2, 8 * MIB, 0));
	refused_for(&peer, FAULT_INVALID, "nodes: there is no node 1; there are 0");
	ck_assert(peer_call(&peer, WIRE_NUMA_NODES, &(struct wire_page_after){}));
	nodes = &peer.answer.body.numa_nodes;
	ck_assert_uint_eq(nodes->rows.count, 1);
	peer_close(&peer);
	host_stop();
	/* Asked of any node, and so of none. */
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_eq(host.fake.committed_on[1], 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server memory");
	TCase *tests = tcase_create("server memory");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, auto_takes_hugepages_if_there_are_enough);
	tcase_add_test(tests, auto_falls_back_to_small_pages_and_says_why);
	tcase_add_test(tests,
		       spaces_of_four_gibibytes_take_pages_of_one_and_others_the_next_size);
	tcase_add_test(tests,
		       memory_that_may_not_be_locked_is_no_start_and_says_what_would_help);
	tcase_add_test(tests, hugepages_are_not_locked_and_that_is_no_error);
	tcase_add_test(tests, a_kernel_without_transparent_hugepages_is_served_without);
	tcase_add_test(tests, the_region_lies_where_memory_nodes_says);
	tcase_add_test(tests, a_node_that_cannot_bear_its_share_is_no_start);
	tcase_add_test(
		tests,
		memory_that_a_node_cannot_give_comes_from_another_where_the_policy_allows);
	tcase_add_test(tests, allocations_that_a_node_refuses_at_once_all_come_from_another);
	tcase_add_test(
		tests,
		a_reserve_that_a_node_cannot_give_comes_from_another_where_the_policy_allows);
	tcase_add_test(tests, when_no_node_can_give_it_memory_is_refused_and_nothing_is_left);
	tcase_add_test(tests, pages_that_came_from_elsewhere_are_not_given_out);
	tcase_add_test(tests,
		       a_pool_that_strangers_emptied_is_told_and_memory_comes_from_others);
	tcase_add_test(tests, where_no_node_can_be_chosen_the_machine_counts_as_one);
	suite_add_tcase(suite, tests);
	return host_suite_run(suite);
}
