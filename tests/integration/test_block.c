/*
 * Private blocks, as a program meets them: sizes, alignments, threads, spaces, ends, mistakes.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/integration/daemon.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)
#define SLICE ((size_t)64 << 10)
enum { WAIT_TRIES = 2000 };

static struct test_daemon daemon_;
static struct varbos *vb;
static struct varbos_space *space;

static struct varbos_space *open_space(const char *name, uint64_t limit, uint32_t flags)
{
	const struct varbos_space_options options = {
		.limit = limit, .client_limit = limit, .flags = flags, .windows = 1};
	struct varbos_space *opened;

	ck_assert_msg(!varbos_space_open(&opened, vb, name, &options), "%s",
		      varbos_error()->message);
	return opened;
}

static void set_up(void)
{
	setenv("VARBOS_QUIET", "1", 1);
	test_daemon_start(&daemon_, "64M", NULL);
	ck_assert_int_eq(varbos_connect(&vb, daemon_.socket), 0);
	space = open_space("s", 16 * MIB, 0);
}

static void tear_down(void)
{
	varbos_disconnect(vb);
	test_daemon_stop(&daemon_);
}

static void expect(int r, enum varbos_code code, const char *which)
{
	ck_assert_msg(r == (int)code, "%s instead of %s: %s", varbos_code_name(r),
		      varbos_code_name((int)code), varbos_error()->message);
	ck_assert_int_eq(varbos_error()->code, code);
	ck_assert_str_eq(varbos_error()->which, which);
}

static void expect_null(const void *memory, enum varbos_code code, const char *which)
{
	ck_assert_ptr_null(memory);
	expect((int)varbos_error()->code, code, which);
}

static uint64_t used(void)
{
	struct varbos_space_info *infos;
	uint64_t bytes = 0;
	size_t n;

	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		bytes += infos[i].used;
	free(infos);
	return bytes;
}

static void wait_used(uint64_t bytes)
{
	for (int i = 0; i < WAIT_TRIES && used() != bytes; i++)
		usleep(10000);
	ck_assert_uint_eq(used(), bytes);
}

/* ---- of another size, alignment, node ---- */

START_TEST(what_is_resized_keeps_its_contents_and_its_place_where_it_fits)
{
	static const size_t sizes[] = {1,    64,   65,     100,    1000,    600,     5000,
				       4097, 9,    70000,  262144, 262145,  2500000, 2490000,
				       400,  8192, 300000, 65536,  1000000, 64};
	unsigned char *memory = varbos_realloc(space, NULL, 0), *before;
	size_t held = 1, usable;

	ck_assert_ptr_nonnull(memory);
	memory[0] = 1;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		before = memory;
		usable = varbos_usable_size(space, memory);
		memory = varbos_realloc(space, memory, sizes[i]);
		ck_assert_ptr_nonnull(memory);
		if (sizes[i] <= usable && sizes[i] > usable / 2)
			ck_assert_ptr_eq(memory, before);
		ck_assert_uint_ge(varbos_usable_size(space, memory), sizes[i]);
		for (size_t at = 0; at < held && at < sizes[i]; at += 61)
			if (memory[at] != (unsigned char)(at / 61 + 1))
				ck_abort_msg("at %zu of %zu", at, sizes[i]);
		held = sizes[i];
		for (size_t at = 0; at < held; at += 61)
			memory[at] = (unsigned char)(at / 61 + 1);
	}
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(what_cannot_be_resized_is_as_it_was)
{
	char *block = varbos_alloc(space, 100), *large = varbos_alloc(space, 10 * MIB);
	char *shared = varbos_alloc_shared(space, MIB), *inside = block + 64, local;

	ck_assert(block && large && shared);
	strcpy(block, "as it was");
	strcpy(large, "likewise");
	expect_null(varbos_realloc(space, block, 8 * MIB), VARBOS_E_BUDGET, "client");
	ck_assert_str_eq(block, "as it was");
	expect_null(varbos_realloc(space, large, 12 * MIB), VARBOS_E_BUDGET, "client");
	ck_assert_str_eq(large, "likewise");
	expect_null(varbos_realloc(space, block, SIZE_MAX), VARBOS_E_TOO_LARGE, "");
	expect_null(varbos_realloc(space, shared, 2 * MIB), VARBOS_E_INVALID, "memory");
	expect_null(varbos_realloc(space, inside, 100), VARBOS_E_REFERENCE, "interior");
	expect_null(varbos_realloc(space, &local, 100), VARBOS_E_REFERENCE, "foreign");
	expect_null(varbos_realloc(NULL, block, 100), VARBOS_E_INVALID, "space");
	ck_assert_int_eq(varbos_free(space, block), 0);
	expect_null(varbos_realloc(space, block, 1000), VARBOS_E_REFERENCE, "freed");
	ck_assert_int_eq(varbos_free(space, large), 0);
	expect_null(varbos_realloc(space, large, 1000), VARBOS_E_REFERENCE, "freed");
	ck_assert_int_eq(varbos_free(space, shared), 0);
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
}
END_TEST

START_TEST(what_shrinks_stays_where_no_smaller_place_is_to_be_had)
{
	char *all = varbos_alloc(space, 14 * MIB), *rest = varbos_alloc(space, 2 * MIB);

	ck_assert(all && rest);
	strcpy(all, "here");
	ck_assert_ptr_eq(varbos_realloc(space, all, MIB), all);
	ck_assert_str_eq(all, "here");
}
END_TEST

START_TEST(zeros_are_zeros_where_others_bytes_have_been)
{
	static const size_t sizes[] = {16, 100, 4096, 70000, 300000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *memory = varbos_alloc(space, sizes[i]);

		ck_assert_ptr_nonnull(memory);
		memset(memory, 'x', sizes[i]);
		ck_assert_int_eq(varbos_free(space, memory), 0);
		memory = varbos_calloc(space, sizes[i] / 4, 4);
		ck_assert_ptr_nonnull(memory);
		for (size_t at = 0; at < sizes[i]; at++)
			if (memory[at])
				ck_abort_msg("at %zu of %zu", at, sizes[i]);
		ck_assert_int_eq(varbos_free(space, memory), 0);
	}
	ck_assert_ptr_nonnull(varbos_calloc(space, 0, 100));
}
END_TEST

START_TEST(a_product_that_overflows_is_refused)
{
	expect_null(varbos_calloc(space, SIZE_MAX / 2, 3), VARBOS_E_TOO_LARGE, "size");
	expect_null(varbos_calloc(space, (size_t)1 << 32, (size_t)1 << 32), VARBOS_E_TOO_LARGE,
		    "size");
	expect_null(varbos_calloc(NULL, 1, 1), VARBOS_E_INVALID, "space");
}
END_TEST

START_TEST(memory_stands_where_it_was_asked_to)
{
	static const size_t sizes[] = {1, 100, 4000, 4097, 50000, 200000, 300000};

	for (size_t align = 1; align <= (size_t)1 << 30; align <<= 1)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			char *memory = varbos_alloc_aligned(space, align, sizes[i]);

			ck_assert_msg(memory, "%zu at %zu: %s", sizes[i], align,
				      varbos_error()->message);
			ck_assert_uint_eq((uintptr_t)memory % align, 0);
			ck_assert_uint_ge(varbos_usable_size(space, memory), sizes[i]);
			memset(memory, 1, sizes[i]);
			ck_assert_int_eq(varbos_free(space, memory), 0);
		}
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
}
END_TEST

START_TEST(what_is_no_alignment_is_refused)
{
	expect_null(varbos_alloc_aligned(space, 0, 1), VARBOS_E_INVALID, "align");
	expect_null(varbos_alloc_aligned(space, 48, 1), VARBOS_E_INVALID, "align");
	expect_null(varbos_alloc_aligned(space, (size_t)1 << 31, 1), VARBOS_E_INVALID, "align");
	expect_null(varbos_alloc_aligned(NULL, 64, 1), VARBOS_E_INVALID, "space");
}
END_TEST

START_TEST(small_blocks_of_a_packed_space_are_multiples_of_16)
{
	static const struct {
		size_t size, usable;
	} sizes[] = {{0, 16},  {1, 16},  {16, 16},  {17, 32},   {48, 48},
		     {49, 64}, {80, 80}, {97, 112}, {113, 128}, {700, 768}};
	struct varbos_space *packed = open_space("packed", 4 * MIB, VARBOS_SPACE_PACKED);
	char *before = varbos_alloc(packed, 16), *after = varbos_alloc(packed, 16);

	ck_assert_int_eq(labs(after - before), 16);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *memory = varbos_alloc(packed, sizes[i].size);

		ck_assert_uint_eq(varbos_usable_size(packed, memory), sizes[i].usable);
		ck_assert_uint_eq((uintptr_t)memory % 16, 0);
		ck_assert_int_eq(varbos_free(packed, memory), 0);
	}
	for (size_t align = 1; align <= 256; align <<= 1) {
		char *memory = varbos_alloc_aligned(packed, align, 5);

		ck_assert_uint_eq((uintptr_t)memory % align, 0);
		ck_assert_int_eq(varbos_free(packed, memory), 0);
	}
}
END_TEST

START_TEST(a_node_that_is_named_is_asked_and_one_that_is_not_there_refused)
{
	char *block = varbos_alloc_on(space, 100, 0), *large = varbos_alloc_on(space, MIB, 0);

	ck_assert_msg(block && large, "%s", varbos_error()->message);
	memset(block, 1, 100);
	ck_assert_int_eq(varbos_free(space, block), 0);
	ck_assert_int_eq(varbos_free(space, large), 0);
	expect(varbos_free(space, block), VARBOS_E_REFERENCE, "freed");
	expect_null(varbos_alloc_on(space, 100, 63), VARBOS_E_INVALID, "nodes");
	expect_null(varbos_alloc_on(space, MIB, 63), VARBOS_E_INVALID, "nodes");
	expect_null(varbos_alloc_on(space, 100, 64), VARBOS_E_INVALID, "node");
	expect_null(varbos_alloc_on(space, 100, UINT32_MAX), VARBOS_E_INVALID, "node");
	expect_null(varbos_alloc_on(NULL, 100, 0), VARBOS_E_INVALID, "space");
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
}
END_TEST

/* ---- spaces, threads, processes ---- */

START_TEST(one_thread_uses_more_spaces_than_it_finds_at_once)
{
	enum { SPACES = 20, ROUNDS = 50 };
	struct varbos_space *spaces[SPACES];
	char *blocks[SPACES][ROUNDS], name[16];

	for (int i = 0; i < SPACES; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		spaces[i] = open_space(name, 2 * MIB, 0);
	}
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < SPACES; i++) {
			blocks[i][round] = varbos_alloc(spaces[i], 64);
			ck_assert_ptr_nonnull(blocks[i][round]);
			memset(blocks[i][round], i, 64);
		}
	for (int i = 0; i < SPACES; i++)
		for (int round = 0; round < ROUNDS; round++) {
			ck_assert_int_eq(blocks[i][round][63], i);
			expect(varbos_free(spaces[(i + 1) % SPACES], blocks[i][round]),
			       VARBOS_E_REFERENCE, "foreign");
			ck_assert_int_eq(varbos_free(spaces[i], blocks[i][round]), 0);
		}
	for (int i = 0; i < SPACES; i++)
		ck_assert_int_eq(varbos_trim(spaces[i]), 0);
	wait_used(0);
}
END_TEST

static void *take_and_end(void *blocks)
{
	for (int i = 0; i < 100; i++)
		((void **)blocks)[i] = varbos_alloc(space, 100 + 50 * (size_t)i);
	return NULL;
}

START_TEST(what_a_thread_had_is_its_processes_when_it_ends)
{
	void *blocks[100], *kept = varbos_alloc(space, 1);
	uint64_t at_first = 0;
	pthread_t thread;

	/* The next thread goes on with what the last one left: nothing more is leased. */
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, take_and_end, blocks), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		if (!round)
			at_first = used();
		for (int i = 0; i < 100; i++) {
			memset(blocks[i], i, 100);
			ck_assert_int_eq(varbos_free(space, blocks[i]), 0);
		}
	}
	ck_assert_uint_le(used(), at_first);
	ck_assert_int_eq(varbos_free(space, kept), 0);
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
}
END_TEST

START_TEST(what_a_process_had_is_the_daemons_when_it_ends)
{
	char *mine = varbos_alloc(space, 100);
	uint64_t before = used();
	pid_t pid = fork();
	int status;

	if (!pid) {
		void *blocks[100];

		if (varbos_free(space, mine) != VARBOS_E_REFERENCE)
			_exit(1);
		take_and_end(blocks);
		if (!blocks[99] || varbos_free(space, blocks[0]) || used() <= before)
			_exit(2);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status 0x%x",
		      (unsigned)status);
	wait_used(before);
	ck_assert_int_eq(varbos_free(space, mine), 0);
}
END_TEST

START_TEST(a_space_that_is_opened_again_has_nothing_of_what_was_there)
{
	for (int i = 0; i < 40; i++) {
		char *block = varbos_alloc(space, 100);

		ck_assert_ptr_nonnull(block);
		memset(block, 1, 100);
		varbos_space_close(space);
		ck_assert_uint_eq(used(), 0);
		space = open_space("s", 16 * MIB, 0);
		expect(varbos_free(space, block), VARBOS_E_REFERENCE,
		       varbos_error()->code ? varbos_error()->which : "");
	}
}
END_TEST

/* Of a thread's exit, each time it may: what it leaves it has allocated after all others. */
static pthread_key_t late_key;

static void allocate_late(void *block)
{
	char *fresh = varbos_alloc(space, 200);

	ck_assert_msg(fresh, "%s", varbos_error()->message);
	memset(fresh, 1, 200);
	ck_assert_int_eq(varbos_free(space, block), 0);
	pthread_setspecific(late_key, fresh);
}

static void *end_late(void *kept)
{
	pthread_setspecific(late_key, varbos_alloc(space, 100));
	*(void **)kept = varbos_alloc(space, 100);
	return NULL;
}

START_TEST(what_a_threads_exit_calls_allocates_and_holds_no_more_for_it)
{
	uint64_t at_first = 0;
	pthread_t thread;
	void *kept;

	ck_assert_ptr_nonnull(varbos_alloc(space, 1)); /* the library's own key is older */
	ck_assert_int_eq(pthread_key_create(&late_key, allocate_late), 0);
	for (int i = 0; i < 300; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, end_late, &kept), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		ck_assert_int_eq(varbos_free(space, kept), 0);
		if (i == 20)
			at_first = used();
	}
	/* But for the last block of each thread, which its own exit has left. */
	ck_assert_uint_le(used(), at_first + 300 * 256 + 2 * SLICE);
	ck_assert_int_eq(pthread_key_delete(late_key), 0);
}
END_TEST

static struct {
	void *_Atomic blocks[64];
} passed;

static void *pass_and_end(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(passed.blocks); i++)
		atomic_store(&passed.blocks[i], varbos_alloc(space, 1 + 700 * i));
	return NULL;
}

START_TEST(what_is_freed_while_its_thread_ends_comes_back)
{
	pthread_t thread;
	void *block;

	for (int round = 0; round < 300; round++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, pass_and_end, NULL), 0);
		for (size_t i = 0; i < ARRAY_SIZE(passed.blocks); i++) {
			while (!(block = atomic_exchange(&passed.blocks[i], NULL)))
				sched_yield();
			ck_assert_int_eq(varbos_free(space, block), 0);
		}
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
}
END_TEST

/* Freed, and so in bins, runs and leases of all kinds; and the last error. */
static void cache_much(void)
{
	static void *blocks[200];

	for (size_t kind = 0; kind < 3; kind++)
		for (size_t size = 64; size <= 8192; size *= 2) {
			for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
				blocks[i] = !kind       ? varbos_alloc(space, size)
					    : kind == 1 ? varbos_alloc_on(space, size, 0)
							: varbos_alloc_shared(space, size);
			for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
				ck_assert_ptr_nonnull(blocks[i]);
				ck_assert_int_eq(varbos_free(space, blocks[i]), 0);
			}
		}
}

START_TEST(what_is_cached_makes_room_and_no_error_is_left_of_that)
{
	void *large;
	int n = 0;

	expect_null(varbos_alloc(NULL, 1), VARBOS_E_INVALID, "space");
	cache_much();
	ck_assert_uint_ge(used(), 2 * MIB);
	large = varbos_alloc(space, 15 * MIB);
	ck_assert_msg(large, "%s", varbos_error()->message);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "space");
	ck_assert_int_eq(varbos_free(space, large), 0);
	/* Likewise where a lease is refused that was larger than what is needed. */
	while (varbos_alloc(space, 60000)) {
		expect((int)varbos_error()->code, VARBOS_E_INVALID, "space");
		n++;
	}
	ck_assert_int_ge(n, (int)(15 * MIB / SLICE));
}
END_TEST

/* ---- mistakes ---- */

static void expect_said(const char *text)
{
	ck_assert_msg(strstr(varbos_error()->message, text), "no \"%s\" in: %s", text,
		      varbos_error()->message);
}

/* Standard error from here on, until it is read. */
static int said_fd;

static void said_begin(void)
{
	int pair[2];

	unsetenv("VARBOS_QUIET");
	ck_assert_int_eq(pipe(pair), 0);
	fflush(stderr);
	ck_assert_int_ge(dup2(pair[1], STDERR_FILENO), 0);
	close(pair[1]);
	said_fd = pair[0];
}

static void said_end(char *text, size_t size)
{
	ssize_t n;

	setenv("VARBOS_QUIET", "1", 1);
	fflush(stderr);
	close(STDERR_FILENO);
	n = read(said_fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(said_fd);
}

START_TEST(a_wrong_free_is_refused_and_names_the_block)
{
	char *block = varbos_alloc(space, 100), *other = varbos_alloc(space, 100), text[2048];
	varbos_ref ref = varbos_ref_of(space, block);
	char named[64];

	/* A second free of the one freed last, of one in the thread's word, of none at all. */
	snprintf(named, sizeof(named), "offset 0x%llx of space s, class 128",
		 (unsigned long long)(ref & (((uint64_t)1 << 44) - 1)));
	said_begin();
	expect(varbos_free(space, block + 1), VARBOS_E_REFERENCE, "interior");
	expect_said("inside a block of class 128");
	expect_said("space s");
	ck_assert_int_eq(varbos_free(space, block), 0);
	expect(varbos_free(space, block), VARBOS_E_REFERENCE, "freed");
	expect_said(named);
	ck_assert_int_eq(varbos_free(space, other), 0);
	expect(varbos_free(space, other), VARBOS_E_REFERENCE, "freed");
	expect(varbos_free(space, other + 128), VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(varbos_usable_size(space, block), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(varbos_usable_size(space, other + 3), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "interior");
	ck_assert_uint_eq(varbos_ref_of(space, block), 0);
	said_end(text, sizeof(text));
	ck_assert_msg(strstr(text, named), "%s", text);
	ck_assert_ptr_eq(strstr(text, "varbos: "), text);
}
END_TEST

static void *free_it(void *block)
{
	return (void *)(intptr_t)varbos_free(space, block);
}

static int free_elsewhere(void *block)
{
	pthread_t thread;
	void *r;

	ck_assert_int_eq(pthread_create(&thread, NULL, free_it, block), 0);
	ck_assert_int_eq(pthread_join(thread, &r), 0);
	return (int)(intptr_t)r;
}

START_TEST(a_second_free_by_another_thread_is_refused_or_found_when_it_is_collected)
{
	char *block = varbos_alloc(space, 3000), *other = varbos_alloc(space, 3000);
	char *large = varbos_alloc(space, 100000), text[2048];

	ck_assert(block && other && large);
	ck_assert_int_eq(free_elsewhere(block), 0);
	ck_assert_int_eq(free_elsewhere(block), VARBOS_E_REFERENCE);
	ck_assert_int_eq(free_elsewhere(large + 5), VARBOS_E_REFERENCE);
	ck_assert_int_eq(free_elsewhere(large), 0);
	ck_assert_int_eq(free_elsewhere(large), VARBOS_E_REFERENCE);
	ck_assert_uint_eq(varbos_usable_size(space, block), 0); /* seen from here, too */
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);

	said_begin();
	ck_assert_int_eq(varbos_free(space, other), 0);
	ck_assert_int_eq(free_elsewhere(other), 0); /* it cannot see that */
	ck_assert_int_eq(varbos_trim(space), 0);
	said_end(text, sizeof(text));
	ck_assert_uint_eq(varbos_frees_refused(vb), 1);
	ck_assert_msg(strstr(text, "two threads have freed the block") &&
			      strstr(text, "class 3072"),
		      "%s", text);
	wait_used(0);
}
END_TEST

START_TEST(memory_of_elsewhere_is_foreign)
{
	struct varbos_space *other = open_space("other", 4 * MIB, 0);
	char *block = varbos_alloc(space, 100), *theirs = varbos_alloc(other, 100), local;

	expect(varbos_free(space, theirs), VARBOS_E_REFERENCE, "foreign");
	expect(varbos_free(other, block), VARBOS_E_REFERENCE, "foreign");
	expect(varbos_free(space, &local), VARBOS_E_REFERENCE, "foreign");
	ck_assert_uint_eq(varbos_usable_size(space, theirs), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "foreign");
	ck_assert_int_eq(varbos_free(space, block), 0);
	ck_assert_int_eq(varbos_free(other, theirs), 0);
}
END_TEST

START_TEST(a_null_that_is_not_fine_is_refused_by_name)
{
	struct varbos_usage usage;

	expect(varbos_trim(NULL), VARBOS_E_INVALID, "space");
	expect(varbos_space_usage(NULL, &usage), VARBOS_E_INVALID, "space");
	expect_null(varbos_alloc_with(NULL, 1, NULL), VARBOS_E_INVALID, "space");
	ck_assert_int_eq(varbos_free(space, NULL), 0);
	ck_assert_ptr_nonnull(varbos_realloc(space, NULL, 100));
}
END_TEST

START_TEST(no_wild_address_is_taken_for_a_block)
{
	char *block = varbos_alloc(space, 100), local;
	const uintptr_t wild[] = {1,
				  2,
				  8,
				  64,
				  4096,
				  UINTPTR_MAX,
				  UINTPTR_MAX - 63,
				  (uintptr_t)block - 1,
				  (uintptr_t)block - SLICE,
				  (uintptr_t)&local,
				  (uintptr_t)&daemon_,
				  (uintptr_t)space};

	/* The second time nothing is left that was freed last. */
	for (int round = 0; round < 2; round++) {
		ck_assert_int_eq(varbos_free(space, block), 0);
		if (round)
			ck_assert_int_eq(varbos_trim(space), 0);
		for (size_t i = 0; i < ARRAY_SIZE(wild); i++)
			ck_assert_msg(varbos_free(space, (void *)wild[i]) == VARBOS_E_REFERENCE,
				      "0x%lx", (unsigned long)wild[i]);
		block = varbos_alloc(space, 100);
		memset(block, 1, 100);
	}
}
END_TEST

/* ---- what a process has ---- */

static struct varbos_usage usage(void)
{
	struct varbos_usage ret;

	ck_assert_msg(!varbos_space_usage(space, &ret), "%s", varbos_error()->message);
	ck_assert_uint_eq(ret.leased, ret.live + ret.cached);
	/* What was asked ahead, an eighth at most, the daemon counts before it is collected. */
	ck_assert_uint_le(ret.leased, used());
	ck_assert_uint_ge(ret.leased + ret.leased / 8, used());
	return ret;
}

START_TEST(a_process_knows_what_it_leases_and_what_of_it_is_in_use)
{
	static const size_t sizes[] = {100, 1000, 5000};
	enum { BLOCKS = 1000 };
	static void *blocks[3][BLOCKS];
	uint64_t live = 0;
	void *large;

	ck_assert_uint_eq(usage().leased, 0);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < BLOCKS; k++) {
			blocks[i][k] = varbos_alloc(space, sizes[i]);
			ck_assert_ptr_nonnull(blocks[i][k]);
			live += varbos_usable_size(space, blocks[i][k]);
		}
	ck_assert_uint_eq(usage().live, live);
	large = varbos_alloc(space, MIB);
	ck_assert_ptr_nonnull(large);
	ck_assert_uint_eq(usage().live, live + MIB);
	ck_assert_int_eq(varbos_free(space, large), 0);
	live -= BLOCKS * varbos_usable_size(space, blocks[1][0]);
	for (int k = 0; k < BLOCKS; k++)
		ck_assert_int_eq(varbos_free(space, blocks[1][k]), 0);
	ck_assert_uint_eq(usage().live, live);
	ck_assert_int_eq(varbos_trim(space), 0);
	ck_assert_uint_eq(usage().live, live);
	for (int k = 0; k < BLOCKS; k++) {
		ck_assert_int_eq(varbos_free(space, blocks[0][k]), 0);
		ck_assert_int_eq(varbos_free(space, blocks[2][k]), 0);
	}
	ck_assert_uint_eq(usage().live, 0);
	ck_assert_int_eq(varbos_trim(space), 0);
	ck_assert_uint_eq(usage().leased, 0);
	expect(varbos_space_usage(space, NULL), VARBOS_E_INVALID, "ret");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("block");
	TCase *t = tcase_create("block");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_is_resized_keeps_its_contents_and_its_place_where_it_fits);
	tcase_add_test(t, what_cannot_be_resized_is_as_it_was);
	tcase_add_test(t, what_shrinks_stays_where_no_smaller_place_is_to_be_had);
	tcase_add_test(t, zeros_are_zeros_where_others_bytes_have_been);
	tcase_add_test(t, a_product_that_overflows_is_refused);
	tcase_add_test(t, memory_stands_where_it_was_asked_to);
	tcase_add_test(t, what_is_no_alignment_is_refused);
	tcase_add_test(t, small_blocks_of_a_packed_space_are_multiples_of_16);
	tcase_add_test(t, a_node_that_is_named_is_asked_and_one_that_is_not_there_refused);
	tcase_add_test(t, one_thread_uses_more_spaces_than_it_finds_at_once);
	tcase_add_test(t, what_a_thread_had_is_its_processes_when_it_ends);
	tcase_add_test(t, what_a_process_had_is_the_daemons_when_it_ends);
	tcase_add_test(t, a_space_that_is_opened_again_has_nothing_of_what_was_there);
	tcase_add_test(t, a_wrong_free_is_refused_and_names_the_block);
	tcase_add_test(
		t, a_second_free_by_another_thread_is_refused_or_found_when_it_is_collected);
	tcase_add_test(t, memory_of_elsewhere_is_foreign);
	tcase_add_test(t, a_null_that_is_not_fine_is_refused_by_name);
	tcase_add_test(t, no_wild_address_is_taken_for_a_block);
	tcase_add_test(t, what_a_threads_exit_calls_allocates_and_holds_no_more_for_it);
	tcase_add_test(t, what_is_freed_while_its_thread_ends_comes_back);
	tcase_add_test(t, what_is_cached_makes_room_and_no_error_is_left_of_that);
	tcase_add_test(t, a_process_knows_what_it_leases_and_what_of_it_is_in_use);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
