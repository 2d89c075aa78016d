/*
 * The machine's nodes, read from trees of /proc and /sys made up here; and how a region is laid
 * out over them.
 */
#include <check.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/numa.h"
#include "daemon/server/region.h"
#include "daemon/sys/nodes.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define NODE(n) ((uint64_t)1 << (n))

static char root[64];

static void put(const char *path, const char *text)
{
	char full[PATH_MAX];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(full, 0700);
		*p = '/';
	}
	file = fopen(full, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void put_node(uint32_t node, uint64_t total_kb, const char *cpus, const char *distance)
{
	char path[128], text[512];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	snprintf(text, sizeof(text),
		 "Node %u MemTotal:       %llu kB\n"
		 "Node %u MemFree:        1024 kB\n"
		 "Node %u Active(file):   2048 kB\n"
		 "Node %u Inactive(file): 4096 kB\n"
		 "Node %u SReclaimable:   8192 kB\n",
		 node, (unsigned long long)total_kb, node, node, node, node);
	put(path, text);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", node);
	put(path, cpus);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", node);
	put(path, distance);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void setup(void)
{
	strcpy(root, "/tmp/varbos-test-nodes-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	put("/proc/meminfo", "MemTotal:        8388608 kB\n"
			     "MemAvailable:    4194304 kB\n");
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
}

static void teardown(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

START_TEST(gaps_and_nodes_without_memory_or_processors_are_seen)
{
	struct sys_nodes nodes;

	put("/sys/devices/system/node/online", "0,2-3\n");
	put_node(0, 4194304, "0-3,8\n", "10 20 30\n");
	put_node(2, 2097152, "\n", "20 10 12\n");
	put_node(3, 0, "4\n", "30 12 10\n");
	put("/sys/devices/system/node/node2/hugepages/hugepages-2048kB/nr_hugepages", "8\n");
	put("/sys/devices/system/node/node2/hugepages/hugepages-2048kB/free_hugepages", "5\n");
	put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages", "2\n");
	put("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages",
	    "1\n");
	ck_assert_int_eq(nodes_read(root, &nodes), 0);
	ck_assert_uint_eq(nodes.topology.nodes, NODE(0) | NODE(2) | NODE(3));
	ck_assert_uint_eq(nodes.topology.memory, NODE(0) | NODE(2));
	ck_assert_uint_eq(nodes.topology.cpus, NODE(0) | NODE(3));
	ck_assert_uint_eq(nodes.node[0].cpus, 5);
	ck_assert_uint_eq(nodes.node[0].total, 4 * GIB);
	ck_assert_uint_eq(nodes.node[0].available, 15 * MIB);
	ck_assert_uint_eq(nodes.node[0].giant_total, 2 * GIB);
	ck_assert_uint_eq(nodes.node[0].giant_free, GIB);
	ck_assert_uint_eq(nodes.node[2].huge_total, 16 * MIB);
	ck_assert_uint_eq(nodes.node[2].huge_free, 10 * MIB);
	ck_assert_uint_eq(topology_distance(&nodes.topology, 0, 3), 30);
	ck_assert_uint_eq(topology_distance(&nodes.topology, 3, 2), 12);
	ck_assert_uint_eq(topology_distance(&nodes.topology, 0, 1), 20);
}
END_TEST

START_TEST(a_node_outside_of_the_cpuset_has_no_memory_for_us)
{
	struct sys_nodes nodes;

	put("/sys/devices/system/node/online", "0-1\n");
	put_node(0, 4194304, "0\n", "10 20\n");
	put_node(1, 4194304, "1\n", "20 10\n");
	put("/proc/self/status", "Name:\tx\nMems_allowed:\t2\nMems_allowed_list:\t1\nx:\t1\n");
	ck_assert_int_eq(nodes_read(root, &nodes), 0);
	ck_assert_uint_eq(nodes.topology.nodes, NODE(0) | NODE(1));
	ck_assert_uint_eq(nodes.topology.memory, NODE(1));
}
END_TEST

START_TEST(a_kernel_without_nodes_has_one)
{
	struct sys_nodes nodes;

	ck_assert_int_eq(nodes_read(root, &nodes), 0);
	ck_assert_uint_eq(nodes.topology.nodes, 1);
	ck_assert_uint_eq(nodes.topology.memory, 1);
	ck_assert_uint_eq(nodes.node[0].total, 8 * GIB);
	ck_assert_uint_ge(nodes.node[0].cpus, 1);
	/* and so it is where what the kernel says makes no sense */
	put("/sys/devices/system/node/online", "0-\n");
	ck_assert_int_eq(nodes_read(root, &nodes), 0);
	ck_assert_uint_eq(nodes.topology.nodes, 1);
	put("/sys/devices/system/node/online", "0,99\n");
	ck_assert_int_eq(nodes_read(root, &nodes), 0);
	ck_assert_uint_eq(nodes.topology.nodes, 1);
}
END_TEST

START_TEST(this_machine_has_a_node_with_memory_and_processors)
{
	struct sys_nodes nodes;
	uint32_t node;

	ck_assert_int_eq(nodes_read("", &nodes), 0);
	ck_assert(nodes.topology.memory && !(nodes.topology.memory & ~nodes.topology.nodes));
	node = (uint32_t)__builtin_ctzll(nodes.topology.memory);
	ck_assert_uint_gt(nodes.node[node].total, 0);
	ck_assert_uint_le(nodes.node[node].available, nodes.node[node].total);
	ck_assert(nodes.topology.cpus);
}
END_TEST

START_TEST(a_region_is_laid_out_in_proportion_to_what_nodes_have)
{
	struct sys_nodes nodes = {.topology = {.nodes = 15, .memory = 13}};
	uint64_t bytes[TOPOLOGY_NODES_MAX], sum = 0;

	nodes.node[0].total = 3 * GIB;
	nodes.node[1].total = 9 * GIB; /* not for us */
	nodes.node[2].total = GIB;
	nodes.node[3].total = 2 * GIB;
	ck_assert_uint_eq(region_split(&nodes, 600 * MIB, 12, bytes), 0);
	ck_assert_uint_eq(bytes[0], 300 * MIB);
	ck_assert_uint_eq(bytes[1], 0);
	ck_assert_uint_eq(bytes[2], 100 * MIB);
	ck_assert_uint_eq(bytes[3], 200 * MIB);
	/* what does not come out even is not lost */
	for (uint64_t units = 1; units < 100; units++) {
		ck_assert_uint_eq(region_split(&nodes, units * 2 * MIB, 12, bytes), 0);
		sum = 0;
		for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++) {
			ck_assert_uint_eq(bytes[i] % (2 * MIB), 0);
			sum += bytes[i];
		}
		ck_assert_uint_eq(sum, units * 2 * MIB);
	}
}
END_TEST

START_TEST(no_part_of_a_region_is_larger_than_its_pool)
{
	struct sys_nodes nodes = {.topology = {.nodes = 7, .memory = 7}};
	uint64_t bytes[TOPOLOGY_NODES_MAX];

	nodes.node[0].huge_free = 6 * MIB;
	nodes.node[2].huge_free = 10 * MIB;
	for (uint64_t units = 1; units <= 8; units++) {
		ck_assert_uint_eq(region_split(&nodes, units * 2 * MIB, 21, bytes), 0);
		ck_assert_uint_le(bytes[0], 6 * MIB);
		ck_assert_uint_le(bytes[2], 10 * MIB);
		ck_assert_uint_eq(bytes[0] + bytes[2], units * 2 * MIB);
	}
	ck_assert_uint_eq(region_split(&nodes, 20 * MIB, 21, bytes), 4 * MIB);
	nodes.node[0].giant_free = GIB;
	ck_assert_uint_eq(region_split(&nodes, GIB, 30, bytes), 0);
	ck_assert_uint_eq(bytes[0], GIB);
}
END_TEST

/* "0:1G,2:6M" or "0,2"; a text that makes no sense fails the test. */
static struct shares shares_of(const char *text)
{
	struct shares shares = {};
	const char *why = "";

	ck_assert_msg(!shares_parse(text, &shares, &why), "%s: %s", text, why);
	return shares;
}

START_TEST(a_region_lies_on_the_nodes_that_were_named)
{
	struct shares two = shares_of("0,2"), sized = shares_of("2:6M,0:100M"), all = {};
	struct sys_nodes nodes = {.topology = {.nodes = 7, .memory = 7}};
	uint64_t bytes[TOPOLOGY_NODES_MAX];

	nodes.node[0].total = 3 * GIB;
	nodes.node[1].total = 9 * GIB;
	nodes.node[2].total = GIB;
	ck_assert_uint_eq(region_lay_out(&two, &nodes, 400 * MIB, 12, bytes), 0);
	ck_assert_uint_eq(bytes[0], 300 * MIB);
	ck_assert_uint_eq(bytes[1], 0);
	ck_assert_uint_eq(bytes[2], 100 * MIB);
	ck_assert_uint_eq(region_lay_out(&sized, &nodes, 106 * MIB, 12, bytes), 0);
	ck_assert_uint_eq(bytes[0], 100 * MIB);
	ck_assert_uint_eq(bytes[1], 0);
	ck_assert_uint_eq(bytes[2], 6 * MIB);
	ck_assert_uint_eq(region_lay_out(&all, &nodes, 13 * 2 * MIB, 12, bytes), 0);
	ck_assert_uint_eq(bytes[1], 18 * MIB);
	/* What a pool lacks is left, and what is no whole page. */
	nodes.node[0].huge_free = 200 * MIB;
	nodes.node[2].huge_free = 4 * MIB;
	ck_assert_uint_eq(region_lay_out(&sized, &nodes, 106 * MIB, 21, bytes), 2 * MIB);
	nodes.node[0].giant_free = nodes.node[2].giant_free = GIB;
	ck_assert_uint_eq(region_lay_out(&sized, &nodes, 106 * MIB, 30, bytes), 106 * MIB);
}
END_TEST

START_TEST(nodes_that_are_not_there_are_told_with_those_that_are)
{
	struct sys_nodes nodes = {.topology = {.nodes = 7, .memory = 3}};
	struct shares there = shares_of("0-1"), missing = shares_of("1,5-6"),
		      bare = shares_of("2:4M,0:4M");
	char why[256];

	ck_assert(region_has_nodes(&there, &nodes, why, sizeof(why)));
	ck_assert(!region_has_nodes(&missing, &nodes, why, sizeof(why)));
	ck_assert_str_eq(why, "memory.nodes: there is no node 5-6; there are 0-2");
	ck_assert(!region_has_nodes(&bare, &nodes, why, sizeof(why)));
	ck_assert_str_eq(
		why, "memory.nodes: there is no memory for Varbos on node 2; there is on 0-1");
}
END_TEST

START_TEST(policies_are_written_as_they_are_read)
{
	static const char *const good[] = {"default",          "local",        "bind:0",
					   "interleave:0,2-3", "preferred:63", "bind:0-63"};
	static const char *const bad[] = {"",
					  "bind",
					  "bind:",
					  "local:0",
					  "bind:64",
					  "bind:1-0",
					  "bind:0,",
					  "bind:0 1",
					  "bond:0",
					  "bind:-1",
					  "default:1",
					  "bind:0-",
					  ":0",
					  "BIND:0",
					  "bind:0x1",
					  "preferred: 1",
					  "interleavexxxxxxxxxxxxxx:0"};
	struct numa numa = {};
	char text[NUMA_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(numa_parse(good[i], &numa), "%s", good[i]);
		ck_assert_str_eq(numa_format(text, sizeof(text), numa), good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!numa_parse(bad[i], &numa), "%s", bad[i]);
	/* as long as a set can be, and cut off where there is no room */
	nodes_format(text, sizeof(text), 0x5555555555555555);
	ck_assert_uint_lt(strlen(text), NODES_TEXT_MAX);
	ck_assert_str_eq(text + strlen(text) - 3, ",62");
	ck_assert_str_eq(nodes_format(text, 4, 0x15), "0,2");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_nodes");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, gaps_and_nodes_without_memory_or_processors_are_seen);
	tcase_add_test(tcase, a_node_outside_of_the_cpuset_has_no_memory_for_us);
	tcase_add_test(tcase, a_kernel_without_nodes_has_one);
	tcase_add_test(tcase, this_machine_has_a_node_with_memory_and_processors);
	tcase_add_test(tcase, a_region_is_laid_out_in_proportion_to_what_nodes_have);
	tcase_add_test(tcase, no_part_of_a_region_is_larger_than_its_pool);
	tcase_add_test(tcase, a_region_lies_on_the_nodes_that_were_named);
	tcase_add_test(tcase, nodes_that_are_not_there_are_told_with_those_that_are);
	tcase_add_test(tcase, policies_are_written_as_they_are_read);
	return suite_run(suite);
}
