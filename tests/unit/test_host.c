/*
 * What the machine says it can spare, read from trees of /proc and /sys made up here.
 */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "daemon/sys/host.h"
#include "daemon/sys/procfile.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define GIANTS "/sys/kernel/mm/hugepages/hugepages-1048576kB/"

static char root[64];

/* A file of the tree, with the folders that lead to it. */
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

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void setup(void)
{
	strcpy(root, "/tmp/varbos-test-host-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	put("/proc/meminfo", "MemTotal:        8388608 kB\n" /* 8 GiB */
			     "MemFree:          102400 kB\n"
			     "MemAvailable:    4194304 kB\n"
			     "SwapTotal:       1048576 kB\n");
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
}

static void teardown(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct sys_host host(void)
{
	struct sys_host host;

	ck_assert_int_eq(host_read(root, &host), 0);
	return host;
}

START_TEST(a_bare_machine_keeps_a_twentieth)
{
	struct sys_host h = host();

	ck_assert_uint_eq(h.total, 8192 * MIB);
	ck_assert_uint_eq(h.available, 4096 * MIB);
	ck_assert_uint_eq(h.cap, 4096 * MIB - 8192 * MIB / 100 * 5);
	ck_assert_uint_eq(h.huge_total, 0);
	ck_assert_uint_eq(h.huge_free, 0);
}
END_TEST

START_TEST(a_small_machine_keeps_sixty_four_mebibytes)
{
	put("/proc/meminfo", "MemTotal: 524288 kB\nMemAvailable: 102400 kB\n");
	ck_assert_uint_eq(host().cap, 36 * MIB);
	put("/proc/meminfo", "MemTotal: 524288 kB\nMemAvailable: 10240 kB\n");
	ck_assert_uint_eq(host().cap, 0);
	ck_assert_uint_eq(host().available, 10 * MIB);
}
END_TEST

START_TEST(a_meminfo_that_makes_no_sense_is_an_error)
{
	struct sys_host h;

	put("/proc/meminfo", "MemTotal: lots\nMemAvailable: 1 kB\n");
	ck_assert_int_eq(host_read(root, &h), -EIO);
	put("/proc/meminfo", "NotMemTotal: 1 kB\nMemAvailable: 1 kB\n");
	ck_assert_int_eq(host_read(root, &h), -EIO);
	ck_assert_int_eq(host_read("/nonexistent", &h), -ENOENT);
}
END_TEST

START_TEST(hugepages_reserved_by_others_are_not_free)
{
	put(POOL "nr_hugepages", "128\n");
	put(POOL "free_hugepages", "100\n");
	put(POOL "resv_hugepages", "30\n");
	ck_assert_uint_eq(host().huge_total, 256 * MIB);
	ck_assert_uint_eq(host().huge_free, 140 * MIB);
	ck_assert_uint_eq(host().pools, (uint64_t)1 << 21);
}
END_TEST

START_TEST(each_size_of_hugepages_has_a_pool_of_its_own)
{
	ck_assert_uint_eq(host().pools, 0);
	put(GIANTS "nr_hugepages", "4\n");
	put(GIANTS "free_hugepages", "3\n");
	put(GIANTS "resv_hugepages", "1\n");
	ck_assert_uint_eq(host().pools, (uint64_t)1 << 30);
	ck_assert_uint_eq(host().giant_total, 4096 * MIB);
	ck_assert_uint_eq(host().giant_free, 2048 * MIB);
	ck_assert_uint_eq(host().huge_total, 0);
	/* the kernel knows them, and none are reserved */
	put(POOL "nr_hugepages", "0\n");
	put(POOL "free_hugepages", "0\n");
	put(POOL "resv_hugepages", "0\n");
	ck_assert_uint_eq(host().pools, (uint64_t)1 << 21 | (uint64_t)1 << 30);
}
END_TEST

static void mount_v2(const char *mount_root)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		 "30 22 0:26 %s /cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
		 mount_root);
	put("/proc/self/mountinfo", text);
}

START_TEST(a_cgroup_counts_like_the_machine)
{
	mount_v2("/");
	put("/proc/self/cgroup", "0::/system.slice/varbos.service\n");
	put("/cg/system.slice/varbos.service/memory.max", "1073741824\n");
	put("/cg/system.slice/varbos.service/memory.current", "268435456\n");
	ck_assert_uint_eq(host().total, 1024 * MIB);
	ck_assert_uint_eq(host().available, 768 * MIB);
	ck_assert_uint_eq(host().cap, 768 * MIB - HOST_SHARE_MIN);
}
END_TEST

START_TEST(the_tightest_level_of_the_path_decides)
{
	mount_v2("/");
	put("/proc/self/cgroup", "0::/a/b\n");
	put("/cg/a/memory.max", "536870912\n");
	put("/cg/a/memory.current", "402653184\n");
	put("/cg/a/b/memory.max", "max\n");
	put("/cg/a/b/memory.current", "1048576\n");
	put("/cg/c/memory.max", "4096\n");
	put("/cg/c/memory.current", "0\n");
	ck_assert_uint_eq(host().total, 512 * MIB);
	ck_assert_uint_eq(host().available, 128 * MIB);
}
END_TEST

START_TEST(file_pages_that_can_go_are_room)
{
	mount_v2("/");
	put("/proc/self/cgroup", "0::/a\n");
	put("/cg/a/memory.max", "536870912\n");
	put("/cg/a/memory.current", "536870912\n");
	put("/cg/a/memory.stat", "anon 1\ninactive_file 104857600\nactive_file 5\n");
	ck_assert_uint_eq(host().available, 100 * MIB);
}
END_TEST

START_TEST(a_group_above_its_limit_has_no_room)
{
	mount_v2("/");
	put("/proc/self/cgroup", "0::/a\n");
	put("/cg/a/memory.max", "536870912\n");
	put("/cg/a/memory.current", "636870912\n");
	ck_assert_uint_eq(host().available, 0);
	ck_assert_uint_eq(host().cap, 0);
}
END_TEST

START_TEST(a_container_sees_its_own_part_of_the_tree)
{
	/* /proc names the group as the host does, the mount shows it as the root. */
	mount_v2("/docker/abc");
	put("/proc/self/cgroup", "0::/docker/abc\n");
	put("/cg/memory.max", "536870912\n");
	put("/cg/memory.current", "0\n");
	ck_assert_uint_eq(host().available, 512 * MIB);

	put("/proc/self/cgroup", "0::/docker/abc/inner\n");
	put("/cg/inner/memory.max", "268435456\n");
	put("/cg/inner/memory.current", "0\n");
	ck_assert_uint_eq(host().available, 256 * MIB);

	/* The mount's root is not above the group: only what is mounted can be looked at. */
	put("/proc/self/cgroup", "0::/docker/abcd\n");
	ck_assert_uint_eq(host().available, 512 * MIB);
	put("/proc/self/cgroup", "0::/../../elsewhere\n");
	mount_v2("/");
	ck_assert_uint_eq(host().available, 512 * MIB);
}
END_TEST

START_TEST(the_older_hierarchy_counts_too)
{
	put("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n");
	put("/proc/self/mountinfo", "30 22 0:26 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
				    "31 22 0:27 / /cg/memory rw - cgroup cgroup rw,memory\n");
	put("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/cg/memory/memory.usage_in_bytes", "5368709120\n");
	put("/cg/memory/job/memory.limit_in_bytes", "2147483648\n");
	put("/cg/memory/job/memory.usage_in_bytes", "1073741824\n");
	put("/cg/memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 1048576\n");
	ck_assert_uint_eq(host().total, 2048 * MIB);
	ck_assert_uint_eq(host().available, 1025 * MIB);
}
END_TEST

START_TEST(the_older_hierarchys_largest_number_is_no_limit)
{
	uint64_t room, limit;

	put("/proc/self/cgroup", "4:memory:/job\n");
	put("/proc/self/mountinfo", "31 22 0:27 / /cg/memory rw - cgroup cgroup rw,memory\n");
	put("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* pages of 4 KiB */
	put("/cg/memory/memory.usage_in_bytes", "5368709120\n");
	put("/cg/memory/job/memory.limit_in_bytes", "9223372036854710272\n"); /* of 64 KiB */
	put("/cg/memory/job/memory.usage_in_bytes", "1073741824\n");
	cgroup_read(root, &room, &limit);
	ck_assert_uint_eq(room, UINT64_MAX);
	ck_assert_uint_eq(limit, UINT64_MAX);
}
END_TEST

START_TEST(a_field_is_found_by_its_whole_name)
{
	const char *text = "ab: 1\nb: 2\nb 3\n\nlast 18446744073709551616\nc: 9";
	uint64_t value = 0;

	ck_assert(procfile_field(text, "b:", &value));
	ck_assert_uint_eq(value, 2);
	ck_assert(procfile_field(text, "b", &value));
	ck_assert_uint_eq(value, 3);
	ck_assert(procfile_field(text, "c:", &value) == false || value == 9);
	ck_assert(!procfile_field(text, "a", &value));
	ck_assert(!procfile_field(text, "last", &value));
	ck_assert(!procfile_field("", "b", &value));
	ck_assert(!procfile_field("b", "b", &value));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("host");
	TCase *tc = tcase_create("all");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_bare_machine_keeps_a_twentieth);
	tcase_add_test(tc, a_small_machine_keeps_sixty_four_mebibytes);
	tcase_add_test(tc, a_meminfo_that_makes_no_sense_is_an_error);
	tcase_add_test(tc, hugepages_reserved_by_others_are_not_free);
	tcase_add_test(tc, each_size_of_hugepages_has_a_pool_of_its_own);
	tcase_add_test(tc, a_cgroup_counts_like_the_machine);
	tcase_add_test(tc, the_tightest_level_of_the_path_decides);
	tcase_add_test(tc, file_pages_that_can_go_are_room);
	tcase_add_test(tc, a_group_above_its_limit_has_no_room);
	tcase_add_test(tc, a_container_sees_its_own_part_of_the_tree);
	tcase_add_test(tc, the_older_hierarchy_counts_too);
	tcase_add_test(tc, the_older_hierarchys_largest_number_is_no_limit);
	tcase_add_test(tc, a_field_is_found_by_its_whole_name);
	return suite_run(suite);
}
