/*
 * The scan before the parser: what it lets through is one value, and small enough.
 */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"
#include "tests/fuzz/sample.h"
#include "tests/suite.h"

static struct wire_trouble trouble;

static uint64_t seed_take(void)
{
	const char *text = getenv("VARBOS_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 20240607;

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	return seed;
}

START_TEST(five_bytes_that_announce_four_billion_elements_are_refused_unread)
{
	ck_assert_int_eq(wire_scan("\xdd\xff\xff\xff\xff", 5, &trouble), WIRE_E_PROTOCOL);
	ck_assert_int_eq(wire_scan("\xdf\xff\xff\xff\xff", 5, &trouble), WIRE_E_PROTOCOL);
	ck_assert_int_eq(wire_scan("\xdb\xff\xff\xff\xff", 5, &trouble), WIRE_E_PROTOCOL);
	ck_assert_int_eq(wire_scan("\xc6\xff\xff\xff\xff", 5, &trouble), WIRE_E_PROTOCOL);
	ck_assert_int_eq(wire_scan("\xc9\xff\xff\xff\xff\x01", 6, &trouble), WIRE_E_PROTOCOL);
}
END_TEST

START_TEST(announced_elements_are_counted_over_all_levels)
{
	/* Each array alone would fit into what follows it, the two together do not. */
	ck_assert_int_eq(wire_scan("\x93\x93\x00\x00\x00", 5, &trouble), WIRE_E_PROTOCOL);
	ck_assert_int_eq(wire_scan("\x93\x93\x00\x00\x00\x00\x00", 7, &trouble), 0);
}
END_TEST

START_TEST(forty_levels_are_refused_and_eight_are_not)
{
	char nest[41];

	memset(nest, '\x91', sizeof(nest));
	for (unsigned depth = 1; depth <= 40; depth++) {
		nest[depth] = 0;
		ck_assert_int_eq(wire_scan(nest, depth + 1, &trouble),
				 depth <= WIRE_DEPTH_MAX ? 0 : WIRE_E_PROTOCOL);
		nest[depth] = '\x91';
	}
	nest[WIRE_DEPTH_MAX] = '\x80'; /* an empty one is a level, too */
	ck_assert_int_eq(wire_scan(nest, WIRE_DEPTH_MAX + 1, &trouble), WIRE_E_PROTOCOL);
	nest[WIRE_DEPTH_MAX - 1] = '\x80';
	ck_assert_int_eq(wire_scan(nest, WIRE_DEPTH_MAX, &trouble), 0);
}
END_TEST

/* The plainest parser there is, as a judge: bytes of the value at p, or 0. */
static size_t naive(const uint8_t *p, size_t left, unsigned depth)
{
	uint64_t length = 0, values = 0;
	size_t at, width, child;

	if (!left || *p == 0xc1)
		return 0;
	if (*p <= 0x7f || *p >= 0xe0 || *p == 0xc0 || *p == 0xc2 || *p == 0xc3)
		return 1;
	if (*p >= 0xd4 && *p <= 0xd8)
		at = 2 + ((size_t)1 << (*p - 0xd4));
	else if (*p >= 0xcc && *p <= 0xd3)
		at = 1 + ((size_t)1 << (*p & 3));
	else if (*p == 0xca || *p == 0xcb)
		at = *p == 0xca ? 5 : 9;
	else if (*p >= 0xa0 && *p <= 0xbf)
		at = 1 + (*p & 31);
	else if (*p <= 0x9f) {
		at = 1;
		values = *p <= 0x8f ? 2 * (*p & 15) : *p & 15;
	} else {
		if (*p >= 0xdc)
			width = *p & 1 ? 4 : 2;
		else if (*p >= 0xd9)
			width = (size_t)1 << (*p - 0xd9);
		else
			width = (size_t)1 << (*p - (*p >= 0xc7 ? 0xc7 : 0xc4));
		if (left < 1 + width)
			return 0;
		for (size_t i = 0; i < width; i++)
			length = length << 8 | p[1 + i];
		at = 1 + width;
		if (*p >= 0xde)
			values = 2 * length;
		else if (*p >= 0xdc)
			values = length;
		else
			at += length + (*p >= 0xc7 && *p <= 0xc9);
	}
	if (at > left)
		return 0;
	if ((*p >= 0x80 && *p <= 0x9f) || *p >= 0xdc)
		if (depth == WIRE_DEPTH_MAX)
			return 0;
	for (; values; values--) {
		child = naive(p + at, left - at, depth + 1);
		if (!child)
			return 0;
		at += child;
	}
	return at;
}

START_TEST(the_scan_agrees_with_the_plainest_parser)
{
	uint64_t seed = seed_take(), accepted = 0, random;
	uint8_t bytes[40];
	size_t size;
	bool good;

	for (unsigned i = 0; i < 2000000; i++) {
		random = sample_random(&seed);
		/* The first bytes go through all types; short ones are often well-formed. */
		size = 1 + (random >> 8) % (random >> 60 ? 6 : sizeof(bytes));
		bytes[0] = (uint8_t)random;
		for (size_t j = 1; j < size; j++) {
			random = sample_random(&seed);
			bytes[j] = (uint8_t)(random >> 32 & 1 ? random & 3 : random);
		}
		if (i % 3 == 0)
			bytes[0] = (uint8_t)(0x80 | (bytes[0] & 0x1f));

		good = naive(bytes, size, 0) == size;
		accepted += good;
		if (!wire_scan(bytes, size, &trouble) != good) /* cheaper than an assert */
			ck_abort_msg("round %u", i);
	}
	ck_assert_uint_gt(accepted, 10000);
}
END_TEST

START_TEST(every_type_of_value_is_scanned_to_its_end)
{
	uint8_t bytes[64] = {};
	size_t size;

	for (unsigned type = 0; type < 256; type++) {
		bytes[0] = (uint8_t)type;
		for (size = 1; size < sizeof(bytes); size++)
			ck_assert_int_eq(!wire_scan(bytes, size, &trouble),
					 naive(bytes, size, 0) == size);
	}
}
END_TEST

START_TEST(a_datagram_of_64_kib_is_read_and_one_byte_more_is_not)
{
	static char big[WIRE_MESSAGE_MAX + 1];

	memset(big, 0, sizeof(big));
	big[0] = '\xdd';
	big[3] = '\xff';
	big[4] = '\xfb';
	ck_assert_int_eq(wire_scan(big, WIRE_MESSAGE_MAX, &trouble), 0);
	big[4] = '\xfc';
	ck_assert_int_eq(wire_scan(big, WIRE_MESSAGE_MAX + 1, &trouble), WIRE_E_PROTOCOL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire_scan");
	TCase *tests = tcase_create("wire_scan");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests,
		       five_bytes_that_announce_four_billion_elements_are_refused_unread);
	tcase_add_test(tests, announced_elements_are_counted_over_all_levels);
	tcase_add_test(tests, forty_levels_are_refused_and_eight_are_not);
	tcase_add_test(tests, the_scan_agrees_with_the_plainest_parser);
	tcase_add_test(tests, every_type_of_value_is_scanned_to_its_end);
	tcase_add_test(tests, a_datagram_of_64_kib_is_read_and_one_byte_more_is_not);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
