/*
 * The ladder of page sizes, on machines made up here: what is taken, and what is said of the rest.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/pages.h"
#include "daemon/server/server.h"
#include "tests/fake_sys.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct fake_sys fake;
static struct server server;
static char said[8192];
static const char *on = ""; /* memory.nodes of the next choice */

/* So much in each node's pools (`two`: of two nodes), and 64 GiB of memory in each. */
static void machine(bool two, uint64_t huge, uint64_t giant)
{
	struct sys_node node = {.total = 64 * GIB,
				.available = 64 * GIB,
				.huge_total = huge,
				.huge_free = huge,
				.giant_total = giant,
				.giant_free = giant,
				.cpus = 1};
	uint64_t n = two ? 2 : 1;

	fake_sys_init(&fake, n * 64 * GIB);
	fake.host.huge_total = fake.host.huge_free = n * huge;
	fake.host.giant_total = fake.host.giant_free = n * giant;
	for (uint32_t i = 0; i < n; i++)
		fake.nodes.node[i] = node;
	fake.nodes.topology.nodes = fake.nodes.topology.memory = fake.nodes.topology.cpus =
		two ? 3 : 1;
}

static int choose(uint64_t size, enum config_pages pages, uint64_t small)
{
	int log = memfd_create("log", 0), before = dup(STDERR_FILENO), r;
	ssize_t n;

	server = (struct server){.sys = &fake.sys};
	server.config.memory.size = size;
	server.config.memory.pages = pages;
	server.config.memory.small = small;
	snprintf(server.config.memory.nodes, sizeof(server.config.memory.nodes), "%s", on);
	on = "";
	ck_assert_int_ge(log, 0);
	ck_assert_int_ge(dup2(log, STDERR_FILENO), 0);
	r = pages_choose(&server);
	dup2(before, STDERR_FILENO);
	n = pread(log, said, sizeof(said) - 1, 0);
	ck_assert_int_ge(n, 0);
	said[n] = '\0';
	close(log);
	close(before);
	return r;
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(text && strstr(text, part), "'%s' is not in: %s", part,
		      text ? text : "nothing");
}

START_TEST(one_gibibyte_pages_leave_a_quarter_to_the_next_rung)
{
	char text[PAGES_TEXT_MAX];

	machine(false, 16 * GIB, 16 * GIB);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), 0);
	ck_assert_uint_eq(server.large.page_shift, 30);
	ck_assert_uint_eq(server.large.bytes, 6 * GIB);
	ck_assert_uint_eq(server.large.node_bytes[0], 6 * GIB);
	ck_assert_uint_eq(server.large.from, 4 * GIB);
	ck_assert_uint_eq(server.page_shift, 21);
	ck_assert_uint_eq(server.node_bytes[0], 2 * GIB);
	ck_assert_uint_eq(fake.reserved_giant, 6 * GIB);
	ck_assert_uint_eq(fake.reserved, 2 * GIB);
	ck_assert_ptr_null(server.pages_why);
	ck_assert_str_eq(said, "");
	ck_assert_str_eq(pages_format(&server, text),
			 "6 GiB in pages of 1 GiB and 2 GiB in pages of 2 MiB");

	/* what is no whole page goes there, too */
	ck_assert_int_eq(choose(8 * GIB + 512 * MIB, CONFIG_PAGES_1G, GIB), 0);
	ck_assert_uint_eq(server.large.bytes, 7 * GIB);
	ck_assert_uint_eq(server.node_bytes[0], GIB + 512 * MIB);
}
END_TEST

START_TEST(fewer_than_four_of_them_serve_spaces_as_large_as_all_of_them)
{
	machine(false, 0, GIB);
	ck_assert_int_eq(choose(1536 * MIB, CONFIG_PAGES_1G, 512 * MIB), 0);
	ck_assert_uint_eq(server.large.bytes, GIB);
	ck_assert_uint_eq(server.large.from, GIB);
	ck_assert_uint_eq(server.page_shift, 12);
	ck_assert_uint_eq(server.node_bytes[0], 512 * MIB);
	/* the part below falls on its own, and says so */
	has(server.pages_why, "512 MiB asked in 2 MiB pages, 0 B free in the pool");
	has(said, "falling back to pages of 4 KiB");
}
END_TEST

START_TEST(auto_falls_down_the_ladder_and_says_so)
{
	machine(false, 16 * GIB, 16 * GIB);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), 0);
	ck_assert_uint_eq(server.large.bytes, 6 * GIB);
	ck_assert_str_eq(said, "");

	machine(false, 16 * GIB, 5 * GIB);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), 0);
	ck_assert_uint_eq(server.large.page_shift, 0);
	ck_assert_uint_eq(server.large.bytes, 0);
	ck_assert_uint_eq(server.page_shift, 21);
	ck_assert_uint_eq(server.node_bytes[0], 8 * GIB);
	ck_assert_uint_eq(fake.reserved_giant, 0);
	ck_assert_uint_eq(fake.reserved, 8 * GIB);
	has(said, "falling back from pages of 1 GiB: 6 GiB asked in 1 GiB pages, 5 GiB free in "
		  "the pool");
	has(server.pages_why, "6 GiB asked in 1 GiB pages, 5 GiB free in the pool");
	ck_assert_ptr_null(strchr(strchr(said, '\n') + 1, '\n')); /* in one line */

	machine(false, 0, 0);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), 0);
	ck_assert_uint_eq(server.page_shift, 12);
	has(server.pages_why,
	    "6 GiB asked in 1 GiB pages, 0 B free in the pool; 8 GiB asked in "
	    "2 MiB pages, 0 B free in the pool");
	has(said, "falling back to pages of 4 KiB");
}
END_TEST

START_TEST(auto_wants_none_where_no_space_would_take_them)
{
	machine(false, 16 * GIB, 16 * GIB);
	ck_assert_int_eq(choose(5 * GIB, CONFIG_PAGES_AUTO, 2 * GIB), 0);
	ck_assert_uint_eq(server.large.bytes, 0);
	ck_assert_uint_eq(server.page_shift, 21);
	ck_assert_str_eq(said, "");
	ck_assert_ptr_null(server.pages_why);
}
END_TEST

START_TEST(auto_gives_back_what_leaves_too_little_beside)
{
	machine(false, 0, 16 * GIB);
	/* no 2 MiB pages, and too little in small ones, whatever the size of the rest */
	fake.host.cap = fake.host.available = MIB;
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), -ENOMEM);
	ck_assert_uint_eq(fake.reserved_giant, 0);
	has(said, "is more than this machine can spare");
	/* only all of it together fits */
	machine(false, 0, 16 * GIB);
	fake.host.cap = GIB;
	fake.host.huge_total = fake.host.huge_free = 8 * GIB;
	fake_sys_fail(&fake, FAKE_RESERVE, 2, ENOMEM);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), 0);
	ck_assert_uint_eq(server.large.bytes, 0);
	ck_assert_uint_eq(server.large.page_shift, 0);
	ck_assert_uint_eq(fake.reserved_giant, 0);
	ck_assert_uint_eq(fake.reserved, 8 * GIB);
	has(server.pages_why, "too little memory beside 6 GiB in 1 GiB pages");
}
END_TEST

START_TEST(what_was_asked_for_and_is_not_there_is_refused_with_each_nodes_numbers)
{
	machine(true, 16 * GIB, GIB);
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), -ENOMEM);
	has(said, "HugePagesUnavailable: 6 GiB asked in 1 GiB pages, 2 GiB free in the pool");
	has(said, "node 0: 3 GiB wanted, 1 GiB of 1 GiB free in its pool; echo 3 > "
		  "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages");
	has(said, "node 1: 3 GiB wanted, 1 GiB of 1 GiB free in its pool; echo 3 > "
		  "/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages");
	has(said, "hugepagesz=1G hugepages=0:3,1:3");
	ck_assert_uint_eq(fake.reserved_giant, 0);

	machine(false, 0, GIB);
	fake.host.giant_free = 0; /* somebody has it: the pool has to be larger by it */
	ck_assert_int_eq(choose(2 * GIB, CONFIG_PAGES_1G, 0), -ENOMEM);
	has(said, "HugePagesUnavailable: 1 GiB asked in 1 GiB pages, 0 B free in the pool");
	has(said, "echo 2 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages");
	has(said, "hugepagesz=1G hugepages=2");

	machine(true, GIB, 0);
	ck_assert_int_eq(choose(4 * GIB, CONFIG_PAGES_2M, 0), -ENOMEM);
	has(said, "HugePagesUnavailable: 4 GiB asked in 2 MiB pages, 2 GiB free in the pool");
	has(said, "node 1: 2 GiB wanted, 1 GiB of 1 GiB free in its pool; echo 1024 > "
		  "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
}
END_TEST

START_TEST(a_size_that_the_machine_does_not_know_is_named)
{
	machine(false, 16 * GIB, 0);
	fake.host.pools = (uint64_t)1 << 21;
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), -ENODEV);
	has(said, "HugePagesUnavailable: this machine has no pages of 1 GiB");
	has(said, "hugepages-1048576kB");
	has(said, "pdpe1gb");
	ck_assert_ptr_null(strstr(said, "would reserve"));
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_AUTO, 0), 0);
	ck_assert_uint_eq(server.page_shift, 21);
	has(server.pages_why, "this machine has no pages of 1 GiB");
	fake.host.pools = 0;
	ck_assert_int_eq(choose(GIB, CONFIG_PAGES_2M, 0), -ENODEV);
	has(said, "HugePagesUnavailable: this machine has no pages of 2 MiB");
}
END_TEST

START_TEST(a_region_without_room_for_one_page_is_refused)
{
	machine(false, 16 * GIB, 16 * GIB);
	ck_assert_int_eq(choose(GIB, CONFIG_PAGES_1G, 0), -EINVAL);
	has(said,
	    "--pages 1G: of 1 GiB, of which memory.small leaves at least 256 MiB to smaller "
	    "pages, nothing is left for one page of 1 GiB");
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 9 * GIB), -EINVAL);
	ck_assert_uint_eq(fake.reserved_giant, 0);
}
END_TEST

START_TEST(each_rung_is_where_its_pool_is)
{
	machine(true, 4 * GIB, 0);
	fake.nodes.node[1].giant_total = fake.nodes.node[1].giant_free = 4 * GIB;
	fake.host.giant_total = fake.host.giant_free = 4 * GIB;
	ck_assert_int_eq(choose(6 * GIB, CONFIG_PAGES_1G, 0), 0);
	ck_assert_uint_eq(server.large.bytes, 4 * GIB);
	ck_assert_uint_eq(server.large.node_bytes[0], 0);
	ck_assert_uint_eq(server.large.node_bytes[1], 4 * GIB);
	ck_assert_uint_eq(server.node_bytes[0], GIB);
	ck_assert_uint_eq(server.node_bytes[1], GIB);
}
END_TEST

START_TEST(each_rung_lies_on_the_nodes_that_the_region_is_told)
{
	machine(true, 16 * GIB, 8 * GIB);
	on = "1";
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), 0);
	ck_assert_uint_eq(server.large.node_bytes[0], 0);
	ck_assert_uint_eq(server.large.node_bytes[1], 6 * GIB);
	ck_assert_uint_eq(server.node_bytes[0], 0);
	ck_assert_uint_eq(server.node_bytes[1], 2 * GIB);
	on = "0:2G,1:6G";
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), 0);
	ck_assert_uint_eq(server.large.bytes, 5 * GIB);
	ck_assert_uint_eq(server.large.node_bytes[0], GIB);
	ck_assert_uint_eq(server.large.node_bytes[1], 4 * GIB);
	ck_assert_uint_eq(server.node_bytes[0], GIB);
	ck_assert_uint_eq(server.node_bytes[1], 2 * GIB);

	/* enough of them, but not there */
	machine(true, 16 * GIB, 4 * GIB);
	on = "1";
	ck_assert_int_eq(choose(8 * GIB, CONFIG_PAGES_1G, 0), -ENOMEM);
	has(said, "HugePagesUnavailable: 6 GiB asked in 1 GiB pages on nodes 1, 8 GiB free");
	has(said, "node 1: 6 GiB wanted, 4 GiB of 4 GiB free in its pool; echo 6 >");
	has(said, "hugepagesz=1G hugepages=1:6");
	ck_assert_ptr_null(strstr(said, "node 0:"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pages");
	TCase *tc = tcase_create("ladder");

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, one_gibibyte_pages_leave_a_quarter_to_the_next_rung);
	tcase_add_test(tc, fewer_than_four_of_them_serve_spaces_as_large_as_all_of_them);
	tcase_add_test(tc, auto_falls_down_the_ladder_and_says_so);
	tcase_add_test(tc, auto_wants_none_where_no_space_would_take_them);
	tcase_add_test(tc, auto_gives_back_what_leaves_too_little_beside);
	tcase_add_test(tc,
		       what_was_asked_for_and_is_not_there_is_refused_with_each_nodes_numbers);
	tcase_add_test(tc, a_size_that_the_machine_does_not_know_is_named);
	tcase_add_test(tc, a_region_without_room_for_one_page_is_refused);
	tcase_add_test(tc, each_rung_is_where_its_pool_is);
	tcase_add_test(tc, each_rung_lies_on_the_nodes_that_the_region_is_told);
	return suite_run(suite);
}
