/*
 * What $VARBOS_DEBUG=1 finds, and that all goes on as without it.
 */
#include <check.h>
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

static struct test_daemon daemon_;
static struct varbos *vb;
static struct varbos_space *space;
static char said[8192];
static int said_fd, stderr_fd;

static void set_up(void)
{
	setenv("VARBOS_DEBUG", "1", 1);
	unsetenv("VARBOS_QUIET");
	test_daemon_start(&daemon_, "64M", NULL);
	ck_assert_int_eq(varbos_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(
		varbos_space_open(&space, vb, "s",
				  &(struct varbos_space_options){.limit = 16 * MIB,
								 .client_limit = 16 * MIB}),
		0);
}

static void tear_down(void)
{
	varbos_disconnect(vb);
	test_daemon_stop(&daemon_);
}

/* Standard error goes into a pipe until it is read. */
static void said_begin(void)
{
	int pair[2];

	ck_assert_int_eq(pipe(pair), 0);
	stderr_fd = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(pair[1], STDERR_FILENO), 0);
	close(pair[1]);
	said_fd = pair[0];
}

static void said_end(void)
{
	size_t n = 0;
	ssize_t got;

	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	while ((got = read(said_fd, said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(said_fd);
}

static void expect_said(const char *text)
{
	ck_assert_msg(strstr(said, text), "no \"%s\" in: %s", text, said);
}

/* What has been freed so far leaves the queue. */
static void push_out(void)
{
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(varbos_free(space, varbos_alloc(space, MIB)), 0);
}

START_TEST(a_write_past_what_was_asked_is_found_when_the_block_is_freed)
{
	static const size_t sizes[] = {0, 1, 64, 100, 4096, 60000, 262144, 500000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *memory = varbos_alloc(space, sizes[i]), text[64];

		ck_assert_ptr_nonnull(memory);
		ck_assert_uint_eq(varbos_usable_size(space, memory), sizes[i]);
		memory[sizes[i]] = 0; /* one byte too far */
		said_begin();
		ck_assert_int_eq(varbos_free(space, memory), 0);
		said_end();
		expect_said("past its end");
		snprintf(text, sizeof(text), "%zu bytes asked) has been written", sizes[i]);
		expect_said(text);
		snprintf(text, sizeof(text), "byte %zu\n", sizes[i]);
		expect_said(text);
	}
}
END_TEST

START_TEST(a_write_to_a_freed_block_is_found_when_it_leaves_the_queue)
{
	char *memory = varbos_alloc(space, 1000);

	ck_assert_int_eq(varbos_free(space, memory), 0);
	memory[17] = 'x';
	said_begin();
	push_out();
	said_end();
	expect_said("after it was freed: byte 17\n");
	expect_said("class 1024, 1000 bytes asked");
}
END_TEST

START_TEST(what_has_been_freed_reads_as_a_pattern)
{
	char *memory = varbos_alloc(space, 100);

	memset(memory, 'x', 100);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq((unsigned char)memory[i], 0xdb);
}
END_TEST

START_TEST(a_second_free_is_refused_as_long_as_the_block_waits)
{
	char *memory = varbos_alloc(space, 100), *large = varbos_alloc(space, MIB);

	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_int_eq(varbos_free(space, large), 0);
	said_begin();
	for (int i = 0; i < 100; i++) /* others of its size do not get its place */
		ck_assert_ptr_ne(varbos_alloc(space, 100), memory);
	ck_assert_int_eq(varbos_free(space, memory), VARBOS_E_REFERENCE);
	ck_assert_str_eq(varbos_error()->which, "freed");
	ck_assert_int_eq(varbos_free(space, large), VARBOS_E_REFERENCE);
	ck_assert_uint_eq(varbos_usable_size(space, memory), 0);
	ck_assert_ptr_null(varbos_realloc(space, memory, 10));
	ck_assert_int_eq(varbos_free(space, memory + 1), VARBOS_E_REFERENCE);
	ck_assert_str_eq(varbos_error()->which, "interior");
	said_end();
	expect_said("has been freed already");
}
END_TEST

START_TEST(what_waits_is_bounded_and_gives_way)
{
	char *all;

	for (int i = 0; i < 2000; i++) { /* 100 MiB in all, of 16 */
		char *memory = varbos_alloc(space, 50000);

		ck_assert_msg(memory, "%s", varbos_error()->message);
		ck_assert_int_eq(varbos_free(space, memory), 0);
	}
	all = varbos_alloc(space, 15 * MIB);
	ck_assert_msg(all, "%s", varbos_error()->message);
	ck_assert_int_eq(varbos_free(space, all), 0);
}
END_TEST

START_TEST(a_program_that_is_right_hears_nothing)
{
	char *memory;

	said_begin();
	for (size_t size = 1; size < 600000; size = size * 2 + 7) {
		memory = varbos_calloc(space, size, 1);
		ck_assert_ptr_nonnull(memory);
		memory = varbos_realloc(space, memory, size * 3);
		ck_assert_ptr_nonnull(memory);
		memset(memory, 1, varbos_usable_size(space, memory));
		memory = varbos_realloc(space, memory, size);
		ck_assert_ptr_nonnull(memory);
		memset(memory, 1, size);
		ck_assert_int_eq(varbos_free(space, memory), 0);
		memory = varbos_alloc_aligned(space, 4096, size);
		ck_assert_uint_eq((uintptr_t)memory % 4096, 0);
		memset(memory, 1, size);
		ck_assert_int_eq(varbos_free(space, memory), 0);
		memory = varbos_alloc_on(space, size, 0);
		memset(memory, 1, size);
		ck_assert_int_eq(varbos_free(space, memory), 0);
	}
	varbos_space_close(space);
	said_end();
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
}
END_TEST

static void leak(void)
{
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(varbos_alloc(space, 100));
	ck_assert_ptr_nonnull(varbos_alloc(space, 120));
	ck_assert_ptr_nonnull(varbos_alloc(space, 700000));
	ck_assert_int_eq(varbos_free(space, varbos_alloc(space, 5000)), 0);
}

static void expect_leaks(void)
{
	expect_said("space s: 5 blocks of 700420 bytes together have not been freed\n");
	expect_said("class 128: 3 of 100 bytes, one at offset 0x");
	expect_said("class 192: 1 of 120 bytes");
	expect_said("class 720896: 1 of 700000 bytes");
	ck_assert_ptr_null(strstr(said, "5000"));
}

START_TEST(what_is_left_when_a_space_closes_is_said_by_size_and_class)
{
	leak();
	said_begin();
	varbos_space_close(space);
	said_end();
	expect_leaks();
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
}
END_TEST

START_TEST(what_is_left_at_the_end_of_the_program_is_said_too)
{
	char *mine = varbos_alloc(space, 3000);
	int status;
	pid_t pid;

	said_begin();
	pid = fork();
	if (!pid) {
		leak(); /* the parent's block is none of it */
		exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	said_end();
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	expect_leaks();
	ck_assert_int_eq(varbos_free(space, mine), 0);
}
END_TEST

START_TEST(who_is_quiet_hears_nothing)
{
	leak();
	setenv("VARBOS_QUIET", "1", 1);
	said_begin();
	varbos_space_close(space);
	said_end();
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("debug");
	TCase *t = tcase_create("debug");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_write_past_what_was_asked_is_found_when_the_block_is_freed);
	tcase_add_test(t, a_write_to_a_freed_block_is_found_when_it_leaves_the_queue);
	tcase_add_test(t, what_has_been_freed_reads_as_a_pattern);
	tcase_add_test(t, a_second_free_is_refused_as_long_as_the_block_waits);
	tcase_add_test(t, what_waits_is_bounded_and_gives_way);
	tcase_add_test(t, a_program_that_is_right_hears_nothing);
	tcase_add_test(t, what_is_left_when_a_space_closes_is_said_by_size_and_class);
	tcase_add_test(t, what_is_left_at_the_end_of_the_program_is_said_too);
	tcase_add_test(t, who_is_quiet_hears_nothing);
	suite_add_tcase(s, t);
	return suite_run(s);
}
