#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/error.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

START_TEST(numbers_of_a_refusal_are_told_to_a_person)
{
	const struct varbos_error *error = varbos_error();

	error_enter("varbos_alloc");
	ck_assert_int_eq(error_fault(&(struct wire_fault){.code = VARBOS_E_BUDGET,
							  .message = wire_str("no"),
							  .which = wire_str("space"),
							  .requested = 128 * MIB,
							  .remaining = 64 * MIB}),
			 VARBOS_E_BUDGET);
	ck_assert_str_eq(error->message,
			 "varbos_alloc: 128 MiB asked, 64 MiB left in the budget of the space");
	ck_assert_str_eq(error->which, "space");
	ck_assert_uint_eq(error->requested, 128 * MIB);
	ck_assert_uint_eq(error->remaining, 64 * MIB);

	error_fault(&(struct wire_fault){.code = VARBOS_E_MEMORY,
					 .message = wire_str("no"),
					 .requested = 3 * MIB,
					 .available = 5 * MIB,
					 .largest = 2 * MIB});
	ck_assert_str_eq(error->message,
			 "varbos_alloc: 3 MiB asked, 5 MiB free, the longest run 2 MiB");
	ck_assert_uint_eq(error->largest, 2 * MIB);

	error_fault(&(struct wire_fault){.code = VARBOS_E_MEMORY,
					 .which = wire_str("nodes"),
					 .message = wire_str("node 1: 0 B of 64 MiB free"),
					 .requested = 3 * MIB});
	ck_assert_str_eq(error->message, "varbos_alloc: node 1: 0 B of 64 MiB free");
	ck_assert_str_eq(error->which, "nodes");

	error_fault(&(struct wire_fault){.code = VARBOS_E_TOO_LARGE,
					 .message = wire_str("no"),
					 .requested = UINT64_MAX,
					 .max = MIB});
	ck_assert_ptr_nonnull(strstr(error->message, "1 MiB is the most"));
	ck_assert_uint_eq(error->requested, UINT64_MAX);
}
END_TEST

START_TEST(other_faults_keep_the_daemons_line)
{
	error_enter("varbos_space_remove");
	ck_assert_int_eq(error_fault(&(struct wire_fault){.code = VARBOS_E_IN_USE,
							  .message = wire_str("2 have it open"),
							  .available = 2,
							  .system_errno = UINT64_MAX}),
			 VARBOS_E_IN_USE);
	ck_assert_str_eq(varbos_error()->message, "varbos_space_remove: 2 have it open");
	ck_assert_uint_eq(varbos_error()->available, 2);
	ck_assert_int_eq(varbos_error()->system_errno, 0);
}
END_TEST

START_TEST(a_code_that_nobody_knows_is_a_broken_protocol)
{
	const uint64_t codes[] = {0, VARBOS_E_DEADLOCK + 1, 1000, (uint64_t)1 << 32,
				  UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		ck_assert_int_eq(error_fault(&(struct wire_fault){.code = codes[i]}),
				 VARBOS_E_PROTOCOL);
}
END_TEST

START_TEST(what_is_too_long_is_cut)
{
	char longer[1000] = {};

	memset(longer, 'l', sizeof(longer) - 1);
	error_enter("varbos_free");
	error_set(VARBOS_E_INVALID, longer, "%s", longer);
	ck_assert_uint_eq(strlen(varbos_error()->which), sizeof(varbos_error()->which) - 1);
	ck_assert_uint_eq(strlen(varbos_error()->message), sizeof(varbos_error()->message) - 1);
	error_fault(&(struct wire_fault){.code = VARBOS_E_LIMIT,
					 .which = wire_str(longer),
					 .message = wire_str(longer)});
	ck_assert_uint_eq(strlen(varbos_error()->which), sizeof(varbos_error()->which) - 1);
	ck_assert_uint_eq(strlen(varbos_error()->message), sizeof(varbos_error()->message) - 1);
}
END_TEST

static void *fail_elsewhere(void *unused)
{
	ck_assert_int_eq(varbos_error()->code, 0);
	error_system(-ENOMEM, "elsewhere");
	ck_assert_int_eq(varbos_error()->system_errno, ENOMEM);
	return unused;
}

START_TEST(each_thread_has_its_own)
{
	pthread_t thread;

	error_enter("varbos_free");
	error_system(EIO, "here");
	ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_SYSTEM);
	ck_assert_int_eq(varbos_error()->system_errno, EIO);
	ck_assert_str_eq(varbos_error()->message, "varbos_free: here: Input/output error");
}
END_TEST

START_TEST(every_code_has_a_name)
{
	ck_assert_str_eq(varbos_code_name(0), "VARBOS_OK");
	ck_assert_str_eq(varbos_code_name(VARBOS_E_BUDGET), "VARBOS_E_BUDGET");
	for (int code = 1; code <= VARBOS_E_DEADLOCK; code++)
		ck_assert_str_eq(varbos_code_name(code) + strlen("VARBOS_E_"),
				 wire_error_name((uint64_t)code));
	ck_assert_ptr_nonnull(varbos_code_name(-1));
	ck_assert_ptr_nonnull(varbos_code_name(VARBOS_E_DEADLOCK + 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client_error");
	TCase *c = tcase_create("error");

	tcase_add_test(c, numbers_of_a_refusal_are_told_to_a_person);
	tcase_add_test(c, other_faults_keep_the_daemons_line);
	tcase_add_test(c, a_code_that_nobody_knows_is_a_broken_protocol);
	tcase_add_test(c, what_is_too_long_is_cut);
	tcase_add_test(c, each_thread_has_its_own);
	tcase_add_test(c, every_code_has_a_name);
	suite_add_tcase(s, c);
	return suite_run(s);
}
