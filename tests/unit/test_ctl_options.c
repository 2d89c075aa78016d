#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/word.h"
#include "client/ctl/answer.h"
#include "client/ctl/options.h"
#include "tests/suite.h"

static struct options options;
static char complaint[256];

/* argv from its arguments; argv[0] is added. */
#define PARSE(...)                                                                         \
	({                                                                                 \
		const char *argv_[] = {"varbosctl", __VA_ARGS__};                          \
		complaint[0] = 0;                                                          \
		options_parse(&options, (int)ARRAY_SIZE(argv_), (char **)(uintptr_t)argv_, \
			      complaint, sizeof(complaint));                               \
	})

START_TEST(options_stand_before_between_and_after_the_words)
{
	ck_assert_int_eq(
		PARSE("--json", "spaces", "--limit", "64M", "create", "-s/x", "--force"), 0);
	ck_assert_uint_eq(options.n_words, 2);
	ck_assert_str_eq(options.words[0], "spaces");
	ck_assert_str_eq(options.words[1], "create");
	ck_assert(options.given[OPTION_JSON]);
	ck_assert(options.given[OPTION_FORCE]);
	ck_assert_uint_eq(options.number[OPTION_LIMIT], 64 << 20);
	ck_assert_str_eq(options.text[OPTION_SOCKET], "/x");
	ck_assert(!options.given[OPTION_WATCH]);
}
END_TEST

START_TEST(a_value_may_follow_an_equals_sign_and_an_optional_one_must)
{
	ck_assert_int_eq(PARSE("--mode=0660", "--watch", "7"), 0);
	ck_assert_uint_eq(options.number[OPTION_MODE], 0660);
	ck_assert_uint_eq(options.number[OPTION_WATCH], 1000);
	ck_assert_uint_eq(options.n_words, 1);

	ck_assert_int_eq(PARSE("--watch=0.25", "-n=3"), 0);
	ck_assert_uint_eq(options.number[OPTION_WATCH], 250);
	ck_assert_uint_eq(options.number[OPTION_COUNT], 3);
}
END_TEST

START_TEST(a_time_has_a_unit_or_is_in_seconds)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} times[] = {
		{"--ttl=0", 0},          {"--ttl=90", 90000},
		{"--ttl=30s", 30000},    {"--ttl=5m", 300000},
		{"--ttl=12h", 43200000}, {"--ttl=7d", 604800000},
		{"--ttl=0d", 0},         {"--ttl=12700d", 1097280000000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		ck_assert_int_eq(PARSE(times[i].text), 0);
		ck_assert_uint_eq(options.number[OPTION_TTL], times[i].ms);
	}
}
END_TEST

START_TEST(two_dashes_end_the_options)
{
	ck_assert_int_eq(PARSE("--", "--json", "-"), 0);
	ck_assert_uint_eq(options.n_words, 2);
	ck_assert_str_eq(options.words[0], "--json");
	ck_assert(!options.given[OPTION_JSON]);
}
END_TEST

START_TEST(an_unknown_option_is_answered_with_the_nearest)
{
	ck_assert_int_eq(PARSE("--jsno"), OPTIONS_E_USAGE);
	ck_assert_ptr_nonnull(strstr(complaint, "--jsno"));
	ck_assert_ptr_nonnull(strstr(complaint, "nearest is --json"));
	ck_assert_int_eq(PARSE("--client-limi=3"), OPTIONS_E_USAGE);
	ck_assert_ptr_nonnull(strstr(complaint, "nearest is --client-limit"));
	ck_assert_int_eq(PARSE("-Q"), OPTIONS_E_USAGE);
}
END_TEST

START_TEST(what_is_no_value_of_its_option_is_refused)
{
	static const char *const bad[] = {
		"--limit=64Q",        "--limit=",
		"--limit=--1",        "--limit=16777216T",
		"--mode=0888",        "--mode=77777",
		"--mode=-1",          "--weight=1x",
		"--weight=",          "--watch=",
		"--watch=0",          "--watch=0.0001",
		"--watch=1e3",        "--timeout=1000000",
		"--timeout=.5",       "--timeout=99999999999999999999",
		"--json=yes",         "--socket=",
		"--count=4294967296", "--ttl=",
		"--ttl=5x",           "--ttl=m",
		"--ttl=-1",           "--ttl=1.5s",
		"--ttl=13000d",       "--ttl=99999999999999999999",
		"--ttl=5ms",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(PARSE(bad[i]) == OPTIONS_E_USAGE, "%s was taken", bad[i]);
		ck_assert_str_ne(complaint, "");
	}
	ck_assert_int_eq(PARSE("--limit"), OPTIONS_E_USAGE);
	ck_assert_int_eq(PARSE("--json", "--json"), OPTIONS_E_USAGE);
	ck_assert_int_eq(PARSE("1", "2", "3", "4", "5", "6", "7", "8", "9"), OPTIONS_E_USAGE);
}
END_TEST

START_TEST(a_refused_line_leaves_the_result_as_it_was)
{
	ck_assert_int_eq(PARSE("stats"), 0);
	ck_assert_int_eq(PARSE("other", "--limit=x"), OPTIONS_E_USAGE);
	ck_assert_str_eq(options.words[0], "stats");
}
END_TEST

START_TEST(distance_counts_single_letter_changes)
{
	ck_assert_uint_eq(word_distance("stats", "stats"), 0);
	ck_assert_uint_eq(word_distance("", "abc"), 3);
	ck_assert_uint_eq(word_distance("abc", ""), 3);
	ck_assert_uint_eq(word_distance("stast", "stats"), 2);
	ck_assert_uint_eq(word_distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(
		word_distance(
			"sixty-four letters and more are more than what any word of ours has",
			"a"),
		SIZE_MAX);
}
END_TEST

START_TEST(the_exit_status_of_a_refusal_is_that_of_the_error_table)
{
#define ERROR(name, number, status, text) \
	ck_assert_uint_eq(answer_of_code(number), (enum answer)(status));
#include "proto/errors.def"
#undef ERROR
	ck_assert_uint_eq(answer_of_code(0), ANSWER_FAILED);
	ck_assert_uint_eq(answer_of_code(UINT64_MAX), ANSWER_FAILED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl-options");
	TCase *tcase = tcase_create("options");

	tcase_add_test(tcase, options_stand_before_between_and_after_the_words);
	tcase_add_test(tcase, a_value_may_follow_an_equals_sign_and_an_optional_one_must);
	tcase_add_test(tcase, a_time_has_a_unit_or_is_in_seconds);
	tcase_add_test(tcase, two_dashes_end_the_options);
	tcase_add_test(tcase, an_unknown_option_is_answered_with_the_nearest);
	tcase_add_test(tcase, what_is_no_value_of_its_option_is_refused);
	tcase_add_test(tcase, a_refused_line_leaves_the_result_as_it_was);
	tcase_add_test(tcase, distance_counts_single_letter_changes);
	tcase_add_test(tcase, the_exit_status_of_a_refusal_is_that_of_the_error_table);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
