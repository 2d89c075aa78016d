/*
 * The names under which descriptors outlive the daemon.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "daemon/server/kept.h"
#include "tests/suite.h"

START_TEST(a_name_is_read_as_it_was_printed)
{
	uint64_t numbers[] = {0, 1, 9, 10, UINT32_MAX, UINT64_MAX}, at[KEPT_NUMBERS_MAX];
	char name[KEPT_NAME_MAX], again[KEPT_NAME_MAX];
	enum kept_kind kind;

	for (unsigned k = 0; k < KEPT_KINDS; k++)
		for (unsigned i = 0; i < 6 * 6 * 6; i++) {
			kept_name(name, (enum kept_kind)k, numbers[i / 36], numbers[i / 6 % 6],
				  numbers[i % 6]);
			ck_assert_msg(kept_parse(name, &kind, at), "%s", name);
			ck_assert_uint_eq(kind, k);
			ck_assert_str_eq(kept_name(again, kind, at[0], at[1], at[2]), name);
		}
	ck_assert_uint_lt(strlen(name), KEPT_NAME_MAX);
}
END_TEST

START_TEST(a_name_says_what_it_names)
{
	char name[KEPT_NAME_MAX];

	ck_assert_str_eq(kept_name(name, KEPT_LEDGER, 1, 2, 3), "ledger");
	ck_assert_str_eq(kept_name(name, KEPT_RESERVE, 21, 0, 0), "reserve-21");
	ck_assert_str_eq(kept_name(name, KEPT_WORDS, 7, 8, 9), "words-7-8-9");
	ck_assert_str_eq(kept_name(name, KEPT_LANES, 3, 4, 0), "lanes-3-4");
}
END_TEST

START_TEST(what_is_not_printed_is_not_ours)
{
	static const char *const others[] = {
		"",
		"ledger-",
		"ledger-1",
		"Ledger",
		"unknown",
		"stored",
		"varbosd.socket",
		"root",
		"root-1",
		"root-1-",
		"root-1-2-3",
		"root--1-2",
		"root-01-2",
		"root-1-+2",
		"root-1- 2",
		"root-1-0x2",
		"root-1-18446744073709551616",
		"bell ",
		"data-1-2",
	};
	uint64_t at[KEPT_NUMBERS_MAX];
	enum kept_kind kind;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		ck_assert_msg(!kept_parse(others[i], &kind, at), "%s", others[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("kept");
	TCase *t = tcase_create("kept");

	tcase_add_test(t, a_name_is_read_as_it_was_printed);
	tcase_add_test(t, a_name_says_what_it_names);
	tcase_add_test(t, what_is_not_printed_is_not_ours);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
