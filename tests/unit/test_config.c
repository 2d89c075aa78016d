/*
 * What varbosd can be told: the table against itself, values of each type, layers on each other.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/config/settings.h"
#include "daemon/config/shares.h"
#include "tests/suite.h"

static struct settings settings;

static void set_up(void)
{
	settings_init(&settings);
}

static void tear_down(void)
{
	settings_deinit(&settings);
}

/* ---- the table ---- */

START_TEST(every_default_is_a_value_that_its_key_takes)
{
	for (size_t i = 0; i < KEYS_N; i++) {
		struct value value = {.text = keys[i].standard,
				      .size = strlen(keys[i].standard)};
		char why[VALUE_WHY_MAX];

		if (!value.size && (keys[i].type == KEY_TEXT || keys[i].type == KEY_PATH))
			continue; /* found out by the daemon */
		ck_assert_msg(!value_set(&settings.config, &keys[i], &value, why), "%s: %s",
			      keys[i].name, why);
	}
}
END_TEST

START_TEST(names_are_found_and_differ)
{
	char a[KEY_NAME_MAX], b[KEY_NAME_MAX];

	for (size_t i = 0; i < KEYS_N; i++) {
		ck_assert_ptr_eq(key_find(keys[i].name, false), &keys[i]);
		ck_assert_str_eq(key_nearest(keys[i].name, true), keys[i].name);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(key_variable(a, keys[i].name),
					 key_variable(b, keys[k].name));
	}
	for (size_t i = 0; i < key_shorts_n; i++) {
		ck_assert_ptr_eq(key_find(key_shorts[i].name, true), &keys[key_shorts[i].key]);
		ck_assert_ptr_null(key_find(key_shorts[i].name, false));
	}
	ck_assert_ptr_null(key_find("", true));
	ck_assert_ptr_null(key_find("memory", true));
}
END_TEST

START_TEST(the_nearest_key_is_what_was_meant)
{
	ck_assert_str_eq(key_nearest("memory.sise", false), "memory.size");
	ck_assert_str_eq(key_nearest("memroy.pages", false), "memory.pages");
	ck_assert_str_eq(key_nearest("size", false), "memory.size");
	ck_assert_str_eq(key_nearest("size", true), "size");
	ck_assert_str_eq(key_nearest("pgaes", true), "pages");
	ck_assert_str_eq(key_nearest("daemon.level", false), "log.level");
	ck_assert_ptr_nonnull(key_nearest("", true));
}
END_TEST

/* ---- values, by keys that are the test's own ---- */

static struct {
	uint64_t size, count, time, set;
	uint32_t mode, choice;
	char text[9];
	bool on;
} own;

#define OWN(type_, field_, min_, max_, step_)                                 \
	((struct key){.name = #field_,                                        \
		      .type = KEY_##type_,                                    \
		      .offset = (size_t)((char *)&own.field_ - (char *)&own), \
		      .bytes = sizeof(own.field_),                            \
		      .min = (min_),                                          \
		      .max = (max_),                                          \
		      .step = (step_),                                        \
		      .words = (const char *const[]){"one", "two", NULL}})

static char why[VALUE_WHY_MAX];

static int set(struct key key, struct value value)
{
	if (value.text && !value.size)
		value.size = strlen(value.text);
	return value_set((struct config *)&own, &key, &value, why);
}

static const char *print(struct key key)
{
	static char text[VALUE_TEXT_MAX];

	return value_print(text, &key, (struct config *)&own);
}

#define PLAIN(text_) ((struct value){.kind = VALUE_PLAIN, .text = (text_)})
#define STRING(text_) ((struct value){.kind = VALUE_STRING, .text = (text_)})
#define INTEGER(number) ((struct value){.kind = VALUE_INTEGER, .integer = (number)})
#define TRUE_ ((struct value){.kind = VALUE_BOOLEAN, .boolean = true})
#define LIST(...)                                                \
	((struct value){.kind = VALUE_LIST,                      \
			.list = (const uint64_t[]){__VA_ARGS__}, \
			.n = sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)})
#define FLOAT ((struct value){.kind = VALUE_OTHER, .text = "a float"})

/* Refused, by words among which are these, and the field is as it was. */
static void refuse(struct key key, struct value value, const char *said)
{
	char before[sizeof(own)];

	memcpy(before, &own, sizeof(own));
	ck_assert_msg(set(key, value) == VALUE_E_WRONG, "%s: taken", key.name);
	ck_assert_msg(strstr(why, said) != NULL, "'%s' is not in: %s", said, why);
	ck_assert(!memcmp((const char *)&own, before, sizeof(own)));
}

START_TEST(a_size_is_bytes_or_has_a_unit)
{
	struct key key = OWN(SIZE, size, 4096, 1 << 30, 4096);

	ck_assert(!set(key, PLAIN("512M")));
	ck_assert_uint_eq(own.size, 512 << 20);
	ck_assert_str_eq(print(key), "\"512M\"");
	ck_assert(!set(key, STRING("1GiB")));
	ck_assert_uint_eq(own.size, 1 << 30);
	ck_assert(!set(key, INTEGER(8192)));
	ck_assert_str_eq(print(key), "\"8K\"");
	refuse(key, PLAIN("lots"), "'lots' is not a size; 512M or 2G is");
	refuse(key, STRING("-1"), "not a size");
	refuse(key, INTEGER(-4096), "-4096 given, a size from 4 KiB to 1 GiB");
	refuse(key, INTEGER(4097), "a multiple of 4 KiB is wanted");
	refuse(key, INTEGER(0), "from 4 KiB");
	refuse(key, PLAIN("2G"), "to 1 GiB");
	refuse(key, ((struct value){.kind = VALUE_STRING, .text = "1G\0x", .size = 4}),
	       "not a size");
	refuse(key, TRUE_, "true given");
	refuse(key, FLOAT, "a float given");
}
END_TEST

START_TEST(a_count_is_a_number_and_no_string)
{
	struct key key = OWN(COUNT, count, 1, 4096, 1);

	ck_assert(!set(key, PLAIN("64")));
	ck_assert_str_eq(print(key), "64");
	ck_assert(!set(key, INTEGER(4096)));
	refuse(key, INTEGER(0), "0 given, a number from 1 to 4096 is wanted");
	refuse(key, INTEGER(4097), "from 1 to 4096");
	refuse(key, INTEGER(-1), "-1 given");
	refuse(key, STRING("64"), "a number stands without quotes");
	refuse(key, PLAIN("64M"), "'64M' given");
	refuse(key, PLAIN(""), "given");
	refuse(key, PLAIN("18446744073709551617"), "given");
	refuse(key, FLOAT, "a float given");
}
END_TEST

START_TEST(a_bool_is_true_or_false_alone)
{
	struct key key = OWN(BOOL, on, 0, 1, 1);

	ck_assert(!set(key, PLAIN("true")));
	ck_assert(own.on);
	ck_assert_str_eq(print(key), "true");
	ck_assert(!set(key, PLAIN("false")));
	ck_assert(!own.on);
	ck_assert(!set(key, TRUE_));
	ck_assert(own.on);
	refuse(key, PLAIN("yes"), "true or false is wanted");
	refuse(key, STRING("true"), "true or false is wanted");
	refuse(key, INTEGER(1), "1 given");
}
END_TEST

START_TEST(a_choice_is_one_of_its_words)
{
	struct key key = OWN(CHOICE, choice, 0, 0, 0);

	ck_assert(!set(key, PLAIN("two")));
	ck_assert_uint_eq(own.choice, 1);
	ck_assert_str_eq(print(key), "\"two\"");
	ck_assert(!set(key, STRING("one")));
	refuse(key, STRING("Two"), "'Two' is none of one, two");
	refuse(key, ((struct value){.kind = VALUE_STRING, .text = "two\0", .size = 4}),
	       "none of");
	refuse(key, INTEGER(1), "1 is none of");
}
END_TEST

START_TEST(a_text_has_its_length_and_no_control_characters)
{
	struct key key = OWN(TEXT, text, 1, 8, 1);

	ck_assert(!set(key, PLAIN("12345678")));
	ck_assert(!set(key, STRING("a\"b\\c")));
	ck_assert_str_eq(own.text, "a\"b\\c");
	ck_assert_str_eq(print(key), "\"a\\\"b\\\\c\"");
	refuse(key, PLAIN("123456789"), "of 1 to 8 bytes is wanted, this one has 9");
	refuse(key, PLAIN(""), "this one has 0");
	refuse(key, STRING("a\nb"), "control characters");
	refuse(key, ((struct value){.kind = VALUE_STRING, .text = "a\0b", .size = 3}),
	       "control characters");
	refuse(key, INTEGER(7), "7 given");
}
END_TEST

START_TEST(a_time_has_a_unit)
{
	struct key key = OWN(TIME, time, 100, 60000, 1);

	ck_assert(!set(key, PLAIN("2s")));
	ck_assert_uint_eq(own.time, 2000);
	ck_assert_str_eq(print(key), "\"2s\"");
	ck_assert(!set(key, STRING("150ms")));
	ck_assert_str_eq(print(key), "\"150ms\"");
	ck_assert(!set(key, PLAIN("1min")));
	refuse(key, INTEGER(2), "2 is not a time");
	refuse(key, PLAIN("2"), "not a time");
	refuse(key, PLAIN("s"), "not a time");
	refuse(key, PLAIN("-1s"), "not a time");
	refuse(key, PLAIN("2m"), "not a time");
	refuse(key, PLAIN("99ms"), "a time from 100ms to 60s is wanted");
	refuse(key, PLAIN("1h"), "to 60s");
	refuse(key, PLAIN("18446744073709551615h"), "to 60s");
	refuse(key, PLAIN("1844674407370955161500s"), "not a time");
}
END_TEST

START_TEST(a_mode_is_octal)
{
	struct key key = OWN(MODE, mode, 0, 0777, 1);

	ck_assert(!set(key, PLAIN("0660")));
	ck_assert_uint_eq(own.mode, 0660);
	ck_assert_str_eq(print(key), "\"0660\"");
	ck_assert(!set(key, STRING("755")));
	ck_assert_uint_eq(own.mode, 0755);
	ck_assert(!set(key, INTEGER(0600)));
	refuse(key, PLAIN("0888"), "permissions from 0 to 0777");
	refuse(key, PLAIN("1777"), "permissions from 0 to 0777");
	refuse(key, PLAIN("rw"), "permissions");
	refuse(key, INTEGER(-1), "-1 given");
}
END_TEST

START_TEST(a_set_is_numbers_and_ranges)
{
	struct key key = OWN(SET, set, 0, 63, 1);

	ck_assert(!set(key, PLAIN("0,2-3,63")));
	ck_assert_uint_eq(own.set, (uint64_t)1 << 63 | 0xd);
	ck_assert_str_eq(print(key), "[0, 2, 3, 63]");
	ck_assert(!set(key, LIST(1, 1, 5)));
	ck_assert_str_eq(print(key), "[1, 5]");
	ck_assert(!set(key, PLAIN("")));
	ck_assert_str_eq(print(key), "[]");
	refuse(key, PLAIN("64"), "numbers from 0 to 63");
	refuse(key, PLAIN("3-2"), "numbers");
	refuse(key, PLAIN("1,"), "numbers");
	refuse(key, PLAIN(",1"), "numbers");
	refuse(key, PLAIN("1--2"), "numbers");
	refuse(key, PLAIN("-"), "numbers");
	refuse(key, PLAIN("1 2"), "numbers");
	refuse(key, PLAIN("18446744073709551616"), "numbers");
	refuse(key, LIST(64), "numbers");
	refuse(key, INTEGER(0), "0 given");
}
END_TEST

/* ---- layers ---- */

static const char *remark(uint32_t i)
{
	ck_assert_uint_lt(i, settings.n_remarks);
	return settings.remarks[i].text;
}

static const char *origin(const char *name)
{
	static char text[ORIGIN_TEXT_MAX];

	return origin_print(text, &settings.origins[key_find(name, true) - keys]);
}

static void flag(const char *name, const char *text)
{
	settings_flag(&settings, key_find(name, true), name, text);
}

START_TEST(a_flag_wins_over_the_environment_and_that_over_what_is_built_in)
{
	const char *environment[] = {"VARBOS_MEMORY_SIZE=64M", "VARBOS_PAGES=4K", "HOME=/",
				     NULL};

	ck_assert_str_eq(origin("size"), "built-in");
	settings_environment(&settings, (char *const *)environment);
	ck_assert_uint_eq(settings.config.memory.size, 64 << 20);
	ck_assert_str_eq(origin("size"), "VARBOS_MEMORY_SIZE");
	flag("size", "32M");
	ck_assert_uint_eq(settings.config.memory.size, 32 << 20);
	ck_assert_str_eq(origin("size"), "--size");
	ck_assert_str_eq(origin("pages"), "VARBOS_PAGES");
	ck_assert_int_eq(settings.config.memory.pages, CONFIG_PAGES_4K);
	ck_assert_str_eq(origin("log.level"), "built-in");
	ck_assert_int_eq(settings_finish(&settings), 0);
}
END_TEST

START_TEST(a_long_variable_wins_over_its_short_name_and_an_empty_one_is_none)
{
	const char *environment[] = {"VARBOS_MEMORY_SIZE=64M", "VARBOS_SIZE=32M",
				     "VARBOS_PAGES=", NULL};

	settings_environment(&settings, (char *const *)environment);
	ck_assert_uint_eq(settings.config.memory.size, 64 << 20);
	ck_assert_str_eq(origin("pages"), "built-in");
	ck_assert_int_eq(settings_finish(&settings), 0);
}
END_TEST

START_TEST(all_that_is_wrong_is_said_at_once_and_where)
{
	const char *environment[] = {"VARBOS_SIZE=lots", "VARBOS_PAGES=3K", NULL};

	settings_environment(&settings, (char *const *)environment);
	flag("memory.size", "3");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_uint_eq(settings.n_errors, 3);
	ck_assert_str_eq(remark(0), "VARBOS_SIZE: 'lots' is not a size; 512M or 2G is");
	ck_assert_ptr_nonnull(strstr(remark(1), "VARBOS_PAGES: '3K' is none of auto, 4K, "));
	ck_assert_ptr_nonnull(strstr(remark(2), "--memory.size: '3' given, a size from 2 MiB"));
	ck_assert_uint_eq(settings.config.memory.size, 256 << 20); /* nothing was taken */
}
END_TEST

START_TEST(only_a_variable_that_looks_like_a_misspelt_key_is_warned_of)
{
	const char *environment[] = {
		"VARBOS_SEED=1",       "VARBOS_MUTANT=x",    "VARBOS_DAEMON=/x",
		"VARBOS_QUIET=1",      "VARBOS_STEPS=7",     "VARBOS_SHIFT=12",
		"VARBOS_DEBUG=1",      "VARBOSD=/x",         "VARBOS_=1",
		"VARBOS_TEST_SIZE=1",  "VARBOS_PAGE=1",      "VARBOS_MEMORY_SZE=1",
		"VARBOS_LOG_COLOR=no", "VARBOS_SOCKETS=/x.", NULL};

	settings_environment(&settings, (char *const *)environment);
	ck_assert_int_eq(settings_finish(&settings), 0);
	ck_assert_uint_eq(settings.n_remarks, 4);
	ck_assert_str_eq(
		remark(0),
		"VARBOS_PAGE is not a variable of varbosd; the nearest is VARBOS_PAGES");
	ck_assert_ptr_nonnull(strstr(remark(1), "the nearest is VARBOS_MEMORY_SIZE"));
	ck_assert_ptr_nonnull(strstr(remark(2), "VARBOS_LOG_COLOR is not"));
	ck_assert_ptr_nonnull(strstr(remark(3), "the nearest is VARBOS_SOCKET"));
}
END_TEST

START_TEST(more_errors_than_are_remembered_are_counted)
{
	for (int i = 0; i < 1000; i++)
		flag("size", "lots");
	ck_assert_uint_eq(settings.n_errors, 1000);
	ck_assert_uint_eq(settings.n_remarks, SETTINGS_REMARKS_MAX);
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
}
END_TEST

/* ---- what contradicts ---- */

/* A service manager starts what has found something wrong no more. */
START_TEST(what_cannot_be_read_for_want_of_descriptors_is_not_wrong)
{
	struct rlimit before, none;

	ck_assert(!getrlimit(RLIMIT_NOFILE, &before));
	none = before;
	none.rlim_cur = 0;
	ck_assert(!setrlimit(RLIMIT_NOFILE, &none));
	settings_file(&settings, "/proc/self/cmdline", true);
	ck_assert(!setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_uint_eq(settings.n_errors, 0);
	ck_assert_int_eq(settings_finish(&settings), -EMFILE);
}
END_TEST

static void text(const char *toml)
{
	settings_text(&settings, "f", toml, strlen(toml));
}

START_TEST(sizes_of_nodes_make_the_size_and_contradict_another)
{
	text("memory.nodes = '0:1G,2:512M'\n");
	ck_assert_int_eq(settings_finish(&settings), 0);
	ck_assert_uint_eq(settings.config.memory.size, (uint64_t)1536 << 20);
	flag("size", "1536M");
	ck_assert_int_eq(settings_finish(&settings), 0);
	flag("size", "1G");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_str_eq(remark(0),
			 "f:1:16: memory.nodes = \"0:1G,2:512M\" contradicts memory.size = "
			 "\"1G\" (--size): the nodes have 1.5 GiB together; leave the size "
			 "out, or nodes without sizes");
}
END_TEST

START_TEST(parts_of_a_region_that_make_no_sense_are_refused)
{
	static const char *const good[] = {"", "0", "0,2-3", "63:2M", "1:2M,0:1G"};
	static const char *const bad[] = {
		"0:1G,1", "0:3M", "0-1:2M", "0:2M,0:2M", "64:2M",      "0:", ":2M", "0:2M,",
		"0,1,",   "x",    "0:2P",   "0:0",       "0:2M,,1:2M", ":",  ",",   "0:2M:2M"};
	struct shares shares;
	const char *reason;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(!shares_parse(good[i], &shares, &reason), "%s: %s", good[i],
			      reason);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(shares_parse(bad[i], &shares, &reason) == SHARES_E_WRONG, "%s",
			      bad[i]);
	flag("memory.nodes", "0:1G,1");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_str_eq(remark(0),
			 "--memory.nodes: memory.nodes = \"0:1G,1\": either each node "
			 "has a size, or none");
}
END_TEST

START_TEST(a_part_above_its_whole_is_refused_with_both_places)
{
	text("[limits]\nwaiting = 100\nconnections = 32\n");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_uint_eq(settings.n_errors, 1);
	ck_assert_str_eq(remark(0),
			 "f:2:11: limits.waiting = 100 contradicts limits.connections = 32 "
			 "(f:3:15): whoever has not said hello is connected, too; at most 32 "
			 "is right, or more of the other");
}
END_TEST

START_TEST(each_limit_is_held_against_what_it_takes)
{
	text("[limits]\nconnections = 11\nsessions = 12\nspaces = 6\nopens = 400\n"
	     "windows = 13\nleases = 800\nchannels = 900\ncaches = 200\nrights = 900\n");
	flag("limits.descriptors", "10");
	flag("limits.metadata", "90K");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_uint_eq(settings.n_errors, 10);
	for (uint32_t i = 0; i < 10; i++) {
		static const char *const said[] = {
			("f:2:15: limits.connections = 11 contradicts "
			 "limits.descriptors = 10 (--limits.descriptors)"),
			"f:3:12: limits.sessions = 12 contradicts limits.descriptors = 10",
			("f:3:12: limits.sessions = 12 contradicts limits.metadata = \"90K\" "
			 "(--limits.metadata): each session takes 8K; at most 11 is right"),
			"f:4:10: limits.spaces = 6 contradicts limits.metadata = \"90K\"",
			"f:5:9: limits.opens = 400 contradicts",
			"f:6:11: limits.windows = 13 contradicts",
			"f:7:10: limits.leases = 800 contradicts",
			"f:8:12: limits.channels = 900 contradicts",
			"f:9:10: limits.caches = 200 contradicts",
			"f:10:10: limits.rights = 900 contradicts",
		};

		ck_assert_msg(!strncmp(remark(i), said[i], strlen(said[i])), "%s", remark(i));
	}
}
END_TEST

START_TEST(what_nobody_said_gives_way)
{
	/* Built in: waiting 64; 0 stands for a quarter of what there is. */
	text("[limits]\nconnections = 32\ndescriptors = 32\nsessions = 0\nmetadata = 8192\n");
	ck_assert_int_eq(settings_finish(&settings), 0);
	ck_assert_uint_eq(settings.config.limits.waiting, 32);
	ck_assert_str_eq(origin("limits.waiting"), "built-in");
	flag("limits.waiting", "32");
	flag("limits.sessions", "1");
	ck_assert_int_eq(settings_finish(&settings), 0);
	flag("limits.waiting", "33");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
}
END_TEST

START_TEST(a_limit_that_lets_nobody_in_is_refused)
{
	text("[limits]\ndescriptors = 2\nmetadata = 8191\n");
	ck_assert_int_eq(settings_finish(&settings), SETTINGS_E_WRONG);
	ck_assert_uint_eq(settings.n_errors, 2);
	ck_assert_str_eq(remark(0),
			 "f:2:15: limits.descriptors = 2 lets nobody in: one session "
			 "takes its connection, its process, its ring; at least 3 is "
			 "wanted, or 0 for the default");
	ck_assert_ptr_nonnull(strstr(remark(1), "at least 8192 is wanted"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, every_default_is_a_value_that_its_key_takes);
	tcase_add_test(t, names_are_found_and_differ);
	tcase_add_test(t, the_nearest_key_is_what_was_meant);
	tcase_add_test(t, a_size_is_bytes_or_has_a_unit);
	tcase_add_test(t, a_count_is_a_number_and_no_string);
	tcase_add_test(t, a_bool_is_true_or_false_alone);
	tcase_add_test(t, a_choice_is_one_of_its_words);
	tcase_add_test(t, a_text_has_its_length_and_no_control_characters);
	tcase_add_test(t, a_time_has_a_unit);
	tcase_add_test(t, a_mode_is_octal);
	tcase_add_test(t, a_set_is_numbers_and_ranges);
	tcase_add_test(t, a_flag_wins_over_the_environment_and_that_over_what_is_built_in);
	tcase_add_test(t, a_long_variable_wins_over_its_short_name_and_an_empty_one_is_none);
	tcase_add_test(t, all_that_is_wrong_is_said_at_once_and_where);
	tcase_add_test(t, only_a_variable_that_looks_like_a_misspelt_key_is_warned_of);
	tcase_add_test(t, more_errors_than_are_remembered_are_counted);
	tcase_add_test(t, what_cannot_be_read_for_want_of_descriptors_is_not_wrong);
	tcase_add_test(t, sizes_of_nodes_make_the_size_and_contradict_another);
	tcase_add_test(t, parts_of_a_region_that_make_no_sense_are_refused);
	tcase_add_test(t, a_part_above_its_whole_is_refused_with_both_places);
	tcase_add_test(t, each_limit_is_held_against_what_it_takes);
	tcase_add_test(t, what_nobody_said_gives_way);
	tcase_add_test(t, a_limit_that_lets_nobody_in_is_refused);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
