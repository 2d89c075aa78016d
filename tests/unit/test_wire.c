/*
 * The wire: what can be said survives the trip; what cannot is refused by name.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire.h"
#include "tests/fuzz/sample.h"
#include "tests/suite.h"

static struct wire_message message, again;
static struct wire_trouble trouble;
static struct sample_memory memory;

static uint64_t seed_take(void)
{
	const char *text = getenv("VARBOS_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 20240607;

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	return seed;
}

/* A fresh copy of exactly that size, so that a sanitizer sees a read beyond it. */
static int decode(const void *data, size_t size, bool answer)
{
	_cleanup_(freep) void *copy = malloc(size);
	int r;

	ck_assert(copy || !size);
	if (size)
		memcpy(copy, data, size);
	memset(&trouble, 'x', sizeof(trouble));
	if (answer)
		r = wire_decode_answer(&message, copy, size, sample_method_of, NULL, &trouble);
	else
		r = wire_decode_call(&message, copy, size, &trouble);
	wire_message_deinit(&message);
	if (r > 0) {
		ck_assert(memchr(trouble.which, 0, sizeof(trouble.which)));
		ck_assert(memchr(trouble.text, 0, sizeof(trouble.text)));
		ck_assert_str_ne(trouble.text, "");
		for (const char *p = trouble.which; *p; p++)
			ck_assert(*p >= ' ' && *p <= '~');
	}
	return r;
}

#define CALL(bytes) decode(bytes, sizeof(bytes) - 1, false)
#define ANSWER(bytes) decode(bytes, sizeof(bytes) - 1, true)

/* ---- what can be said ---- */

static bool is_request(const struct wire_method_info *info)
{
	return info->from != WIRE_FROM_DAEMON;
}

/* Call `each` with one message of each kind of each method. */
static void for_each_sample(uint64_t *seed, bool all, void (*each)(const struct wire_message *))
{
	struct wire_message sample;

	for (unsigned m = 0; m < WIRE_METHODS_N; m++) {
		sample = (struct wire_message){.method = (enum wire_method)m, .id = m};
		memory.used = 0;
		if (is_request(&wire_methods[m])) {
			sample.kind = WIRE_REQUEST;
			sample_fill(wire_methods[m].params, &sample.body, &memory, seed, all);
			each(&sample);
			sample.kind = WIRE_RESPONSE;
			sample_fill(wire_methods[m].result, &sample.body, &memory, seed, all);
			each(&sample);
			sample.failed = true;
			sample_fill(&wire_shape_fault, &sample.fault, &memory, seed, all);
			each(&sample);
			sample.failed = false;
		}
		if (wire_methods[m].from != WIRE_FROM_CLIENT) {
			sample.kind = WIRE_NOTE;
			sample_fill(wire_methods[m].params, &sample.body, &memory, seed, all);
			each(&sample);
		}
	}
}

static bool is_answer(const struct wire_message *sample)
{
	return sample->kind == WIRE_RESPONSE ||
	       (sample->kind == WIRE_NOTE &&
		wire_methods[sample->method].from == WIRE_FROM_DAEMON);
}

static char wire[WIRE_MESSAGE_MAX];

static void check_trip(const struct wire_message *sample)
{
	int n, r;

	n = sample_encode(wire, sizeof(wire), sample);
	ck_assert_int_gt(n, 0);
	if (is_answer(sample))
		r = wire_decode_answer(&again, wire, (size_t)n, sample_method_of, NULL,
				       &trouble);
	else
		r = wire_decode_call(&again, wire, (size_t)n, &trouble);
	ck_assert_msg(!r, "%s", trouble.text);
	ck_assert(sample_same(sample, &again));
	wire_message_deinit(&again);
}

START_TEST(every_message_survives_the_trip)
{
	uint64_t seed = seed_take();

	for (unsigned i = 0; i < 200; i++)
		for_each_sample(&seed, i % 2, check_trip);
}
END_TEST

START_TEST(optional_fields_that_are_empty_take_no_bytes)
{
	struct wire_extent_alloc params = {.space = 1, .size = 2};
	static const char bytes[] = "\x94\x00\x05\xac"
				    "extent.alloc\x82\xa5space\x01\xa4size\x02";
	int n;

	n = wire_encode_request(wire, sizeof(wire), 5, WIRE_EXTENT_ALLOC, &params);
	ck_assert_int_eq(n, sizeof(bytes) - 1);
	ck_assert_mem_eq(wire, bytes, sizeof(bytes) - 1);
}
END_TEST

static void check_short_buffers(const struct wire_message *sample)
{
	static char buf[WIRE_MESSAGE_MAX];
	int n;

	n = sample_encode(wire, sizeof(wire), sample);
	for (int size = 0; size < n; size++) {
		buf[size] = 'x';
		ck_assert_int_eq(sample_encode(buf, (size_t)size, sample), -EMSGSIZE);
		ck_assert_int_eq(buf[size], 'x');
	}
	ck_assert_int_eq(sample_encode(buf, (size_t)n, sample), n);
	ck_assert_mem_eq(buf, wire, n);
}

START_TEST(a_buffer_that_is_too_small_is_said_and_not_overrun)
{
	uint64_t seed = seed_take();

	for_each_sample(&seed, true, check_short_buffers);
}
END_TEST

START_TEST(no_message_is_longer_than_64_kib)
{
	static char buf[2 * WIRE_MESSAGE_MAX], text[WIRE_MESSAGE_MAX];
	struct wire_hello hello = {.name = {.data = text, .size = sizeof(text)}};

	memset(text, 'a', sizeof(text));
	ck_assert_int_eq(wire_encode_request(buf, sizeof(buf), 1, WIRE_HELLO, &hello),
			 -EMSGSIZE);
}
END_TEST

START_TEST(numbers_may_come_in_any_width)
{
	static const struct {
		const char *bytes;
		size_t size;
	} sevens[] = {
		{"\x07", 1},
		{"\xcc\x07", 2},
		{"\xcd\x00\x07", 3},
		{"\xce\x00\x00\x00\x07", 5},
		{"\xcf\x00\x00\x00\x00\x00\x00\x00\x07", 9},
		{"\xd0\x07", 2},
		{"\xd1\x00\x07", 3},
		{"\xd2\x00\x00\x00\x07", 5},
		{"\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 9},
	};
	static const char head[] = "\x94\x00\x05\xa4ping\x81\xa5token";

	for (unsigned i = 0; i < ARRAY_SIZE(sevens); i++) {
		memcpy(wire, head, sizeof(head) - 1);
		memcpy(wire + sizeof(head) - 1, sevens[i].bytes, sevens[i].size);
		ck_assert_int_eq(wire_decode_call(&message, wire,
						  sizeof(head) - 1 + sevens[i].size, &trouble),
				 0);
		ck_assert_uint_eq(message.body.ping.token, 7);
		wire_message_deinit(&message);
	}
}
END_TEST

/* ---- what is no message ---- */

static void check_cut_and_trailed(const struct wire_message *sample)
{
	int n = sample_encode(wire, sizeof(wire) - 1, sample);

	for (int size = 0; size < n; size++)
		ck_assert_int_eq(decode(wire, (size_t)size, is_answer(sample)),
				 WIRE_E_PROTOCOL);
	ck_assert_int_eq(decode(wire, (size_t)n, is_answer(sample)), 0);
	wire[n] = '\xc0';
	ck_assert_int_eq(decode(wire, (size_t)n + 1, is_answer(sample)), WIRE_E_PROTOCOL);
	ck_assert_str_eq(trouble.text, "bytes follow the message");
}

START_TEST(a_message_cut_anywhere_or_followed_by_bytes_is_refused)
{
	uint64_t seed = seed_take();

	for_each_sample(&seed, true, check_cut_and_trailed);
}
END_TEST

START_TEST(a_broken_request_still_gives_its_id)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4pin"), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
	ck_assert_uint_eq(trouble.id, 5);
	ck_assert_int_eq(CALL("\x94\x00\xcd\x01\x02\xa4pin"), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
	ck_assert_uint_eq(trouble.id, 0x102);
	ck_assert_int_eq(CALL("\x94\x00\xcf\x01\x02"), WIRE_E_PROTOCOL);
	ck_assert(!trouble.has_id);
	ck_assert_int_eq(CALL("\x93\x00\x05\xa4ping"), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
	ck_assert_int_eq(CALL("\x94\x02\x05\xa4pin"), WIRE_E_PROTOCOL);
	ck_assert(!trouble.has_id);
}
END_TEST

START_TEST(a_request_that_announces_four_billion_fields_is_refused_unread)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\xdf\xff\xff\xff\xff"), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
}
END_TEST

START_TEST(outer_arrays_of_a_wrong_form_are_refused)
{
	ck_assert_int_eq(CALL(""), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\xc0"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x90"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x91\x00"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\x03\x05\xa4ping\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\xff\x05\xa4ping\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\x00\xff\xa4ping\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\x00\xa1x\xa4ping\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x95\x00\x05\xa4ping\x80\xc0"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\x02\x05\xa4ping\x80"), WIRE_E_PROTOCOL);
	ck_assert_int_eq(CALL("\x94\x00\x05\x07\x80"), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
	ck_assert_int_eq(CALL("\x94\x01\x05\xc0\x80"), WIRE_E_PROTOCOL); /* a response */
	ck_assert(!trouble.has_id);
	ck_assert_int_eq(ANSWER("\x94\x00\x02\xa4ping\x80"), WIRE_E_PROTOCOL); /* a request */
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x80"), 0);
}
END_TEST

/* ---- what is not in the schema ---- */

START_TEST(an_unknown_method_is_refused_by_name)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4pong\x80"), WIRE_E_METHOD);
	ck_assert(trouble.has_id);
	ck_assert_uint_eq(trouble.id, 5);
	ck_assert_str_eq(trouble.which, "pong");
	ck_assert_int_eq(CALL("\x94\x00\x05\xa0\x80"), WIRE_E_METHOD);
	ck_assert_int_eq(CALL("\x93\x02\xa4pong\x80"), WIRE_E_METHOD);
	ck_assert(!trouble.has_id);
}
END_TEST

START_TEST(a_method_that_is_not_the_senders_is_refused)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xae"
			      "extent.refused\x80"),
			 WIRE_E_METHOD);
	ck_assert_int_eq(CALL("\x93\x02\xae"
			      "extent.refused\x80"),
			 WIRE_E_METHOD);
	ck_assert_int_eq(CALL("\x93\x02\xa4ping\x80"), WIRE_E_METHOD);
	ck_assert_int_eq(CALL("\x93\x02\xa3"
			      "bye\x80"),
			 0);
	ck_assert_int_eq(ANSWER("\x93\x02\xa3"
				"bye\x80"),
			 WIRE_E_METHOD);
	/* What a newer daemon tells of: the client knows that it may skip it. */
	ck_assert_int_eq(ANSWER("\x93\x02\xa5newer\x81\xa1x\x01"), WIRE_E_METHOD);
}
END_TEST

START_TEST(a_field_that_is_unknown_doubled_or_missing_is_refused_by_name)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x81\xa5tokem\x01"), WIRE_E_FIELD);
	ck_assert_str_eq(trouble.which, "tokem");
	ck_assert_str_eq(trouble.text, "ping: there is no such field");
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x82\xa5token\x01\xa5token\x01"),
			 WIRE_E_FIELD);
	ck_assert_str_eq(trouble.which, "token");
	ck_assert_str_eq(trouble.text, "ping: token stands there twice");
	ck_assert_int_eq(CALL("\x94\x00\x05\xaaspace.open\x80"), WIRE_E_FIELD);
	ck_assert_str_eq(trouble.which, "name");
	ck_assert_str_eq(trouble.text, "space.open: name is missing");
	ck_assert(trouble.has_id);
	ck_assert_uint_eq(trouble.id, 5);
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x81\x01\x01"), WIRE_E_FIELD);
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x90"), WIRE_E_FIELD);
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\xc0"), WIRE_E_FIELD);
}
END_TEST

START_TEST(a_negative_number_is_refused)
{
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x81\xa5token\xff"), WIRE_E_FIELD);
	ck_assert_str_eq(trouble.which, "token");
	ck_assert_str_eq(trouble.text,
			 "ping: token is a negative number, not a number from 0 to "
			 "2^64 - 1");
	ck_assert_int_eq(CALL("\x94\x00\x05\xa4ping\x81\xa5token\xd3\x80\0\0\0\0\0\0\0"),
			 WIRE_E_FIELD);
}
END_TEST

START_TEST(every_field_refuses_every_other_type)
{
	/* nil, boolean, number, negative, two floats, string, bin, array, map, ext */
	static const struct {
		const char *bytes;
		size_t size;
		int good; /* the field type that it does for; -1: none */
	} values[] = {
		{"\xc0", 1, -1},
		{"\xc3", 1, WIRE_BOOL},
		{"\x07", 1, WIRE_U64},
		{"\xf0", 1, -1},
		{"\xca\x3f\x80\0\0", 5, -1},
		{"\xcb\x3f\xf0\0\0\0\0\0\0", 9, -1},
		{"\xa1x", 2, WIRE_STR},
		{"\xc4\x01x", 3, -1},
		{"\x90", 1, WIRE_LIST},
		{"\x80", 1, -1},
		{"\xd4\x01x", 3, -1},
	};
	const struct wire_method_info *info;
	const struct wire_field *field;
	size_t n;
	int r;

	for (unsigned m = 0; m < WIRE_METHODS_N; m++) {
		info = &wire_methods[m];
		for (unsigned f = 0; is_request(info) && f < info->params->n_fields; f++) {
			field = &info->params->fields[f];
			for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
				n = (size_t)snprintf(
					wire, sizeof(wire), "\x94\x01\x05%c%s\x81%c%s",
					(int)(0xa0 | info->name_size), info->name,
					(int)(0xa0 | field->name_size), field->name);
				wire[1] = 0;
				memcpy(wire + n, values[v].bytes, values[v].size);
				r = decode(wire, n + values[v].size, false);
				if (values[v].good != (int)field->type) {
					ck_assert_int_eq(r, WIRE_E_FIELD);
					ck_assert_str_eq(trouble.which, field->name);
				} else if (r) { /* then it is others that are missing */
					ck_assert_int_eq(r, WIRE_E_FIELD);
					ck_assert_str_ne(trouble.which, field->name);
				}
			}
		}
	}
}
END_TEST

START_TEST(a_hostile_name_is_told_cut_and_printable)
{
	static char big[60000];
	char *p = big;

	memcpy(p, "\x94\x00\x05\xda\xe0\x00", 6);
	memset(p + 6, '\x1b', 0xe000);
	p[6 + 0xe000] = '\x80';
	ck_assert_int_eq(decode(big, 6 + 0xe000 + 1, false), WIRE_E_METHOD);
	ck_assert_str_eq(trouble.which, "???????????????????????????????");
}
END_TEST

START_TEST(an_answer_may_hold_fields_that_are_newer_than_its_reader)
{
	/* ping's number is its id: see sample_method_of() */
	static const char answer[] = {'\x94', 1,   WIRE_PING, '\xc0', '\x82', '\xa5',
				      't',    'o', 'k',       'e',    'n',    9,
				      '\xa3', 'n', 'e',       'w',    '\x91', '\x80'};

	ck_assert_int_eq(wire_decode_answer(&message, answer, sizeof(answer), sample_method_of,
					    NULL, &trouble),
			 0);
	ck_assert_uint_eq(message.body.ping.token, 9);
	wire_message_deinit(&message);
}
END_TEST

START_TEST(an_answer_is_either_an_error_or_a_result_to_what_was_asked)
{
	char answer[] = "\x94\x01_\xc0\xc0";

	answer[2] = WIRE_BYE;
	ck_assert_int_eq(decode(answer, 5, true), WIRE_E_PROTOCOL);
	ck_assert(trouble.has_id);
	answer[4] = '\x80';
	ck_assert_int_eq(decode(answer, 5, true), 0);
	answer[3] = '\x80';
	ck_assert_int_eq(decode(answer, 5, true), WIRE_E_PROTOCOL);
	answer[4] = '\xc0';
	ck_assert_int_eq(decode(answer, 5, true), WIRE_E_FIELD); /* a fault has a code */
	answer[2] = 127;
	ck_assert_int_eq(decode(answer, 5, true), WIRE_E_PROTOCOL);
	ck_assert_str_eq(trouble.text, "an answer to what was not asked");
}
END_TEST

START_TEST(an_error_without_a_question_is_told)
{
	struct wire_fault fault = {.code = 7, .message = wire_str("bytes follow the message")};
	int n = wire_encode_fault(wire, sizeof(wire), 255, &fault);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(decode(wire, (size_t)n, true), WIRE_E_PROTOCOL);
	ck_assert_str_eq(trouble.text,
			 "an answer to what was not asked: bytes follow the message");
}
END_TEST

/* ---- strings ---- */

START_TEST(strings_are_utf8_without_control_characters)
{
	static const char *const clean[] = {
		"",
		"a",
		" ~",
		"\xc2\xa0",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
	};
	static const char *const dirty[] = {
		"\n",
		"\x1b[2J",
		"\x7f",
		"\x80",
		"\xc2",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2\x9b",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xe2\x82",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"a\xe2\x82",
		"\xe2\x61\x80",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(clean); i++)
		ck_assert(wire_str_is_clean(wire_str(clean[i])));
	for (unsigned i = 0; i < ARRAY_SIZE(dirty); i++)
		ck_assert(!wire_str_is_clean(wire_str(dirty[i])));
	ck_assert(!wire_str_is_clean((struct wire_str){.data = "a\0b", .size = 3}));

	ck_assert_int_eq(CALL("\x94\x00\x05\xaaspace.open\x81\xa4name\xa2\xc3\x28"),
			 WIRE_E_FIELD);
	ck_assert_str_eq(trouble.which, "name");
	ck_assert_str_eq(trouble.text,
			 "space.open: name is not UTF-8, or holds control characters");
}
END_TEST

START_TEST(what_is_no_clean_string_leaves_with_question_marks)
{
	struct wire_space_open params = {.name = wire_str("\x1b[2J\xe2\x82")};
	int n;

	n = wire_encode_request(wire, sizeof(wire), 1, WIRE_SPACE_OPEN, &params);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(wire_decode_call(&message, wire, (size_t)n, &trouble), 0);
	ck_assert(wire_str_is(message.body.space_open.name, "?[2J??"));
	wire_message_deinit(&message);
}
END_TEST

START_TEST(a_copied_string_is_cut_between_characters)
{
	char buf[8];

	ck_assert_str_eq(wire_str_copy(buf, 8, wire_str("abcdefg")), "abcdefg");
	ck_assert_str_eq(wire_str_copy(buf, 8, wire_str("abcdefgh")), "abcdefg");
	ck_assert_str_eq(wire_str_copy(buf, 4, wire_str("\xe2\x82\xac")), "\xe2\x82\xac");
	ck_assert_str_eq(wire_str_copy(buf, 5, wire_str("a\xe2\x82\xac")), "a\xe2\x82\xac");
	ck_assert_str_eq(wire_str_copy(buf, 4, wire_str("a\xe2\x82\xac")), "a");
	ck_assert_str_eq(wire_str_copy(buf, 1, wire_str("a")), "");
	ck_assert_str_eq(wire_str_copy(buf, 8, wire_str(NULL)), "");
}
END_TEST

/* ---- for people ---- */

static const char *printed(const struct wire_message *what)
{
	static char text[512];
	FILE *out = fmemopen(text, sizeof(text), "w");

	ck_assert(out);
	wire_print(out, what);
	fclose(out);
	return text;
}

START_TEST(messages_print_as_one_line)
{
	struct wire_client_row row = {
		.session = 1, .pid = 2, .uid = 3, .name = wire_str("a\"b")};

	message = (struct wire_message){
		.kind = WIRE_REQUEST,
		.method = WIRE_EXTENT_ALLOC,
		.id = 7,
		.body.extent_alloc = {.space = 1, .size = 1 << 20, .shared = true},
	};
	ck_assert_str_eq(printed(&message),
			 "-> 7 extent.alloc {space: 1, size: 1048576, shared: true}\n");

	message = (struct wire_message){.kind = WIRE_NOTE, .method = WIRE_BYE};
	ck_assert_str_eq(printed(&message), "-> bye {}\n");

	message = (struct wire_message){
		.kind = WIRE_RESPONSE,
		.method = WIRE_CLIENT_LIST,
		.id = 8,
		.body.client_rows = {.rows = {.rows = &row, .count = 1}},
	};
	ck_assert_str_eq(
		printed(&message),
		"<- 8 client.list {rows: [{session: 1, pid: 2, uid: 3, name: \"a\\\"b\", "
		"spaces: 0, used: 0}]}\n");

	message = (struct wire_message){
		.kind = WIRE_RESPONSE,
		.method = WIRE_PING,
		.id = 9,
		.failed = true,
		.fault = {.code = 3, .message = wire_str("no")},
	};
	ck_assert_str_eq(printed(&message), "<- 9 ping BUDGET {code: 3, message: \"no\"}\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tests = tcase_create("wire");

	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, every_message_survives_the_trip);
	tcase_add_test(tests, optional_fields_that_are_empty_take_no_bytes);
	tcase_add_test(tests, a_buffer_that_is_too_small_is_said_and_not_overrun);
	tcase_add_test(tests, no_message_is_longer_than_64_kib);
	tcase_add_test(tests, numbers_may_come_in_any_width);
	tcase_add_test(tests, a_message_cut_anywhere_or_followed_by_bytes_is_refused);
	tcase_add_test(tests, a_broken_request_still_gives_its_id);
	tcase_add_test(tests, a_request_that_announces_four_billion_fields_is_refused_unread);
	tcase_add_test(tests, outer_arrays_of_a_wrong_form_are_refused);
	tcase_add_test(tests, an_unknown_method_is_refused_by_name);
	tcase_add_test(tests, a_method_that_is_not_the_senders_is_refused);
	tcase_add_test(tests, a_field_that_is_unknown_doubled_or_missing_is_refused_by_name);
	tcase_add_test(tests, a_negative_number_is_refused);
	tcase_add_test(tests, every_field_refuses_every_other_type);
	tcase_add_test(tests, a_hostile_name_is_told_cut_and_printable);
	tcase_add_test(tests, an_answer_may_hold_fields_that_are_newer_than_its_reader);
	tcase_add_test(tests, an_answer_is_either_an_error_or_a_result_to_what_was_asked);
	tcase_add_test(tests, an_error_without_a_question_is_told);
	tcase_add_test(tests, strings_are_utf8_without_control_characters);
	tcase_add_test(tests, what_is_no_clean_string_leaves_with_question_marks);
	tcase_add_test(tests, a_copied_string_is_cut_between_characters);
	tcase_add_test(tests, messages_print_as_one_line);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
