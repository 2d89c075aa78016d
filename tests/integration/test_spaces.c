/*
 * Spaces as programs have them: who makes and finds which, how they are laid out, and when they go.
 */
#include <check.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/integration/joined.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)
#define SLICE ((size_t)64 << 10)

START_TEST(what_one_writes_another_reads_through_the_reference)
{
	struct varbos_space *others;
	struct varbos *other;
	varbos_ref ref;
	char *memory, *seen;

	others = open_other(&other, "s", 0);
	memory = varbos_alloc(space, 3 * MIB);
	ck_assert_ptr_nonnull(memory);
	memset(memory, 'x', 3 * MIB);
	ref = varbos_ref_of(space, memory + 2 * MIB);
	seen = varbos_ref_get(others, ref);
	ck_assert_ptr_nonnull(seen);
	ck_assert_ptr_ne(seen, memory + 2 * MIB);
	ck_assert_int_eq(seen[MIB - 1], 'x');
	seen[0] = 'y';
	ck_assert_int_eq(memory[2 * MIB], 'y');
	varbos_disconnect(other);
}
END_TEST

START_TEST(a_space_is_created_unless_it_must_exist)
{
	struct varbos_space *other = NULL;

	expect(varbos_space_open(
		       &other, vb, "nowhere",
		       &(struct varbos_space_options){.flags = VARBOS_SPACE_EXISTING}),
	       VARBOS_E_NOT_FOUND, NULL);
	expect(varbos_space_open(&other, vb, "s",
				 &(struct varbos_space_options){.flags = VARBOS_SPACE_NEW}),
	       VARBOS_E_EXISTS, NULL);
	ck_assert_ptr_null(other);
	ck_assert_int_eq(
		varbos_space_open(&other, vb, "fresh",
				  &(struct varbos_space_options){.flags = VARBOS_SPACE_NEW,
								 .limit = 4 * MIB,
								 .client_limit = 2 * MIB,
								 .weight = 7,
								 .mode = 0640}),
		0);
	varbos_space_close(other);
	expect(varbos_space_open(&other, vb, "fresh",
				 &(struct varbos_space_options){.flags = VARBOS_SPACE_NEW}),
	       VARBOS_E_EXISTS, NULL);

	struct varbos_space_info info = info_of("fresh");

	ck_assert_uint_eq(info.limit, 4 * MIB);
	ck_assert_uint_eq(info.client_limit, 2 * MIB);
	ck_assert_uint_eq(info.weight, 7);
	ck_assert_uint_eq(info.mode, 0640);
	ck_assert_uint_eq(info.uid, geteuid());
	ck_assert_uint_eq(info.sessions, 0);
	ck_assert_str_eq(info.placement, "bestfit");
}
END_TEST

START_TEST(a_reader_creates_no_space)
{
	struct varbos_space *other = NULL;

	expect(varbos_space_open(
		       &other, vb, "nowhere",
		       &(struct varbos_space_options){.flags = VARBOS_SPACE_READ_ONLY}),
	       VARBOS_E_NOT_FOUND, NULL);
	ck_assert_ptr_null(other);
	ck_assert_str_eq(info_of("nowhere").name, "");
}
END_TEST

START_TEST(handles_of_one_space_count)
{
	struct varbos_space *again, *other = NULL;
	char *memory = varbos_alloc(space, 1);

	ck_assert_int_eq(varbos_space_open(&again, vb, "s", NULL), 0);
	ck_assert_ptr_eq(varbos_ref_get(again, varbos_ref_of(space, memory)), memory);
	expect(varbos_space_open(
		       &other, vb, "s",
		       &(struct varbos_space_options){.flags = VARBOS_SPACE_READ_ONLY}),
	       VARBOS_E_INVALID, "flags");
	ck_assert_ptr_null(other);
	varbos_space_close(again);
	*memory = 1;
	ck_assert_uint_eq(info_of("s").sessions, 1);
	varbos_space_close(space);
	ck_assert_uint_eq(info_of("s").sessions, 0);
	ck_assert_uint_eq(info_of("s").used, 0);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	ck_assert_ptr_nonnull(varbos_alloc(space, 1));
}
END_TEST

START_TEST(names_and_options_that_make_no_sense_are_refused)
{
	char longer[65] = {};
	const struct {
		const char *name;
		struct varbos_space_options options;
		const char *which;
	} wrong[] = {
		{NULL, {}, "name"},
		{"", {}, "name"},
		{longer, {}, "name"},
		{"a\nb", {}, "name"},
		{"a/b", {}, "name"},
		{".hidden", {}, "name"},
		{"fresh", {.flags = 64}, "flags"},
		{"fresh", {.flags = VARBOS_SPACE_NEW | VARBOS_SPACE_EXISTING}, "flags"},
		{"fresh", {.flags = VARBOS_SPACE_NEW | VARBOS_SPACE_READ_ONLY}, "flags"},
		{"fresh", {.windows = 1025}, "windows"},
		{"fresh", {.numa = (enum varbos_numa)9}, "numa"},
		{"fresh", {.numa = VARBOS_NUMA_BIND}, "nodes"},
		{"fresh", {.numa = VARBOS_NUMA_LOCAL, .nodes = 1}, "nodes"},
		{"fresh", {.nodes = 1}, "nodes"},
		{"fresh", {.numa = VARBOS_NUMA_BIND, .nodes = (uint64_t)1 << 63}, "nodes"},
		{"fresh", {.placement = "worst"}, "placement"},
		{"fresh", {.mode = 07777}, "mode"},
		{"fresh", {.weight = 10001}, "weight"},
	};
	struct varbos_space *other = NULL;

	memset(longer, 'n', 64);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		expect(varbos_space_open(&other, vb, wrong[i].name, &wrong[i].options),
		       VARBOS_E_INVALID, wrong[i].which);
	ck_assert_ptr_null(other);
	ck_assert_str_eq(info_of("fresh").name, "");
}
END_TEST

START_TEST(a_policy_that_no_machine_could_follow_is_refused_for_one_allocation_too)
{
	const struct varbos_alloc_options local = {.numa = VARBOS_NUMA_LOCAL, .shared = 1};
	const struct varbos_alloc_options aligned = {.align = 1 << 20};
	const struct varbos_alloc_options bare = {.numa = VARBOS_NUMA_BIND};
	const struct varbos_alloc_options nowhere = {.numa = VARBOS_NUMA_BIND,
						     .nodes = (uint64_t)1 << 63};
	struct varbos_space *other;
	char *memory;

	ck_assert_int_eq(
		varbos_space_open(&other, vb, "near",
				  &(struct varbos_space_options){.numa = VARBOS_NUMA_LOCAL}),
		0);
	memory = varbos_alloc(other, 100);
	ck_assert_ptr_nonnull(memory);
	ck_assert_int_eq(varbos_free(other, memory), 0);
	memory = varbos_alloc_with(other, 100, &local);
	ck_assert_ptr_nonnull(memory);
	ck_assert_int_eq(varbos_free(other, memory), 0);
	memory = varbos_alloc_with(other, 100, &aligned);
	ck_assert_ptr_nonnull(memory);
	ck_assert_uint_eq((uintptr_t)memory % (1 << 20), 0);
	ck_assert_int_eq(varbos_free(other, memory), 0);
	expect_null(varbos_alloc_with(other, 100, &bare), VARBOS_E_INVALID, "nodes");
	expect_null(varbos_alloc_with(other, 100, &nowhere), VARBOS_E_INVALID, "nodes");
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "no node 63"));
	varbos_space_close(other);
}
END_TEST

/* Unseen by the address sanitizer, whose own notes fault in, too. */
__attribute__((no_sanitize("address"))) static void touch_pages(volatile char *memory,
								size_t size)
{
	for (size_t i = 0; i < size; i += 4096)
		memory[i] = 1;
}

START_TEST(what_is_prefaulted_faults_no_more)
{
	const struct varbos_space_options options = {.flags = VARBOS_SPACE_PREFAULT};
	struct rusage before, after;
	struct varbos_space *other;
	char *memory;

	ck_assert_int_eq(varbos_space_open(&other, vb, "mapped", &options), 0);
	memory = varbos_alloc(other, 4 << 20);
	ck_assert_ptr_nonnull(memory);
	ck_assert_int_eq(getrusage(RUSAGE_SELF, &before), 0);
	touch_pages(memory, 4 << 20);
	ck_assert_int_eq(getrusage(RUSAGE_SELF, &after), 0);
	ck_assert_int_lt(after.ru_minflt - before.ru_minflt, 16); /* else 1024 */
	varbos_space_close(other);
}
END_TEST

/* Of the mapping that an address lies in: "rd wr sh mr mw me ms ... hg". */
static void flags_of(const void *address, char ret[256])
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long from, to;
	bool here = false;
	char line[512];

	*ret = '\0';
	ck_assert_ptr_nonnull(file);
	while (!*ret && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)address >= from && (uintptr_t)address < to;
		if (here && !strncmp(line, "VmFlags:", 8))
			snprintf(ret, 256, "%.200s", line + 8);
	}
	fclose(file);
}

START_TEST(mappings_ask_for_transparent_hugepages_as_the_daemon_says)
{
	static const char *const words[] = {"never", "advise", "always"};
	static const char *const flags[] = {" nh ", " hg ", " hg "};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct test_daemon own;
		struct varbos_space *other;
		struct varbos *there;
		char got[256];
		void *memory;

		test_daemon_start(&own, "16M", "--pages", "4K", "--memory.thp", words[i], NULL);
		ck_assert_int_eq(varbos_connect(&there, own.socket), 0);
		ck_assert_int_eq(varbos_space_open(&other, there, "a", NULL), 0);
		memory = varbos_alloc(other, 2 * MIB);
		ck_assert_ptr_nonnull(memory);
		flags_of(memory, got);
		ck_assert_msg(strstr(got, flags[i]), "%s: %s", words[i], got);
		varbos_disconnect(there);
		test_daemon_stop(&own);
	}
}
END_TEST

START_TEST(a_space_is_laid_out_by_the_policy_it_was_given)
{
	static const char *const policies[] = {"bestfit", "buddy", "tlsf", "firstfit"};
	/* After one slice: buddy aligns two, the others put them beside it. */
	static const size_t second[] = {1, 2, 1, 1};

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		struct varbos_space *other;
		char *one, *two;

		ck_assert_int_eq(
			varbos_space_open(&other, vb, policies[i],
					  &(struct varbos_space_options){
						  .limit = 2 * MIB, .placement = policies[i]}),
			0);
		ck_assert_str_eq(info_of(policies[i]).placement, policies[i]);
		one = varbos_alloc(other, SLICE);
		two = varbos_alloc(other, 2 * SLICE);
		ck_assert(one && two);
		ck_assert_ptr_eq(two, one + second[i] * SLICE);
		varbos_space_close(other);
	}
	expect(varbos_space_open(&space, vb, "fresh",
				 &(struct varbos_space_options){.placement = "bestfitt"}),
	       VARBOS_E_INVALID, "placement");
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		ck_assert_ptr_nonnull(strstr(varbos_error()->message, policies[i]));
}
END_TEST

START_TEST(spaces_are_listed_page_by_page)
{
	enum { SPACES = 450 }; /* more than a message holds */
	struct varbos_space_info *infos;
	struct varbos_space *other;
	struct test_daemon large;
	bool seen[SPACES] = {};
	struct varbos *many;
	char name[64];
	size_t n;

	test_daemon_start(&large, "1G", NULL); /* room for limits: none of it is committed */
	ck_assert_int_eq(varbos_connect(&many, large.socket), 0);
	ck_assert_int_eq(varbos_space_list(many, &infos, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(infos);
	for (int i = 0; i < SPACES; i++) {
		snprintf(name, sizeof(name),
			 "a-long-name-of-a-space-so-that-few-fill-a-page-%d", i);
		ck_assert_int_eq(varbos_space_open(&other, many, name,
						   &(struct varbos_space_options){
							   .limit = 2 * MIB, .windows = 1}),
				 0);
		varbos_space_close(other);
	}
	ck_assert_int_eq(varbos_space_list(many, &infos, &n), 0);
	ck_assert_uint_eq(n, SPACES);
	for (size_t i = 0; i < n; i++)
		seen[atoi(strrchr(infos[i].name, '-') + 1)] = true;
	for (int i = 0; i < SPACES; i++)
		ck_assert(seen[i]);
	free(infos);
	varbos_disconnect(many);
	test_daemon_stop(&large);
}
END_TEST

START_TEST(a_space_in_use_is_removed_by_force_only)
{
	struct varbos_space *others, *none = NULL;
	struct varbos *other;
	char *memory;

	others = open_other(&other, "s", 0);
	expect(varbos_space_remove(vb, "nowhere", 0), VARBOS_E_NOT_FOUND, NULL);
	expect(varbos_space_remove(vb, "s", 0), VARBOS_E_IN_USE, NULL);
	ck_assert_uint_eq(varbos_error()->available, 2);
	memory = varbos_alloc_shared(others, 1);
	ck_assert_int_eq(varbos_space_remove(vb, "s", 1), 0);
	*memory = 1;
	varbos_disconnect(other);
	varbos_space_close(space);
	expect(varbos_space_open(
		       &none, vb, "s",
		       &(struct varbos_space_options){.flags = VARBOS_SPACE_EXISTING}),
	       VARBOS_E_NOT_FOUND, NULL);
}
END_TEST

START_TEST(a_reader_can_read_and_nothing_else)
{
	struct varbos_space *others;
	struct varbos *other;
	char *memory, *seen;
	int status;
	pid_t pid;

	memory = varbos_alloc_shared(space, 1);
	*memory = 'a';
	others = open_other(&other, "s", VARBOS_SPACE_READ_ONLY);
	seen = varbos_ref_get(others, varbos_ref_of(space, memory));
	ck_assert_ptr_nonnull(seen);
	ck_assert_int_eq(*seen, 'a');
	expect_null(varbos_alloc(others, 1), VARBOS_E_PERMISSION, "write");
	expect_null(varbos_alloc_shared(others, 1), VARBOS_E_PERMISSION, "write");
	expect(varbos_free(others, seen), VARBOS_E_PERMISSION, "write");
	ck_assert_int_lt(mprotect(seen, 4096, PROT_READ | PROT_WRITE), 0);
	ck_assert_uint_eq(varbos_usable_size(others, seen), 64);

	pid = fork();
	if (!pid) {
		/* Not inherited: opened anew, and as read-only as before. */
		signal(SIGSEGV, SIG_DFL);
		seen = varbos_ref_get(others, varbos_ref_of(others, seen));
		if (!seen || *seen != 'a')
			_exit(1);
		*seen = 'b';
		_exit(2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_int_eq(*memory, 'a');
	varbos_disconnect(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("spaces");
	TCase *spaces = tcase_create("spaces");

	tcase_add_checked_fixture(spaces, set_up, tear_down);
	tcase_set_timeout(spaces, 120);
	tcase_add_test(spaces, what_one_writes_another_reads_through_the_reference);
	tcase_add_test(spaces, a_space_is_created_unless_it_must_exist);
	tcase_add_test(spaces, a_reader_creates_no_space);
	tcase_add_test(spaces, handles_of_one_space_count);
	tcase_add_test(spaces, names_and_options_that_make_no_sense_are_refused);
	tcase_add_test(spaces, a_space_is_laid_out_by_the_policy_it_was_given);
	tcase_add_test(spaces,
		       a_policy_that_no_machine_could_follow_is_refused_for_one_allocation_too);
	tcase_add_test(spaces, what_is_prefaulted_faults_no_more);
	tcase_add_test(spaces, mappings_ask_for_transparent_hugepages_as_the_daemon_says);
	tcase_add_test(spaces, spaces_are_listed_page_by_page);
	tcase_add_test(spaces, a_space_in_use_is_removed_by_force_only);
	tcase_add_test(spaces, a_reader_can_read_and_nothing_else);
	suite_add_tcase(s, spaces);
	return suite_run(s);
}
