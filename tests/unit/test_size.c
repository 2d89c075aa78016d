/*
 * Sizes as people write them.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/size.h"
#include "tests/suite.h"

START_TEST(units_are_powers_of_two_in_either_spelling)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"12B", 12},
		{"1K", 1 << 10},
		{"1k", 1 << 10},
		{"1KiB", 1 << 10},
		{"1KB", 1 << 10},
		{"512M", 512ULL << 20},
		{"2G", 2ULL << 30},
		{"16TiB", 16ULL << 40},
		{"3P", 3ULL << 50},
		{"15E", 15ULL << 60},
		{"0E", 0},
		{"0000000000000000000000007", 7},
		{"18446744073709551615", UINT64_MAX},
		{"18014398509481983K", 18014398509481983ULL << 10},
	};
	uint64_t bytes;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(size_parse(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_uint_eq(bytes, good[i].bytes);
	}
}
END_TEST

START_TEST(what_is_no_size_is_refused_and_leaves_the_result_alone)
{
	static const char *const bad[] = {
		"",
		" ",
		"K",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1 K",
		"1.5G",
		"0x10",
		"1KK",
		"1Ki",
		"1iB",
		"1KBB",
		"1Q",
		"1b",
		"1M2",
		"1e3",
		"\xb2",
		"1,000",
		"1KiBs",
		/* beyond 64 bits */
		"18446744073709551616",
		"99999999999999999999999",
		"16E",
		"18014398509481984K",
		"18446744073709551615P",
	};
	uint64_t bytes = 77;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(!size_parse(bad[i], &bytes), "%s", bad[i]);
		ck_assert_uint_eq(bytes, 77);
	}
}
END_TEST

START_TEST(sizes_print_rounded_to_the_nearest_with_a_unit)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} pairs[] = {
		{0, "0 B"},
		{1, "1 B"},
		{999, "999 B"},
		{1000, "1000 B"},
		{1023, "1023 B"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{41ULL << 20, "41 MiB"},
		{(41ULL << 20) + (900 << 10), "41.9 MiB"},
		{(100ULL << 20) + (900 << 10), "101 MiB"},
		{999ULL << 20, "999 MiB"},
		{1000ULL << 20, "1000 MiB"},
		{(99ULL << 20) + (999 << 10), "100 MiB"},
		{(1023ULL << 20) + (511 << 10), "1023 MiB"},
		{(1ULL << 30) - 1, "1 GiB"},
		{3ULL << 29, "1.5 GiB"},
		{16ULL << 40, "16 TiB"},
		{UINT64_MAX, "16 EiB"},
	};
	char buf[SIZE_TEXT_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
		ck_assert_str_eq(size_format(buf, sizeof(buf), pairs[i].bytes), pairs[i].text);
}
END_TEST

/* What is printed reads back as what it says, within half of its last digit. */
START_TEST(a_printed_size_is_near_the_size)
{
	char buf[SIZE_TEXT_MAX], unit[4];
	double said, bytes;

	for (unsigned shift = 0; shift < 64; shift++)
		for (unsigned part = 0; part < 1000; part++) {
			uint64_t value =
				((uint64_t)1 << shift) +
				(uint64_t)((double)((uint64_t)1 << shift) * part / 1000);

			size_format(buf, sizeof(buf), value);
			ck_assert_int_eq(sscanf(buf, "%lf %3s", &said, unit), 2);
			bytes = said;
			for (const char *p = "BKMGTPE"; *p != unit[0]; p++)
				bytes *= 1024;
			ck_assert_double_le(bytes, (double)value * 1.05);
			ck_assert_double_ge(bytes, (double)value * 0.95);
			ck_assert_double_lt(said, 1024);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("size");
	TCase *tests = tcase_create("size");

	tcase_add_test(tests, units_are_powers_of_two_in_either_spelling);
	tcase_add_test(tests, what_is_no_size_is_refused_and_leaves_the_result_alone);
	tcase_add_test(tests, sizes_print_rounded_to_the_nearest_with_a_unit);
	tcase_add_test(tests, a_printed_size_is_near_the_size);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
