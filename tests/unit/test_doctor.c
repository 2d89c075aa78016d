#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "client/ctl/doctor.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* Nothing is to be said against it. */
static struct machine healthy(void)
{
	return (struct machine){
		.size = 256 * MIB,
		.host_known = true,
		.host = {.total = 16 * GIB, .available = 12 * GIB, .cap = 11 * GIB},
		.mem_total = 16 * GIB,
		.mem_available = 12 * GIB,
		.cgroup_room = UINT64_MAX,
		.cgroup_limit = UINT64_MAX,
		.huge = {true, 200, 128},
		.giant = {true, 0, 0},
		.thp = "always [madvise] never",
		.thp_shmem = "always within_size [advise] never deny force",
		.config = CONFIG_GOOD,
		.size_origin = "built-in",
		.pages_origin = "/etc/varbos/varbosd.toml:3:9",
		.nodes_known = true,
		.nodes = {.topology = {.nodes = 1, .memory = 1, .cpus = 1},
			  .node = {{.total = 16 * GIB,
				    .huge_total = 400 * MIB,
				    .huge_free = 256 * MIB}}},
		.root = true,
		.nofile_soft = 1024,
		.nofile_hard = 1 << 20,
		.memlock_soft = UINT64_MAX,
		.user = "alice",
		.has_user = true,
		.has_group = true,
		.member = MEMBER_YES,
		.memfd = true,
		.memfd_huge = true,
		.pidfd = true,
		.peer_pidfd = true,
		.membarrier = true,
		.pass_rights = true,
		.release = "Linux 6.18.0",
		.socket = "/run/varbos/varbos.sock",
		.socket_max = 107,
		.socket_state = SOCKET_SERVED,
		.answered = true,
		.isolates = true,
		.version = "0.1.0",
		.region = 256 * MIB,
		.committed = 0,
		.page = 2 * MIB,
	};
}

static struct machine without_daemon(void)
{
	struct machine machine = healthy();

	machine.answered = false;
	machine.socket_state = SOCKET_NONE;
	return machine;
}

/* The machine has this finding, and what to do is said unless all is well. */
static void expect(const struct machine *machine, enum finding_level level, const char *check,
		   const char *text, const char *todo)
{
	struct findings *findings = malloc(sizeof(*findings));
	uint32_t sums[FINDING_FAIL + 1] = {0}, found = 0;

	ck_assert_ptr_nonnull(findings);
	doctor_look(machine, findings);
	ck_assert_uint_lt(findings->count, DOCTOR_FINDINGS_MAX);
	for (uint32_t i = 0; i < findings->count; i++) {
		const struct finding *row = &findings->rows[i];

		sums[row->level]++;
		ck_assert_msg(!*row->todo == (row->level == FINDING_OK), "%s: %s / %s",
			      row->check, row->text, row->todo);
		ck_assert_uint_lt(strlen(row->todo), sizeof(row->todo) - 1);
		found += row->level == level && !strcmp(row->check, check) &&
			 strstr(row->text, text) && strstr(row->todo, todo);
	}
	ck_assert_mem_eq(sums, findings->of_level, sizeof(sums));
	for (uint32_t i = 0; !found && i < findings->count; i++)
		fprintf(stderr, "%s %s: %s / %s\n", findings->rows[i].level_name,
			findings->rows[i].check, findings->rows[i].text,
			findings->rows[i].todo);
	ck_assert_msg(found == 1, "%s: \"%s\" is found %u times", check, text, found);
	free(findings);
}

static uint32_t troubles(const struct machine *machine)
{
	struct findings *findings = malloc(sizeof(*findings));
	uint32_t n;

	ck_assert_ptr_nonnull(findings);
	doctor_look(machine, findings);
	n = findings->count - findings->of_level[FINDING_OK];
	free(findings);
	return n;
}

START_TEST(a_healthy_machine_is_left_alone)
{
	struct machine machine = healthy();

	ck_assert_uint_eq(troubles(&machine), 0);
	machine = without_daemon();
	ck_assert_uint_eq(troubles(&machine), 1); /* that there is no daemon */
	expect(&machine, FINDING_NOTE, "daemon", "no daemon answers",
	       "systemctl start varbosd");
}
END_TEST

#define CASE(test, base, change, level, check, text, todo)            \
	START_TEST(test)                                              \
	{                                                             \
		struct machine machine = base();                      \
                                                                      \
		change;                                               \
		expect(&machine, FINDING_##level, check, text, todo); \
	}                                                             \
	END_TEST

/* clang-format off */
#define CASES(X) \
	X(a_fallback_to_small_pages_is_a_warning, healthy, strcpy(machine.pages_why, "12 MiB free"), WARNING, "daemon", "12 MiB free", "restart") \
	X(a_daemon_that_isolates_nobody_is_noted, healthy, machine.isolates = false, NOTE, "daemon", "not isolated", "systemctl enable") \
	X(a_server_that_is_no_daemon_fails, healthy, machine.answered = false, FAIL, "daemon", "does not answer like", "varbosctl status") \
	X(a_daemon_that_does_not_accept_fails, without_daemon, machine.socket_state = SOCKET_BUSY, FAIL, "daemon", "does not accept", "restart varbosd") \
	X(what_it_would_be_told_is_shown_with_its_places, healthy, machine.lock = true, OK, "config", "256 MiB (built-in), pages auto (/etc/varbos/varbosd.toml:3:9), locked", "") \
	X(a_wrong_configuration_fails, without_daemon, (machine.config = CONFIG_WRONG, strcpy(machine.config_why, "/x:1:2: no")), FAIL, "config", "/x:1:2: no", "varbosd --check-config") \
	X(a_wrong_configuration_under_a_running_daemon_is_a_warning, healthy, machine.config = CONFIG_WRONG, WARNING, "config", "would not start again", "varbosd --check-config") \
	X(without_a_varbosd_the_configuration_is_not_known, without_daemon, machine.config = CONFIG_NOT_THERE, WARNING, "config", "no varbosd is found", "VARBOS_DAEMON") \
	X(a_socket_elsewhere_is_noted, healthy, strcpy(machine.told_socket, "/run/other"), NOTE, "config", "told to serve /run/other", "--socket /run/other") \
	X(a_lock_that_cannot_be_had_fails, without_daemon, (machine.root = false, machine.lock = true, machine.pages = PAGES_4K, machine.memlock_soft = MIB), FAIL, "limits", "memory.lock is set, and 1 MiB may be locked", "LimitMEMLOCK") \
	X(locked_pages_mind_no_swap, without_daemon, (machine.lock = true, machine.pages = PAGES_4K, machine.swap_total = GIB), OK, "swap", "memory.lock", "") \
	X(a_stale_socket_is_a_warning, without_daemon, machine.socket_state = SOCKET_STALE, WARNING, "socket", "left by a daemon", "takes its place") \
	X(a_socket_that_is_not_for_us_fails, without_daemon, machine.socket_state = SOCKET_DENIED, FAIL, "socket", "permission denied", "usermod -aG varbos-clients alice") \
	X(a_file_in_the_sockets_place_fails, without_daemon, machine.socket_state = SOCKET_OTHER, FAIL, "socket", "is no varbosd's socket", "move it") \
	X(a_path_that_is_too_long_fails, without_daemon, machine.socket_state = SOCKET_TOO_LONG, FAIL, "socket", "at most 107", "shorter") \
	X(a_machine_without_the_group_is_noted, healthy, machine.has_group = false, NOTE, "group", "no group varbos-clients", "groupadd") \
	X(a_machine_without_the_user_is_noted, healthy, machine.has_user = false, NOTE, "group", "no user varbos", "useradd") \
	X(who_is_in_the_group_since_logs_in_again, healthy, (machine.root = false, machine.member = MEMBER_SINCE), WARNING, "group", "older than that", "newgrp") \
	X(who_is_not_in_the_group_is_told_how, healthy, (machine.root = false, machine.member = MEMBER_NO), WARNING, "group", "not in varbos-clients", "usermod -aG varbos-clients alice") \
	X(a_size_beyond_the_machine_fails, without_daemon, machine.host.cap = 100 * MIB, FAIL, "memory", "256 MiB are asked, the machine can spare 100 MiB", "--size 100M") \
	X(a_region_that_can_no_longer_be_had_is_a_warning, healthy, (machine.page = 4096, machine.host.cap = 100 * MIB), WARNING, "memory", "still to be committed", "end what else") \
	X(a_machine_without_proc_fails, healthy, machine.host_known = false, FAIL, "memory", "/proc/meminfo", "mount") \
	X(a_cgroup_below_the_region_is_a_warning, healthy, machine.cgroup_limit = 128 * MIB, WARNING, "cgroup", "128 MiB", "memory.max") \
	X(a_cgroup_above_the_region_is_fine, healthy, (machine.cgroup_limit = GIB, machine.cgroup_room = 512 * MIB), OK, "cgroup", "limit 1 GiB, of which 512 MiB", "") \
	X(too_few_hugepages_are_a_warning, without_daemon, machine.huge.free = 28, WARNING, "hugepages", "28 free of 200, 128 wanted: it would fall back", "echo 300 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages") \
	X(too_few_hugepages_fail_if_they_are_asked, without_daemon, (machine.pages = PAGES_2M, machine.huge.free = 28), FAIL, "hugepages", "would not start", "echo 300") \
	X(giant_pages_are_counted_up, without_daemon, (machine.pages = PAGES_1G, machine.size = 2048 * MIB), FAIL, "hugepages", "0 free of 0, 1 wanted", "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB") \
	X(what_is_kept_for_smaller_pages_is_not_wanted_of_1_gib, without_daemon, (machine.pages = PAGES_1G, machine.size = 8192 * MIB, machine.small = 1025 * MIB), FAIL, "hugepages", "0 free of 0, 6 wanted", "echo 6 > /sys/kernel/mm/hugepages/hugepages-1048576kB") \
	X(a_region_without_room_for_a_page_of_1_gib_fails, without_daemon, machine.pages = PAGES_1G, FAIL, "hugepages", "no room for a page of 1 GiB", "--pages 2M") \
	X(a_page_size_that_is_not_there_fails, without_daemon, (machine.pages = PAGES_1G, machine.giant.there = false), FAIL, "hugepages", "no pages of 1 GiB", "--pages 2M") \
	X(swap_below_small_pages_is_a_warning, without_daemon, (machine.pages = PAGES_4K, machine.swap_total = GIB, machine.swappiness = 60), WARNING, "swap", "swappiness 60", "vm.swappiness=1") \
	X(swap_below_hugepages_is_fine, healthy, machine.swap_total = GIB, OK, "swap", "never swapped out", "") \
	X(a_kernel_without_thp_is_noted, healthy, *machine.thp_shmem = 0, NOTE, "thp", "no transparent", "pool") \
	X(thp_that_shared_memory_never_gets_is_noted, healthy, strcpy(machine.thp_shmem, "always advise [never]"), NOTE, "thp", "off for shared memory", "shmem_enabled") \
	X(thp_for_everyone_is_noted, healthy, strcpy(machine.thp, "[always] madvise never"), NOTE, "thp", "always on", "echo madvise") \
	X(a_few_descriptors_are_a_warning, healthy, machine.nofile_hard = 4096, WARNING, "limits", "4096 descriptors", "LimitNOFILE") \
	X(next_to_no_descriptors_fail, healthy, machine.nofile_hard = 256, FAIL, "limits", "256 descriptors", "ulimit") \
	X(memory_that_cannot_be_locked_is_noted, healthy, (machine.root = false, machine.memlock_soft = MIB), NOTE, "limits", "1 MiB may be locked", "LimitMEMLOCK") \
	X(a_kernel_without_memfds_fails, healthy, machine.memfd = false, FAIL, "kernel", "no memfd with seals", "newer kernel") \
	X(a_kernel_without_pidfds_fails, healthy, machine.pidfd = false, FAIL, "kernel", "no pidfd", "seccomp") \
	X(a_kernel_without_hugetlb_memfds_is_noted, healthy, machine.memfd_huge = false, NOTE, "kernel", "no memfd on hugepages", "newer kernel") \
	X(a_kernel_without_membarrier_is_noted, healthy, machine.membarrier = false, NOTE, "kernel", "no membarrier", "nothing has to be done") \
	X(a_kernel_without_peer_pidfds_is_noted, healthy, machine.peer_pidfd = false, NOTE, "kernel", "SO_PEERPIDFD", "nothing has to be done") \
	X(a_kernel_that_lets_rights_pass_is_noted, healthy, machine.pass_rights = false, NOTE, "kernel", "SO_PASSRIGHTS", "nothing has to be done")
/* clang-format on */

CASES(CASE)

START_TEST(nodes_that_differ_are_named)
{
	struct machine machine = healthy();

	machine.nodes.topology.nodes = 7;
	machine.nodes.topology.memory = 3;
	machine.nodes.node[1].total = GIB; /* 2 is without memory */
	expect(&machine, FINDING_OK, "numa", "2 nodes with memory, all of them allowed", "");
	expect(&machine, FINDING_OK, "numa", "node 0: 128 of 200 pages of 2 MiB free, 0 of 0",
	       "");
	expect(&machine, FINDING_WARNING, "numa", "node 1 has no hugepages", "node/node1/");
	machine.nodes.topology.memory = 1;
	expect(&machine, FINDING_WARNING, "numa", "1 of 2 nodes", "cpuset");
	machine.balancing_known = true;
	machine.balancing = 1;
	expect(&machine, FINDING_NOTE, "numa", "automatic balancing",
	       "kernel.numa_balancing=0");
}
END_TEST

/* ---- reading ---- */

static char root[64];

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(full, 0700);
		*at = '/';
	}
	file = fopen(full, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
	return remove(path);
}

START_TEST(a_machine_is_read_from_its_files)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	ck_assert_ptr_nonnull(machine);
	strcpy(root, "/tmp/varbos-doctor-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	put("/proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nSwapTotal: 1024 kB\n");
	put("/proc/self/cgroup", "0::/here\n");
	put("/proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/here/memory.max", "1048576\n");
	put("/sys/fs/cgroup/here/memory.current", "65536\n");
	put("/proc/self/status", "Name:\tx\nMems_allowed:\t6\nMems_allowed_list:\t1-2\n");
	put("/sys/devices/system/node/online", "0-1,3\n");
	put("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:  1024 kB\n");
	put("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:  2048 kB\n");
	put("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "7\n");
	put("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "5\n");
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "9\n");
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "8\n");
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "2\n");
	put("/proc/sys/vm/swappiness", "60\n");
	put("/proc/sys/kernel/numa_balancing", "1\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [never]\n");
	machine_read(root, machine);
	ck_assert(machine->host_known);
	ck_assert_uint_eq(machine->mem_total, 4 * MIB);
	ck_assert_uint_eq(machine->mem_available, 2 * MIB);
	ck_assert_uint_eq(machine->swap_total, MIB);
	ck_assert_uint_eq(machine->swappiness, 60);
	ck_assert_uint_eq(machine->cgroup_limit, MIB);
	ck_assert_uint_eq(machine->cgroup_room, MIB - 65536);
	ck_assert_uint_eq(machine->huge.total, 9);
	ck_assert_uint_eq(machine->huge.free, 6);
	ck_assert(!machine->giant.there);
	ck_assert(machine->nodes_known);
	ck_assert_uint_eq(machine->nodes.topology.nodes, 0xb);
	ck_assert_uint_eq(machine->nodes.topology.memory, 0x2);
	ck_assert_uint_eq(machine->nodes.node[1].total, 2 * MIB);
	ck_assert_uint_eq(machine->nodes.node[1].huge_free, 10 * MIB);
	ck_assert(machine->balancing_known && machine->balancing == 1);
	ck_assert_str_eq(machine->thp, "always [madvise] never");
	ck_assert_str_eq(machine->thp_shmem, "always [never]");

	*machine = (struct machine){0};
	machine_read("/nonexistent", machine);
	ck_assert(!machine->host_known && !machine->nodes_known && !machine->huge.there);
	ck_assert_uint_eq(machine->cgroup_limit, UINT64_MAX);
	free(machine);
	ck_assert_int_eq(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}
END_TEST

START_TEST(what_the_daemon_prints_is_taken_in)
{
	char text[] = "[socket]\n# path = \"\" # built-in\n\n[memory]\n"
		      "size = \"2G\" # /a \"b\" # c.toml:1:2\npages = \"2M\" # --pages\n"
		      "lock = true # built-in\nnew = [1, 2] # built-in\n\n[log]\n"
		      "size = \"4M\" # built-in\nbroken\n";
	char told[] =
		"[socket]\npath = \"/run/x\" # VARBOS_SOCKET\n[memory]\nsize = \"lots\" # x\n"
		"pages = \"3M\" # x\n";
	struct machine *machine = calloc(1, sizeof(*machine));

	ck_assert_ptr_nonnull(machine);
	machine_take_config(text, machine);
	ck_assert_uint_eq(machine->size, 2 * GIB);
	ck_assert_str_eq(machine->size_origin, "/a \"b\" # c.toml:1:2");
	ck_assert_int_eq(machine->pages, PAGES_2M);
	ck_assert_str_eq(machine->pages_origin, "--pages");
	ck_assert(machine->lock);
	ck_assert_str_eq(machine->told_socket, "");
	machine_take_config(told, machine);
	ck_assert_str_eq(machine->told_socket, "/run/x");
	ck_assert_uint_eq(machine->size, 2 * GIB); /* what is not understood changes nothing */
	ck_assert_int_eq(machine->pages, PAGES_2M);
	free(machine);
}
END_TEST

#define ADD(test, ...) tcase_add_test(tcase, test);

int main(void)
{
	Suite *suite = suite_create("doctor");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_healthy_machine_is_left_alone);
	CASES(ADD)
	tcase_add_test(tcase, nodes_that_differ_are_named);
	tcase_add_test(tcase, a_machine_is_read_from_its_files);
	tcase_add_test(tcase, what_the_daemon_prints_is_taken_in);
	return suite_run(suite);
}
