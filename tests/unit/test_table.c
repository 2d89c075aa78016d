#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "client/ctl/table.h"
#include "client/ctl/text.h"
#include "tests/suite.h"

struct line {
	char name[8];
	uint32_t mode;
	uint64_t used, took_ns, up_ms;
	bool gone;
};

static const struct table_column columns[] = {
	TABLE_COLUMN(struct line, name, "NAME", "name", SHOW_TEXT),
	TABLE_COLUMN(struct line, mode, NULL, "mode", SHOW_MODE),
	TABLE_COLUMN(struct line, used, "USED", "used", SHOW_BYTES),
	TABLE_COLUMN(struct line, took_ns, "TOOK", "took_ns", SHOW_NS),
	TABLE_COLUMN(struct line, up_ms, "UP", "up_ms", SHOW_MS),
	TABLE_COLUMN(struct line, gone, "GONE", "gone", SHOW_YES_NO),
};

static const struct line lines[] = {
	{"a", 0640, 42991616, 12345, 59999, false},
	{"bcdefgh!", 0600, 0, 999, 183904000, true}, /* no room for a terminator */
};

static char *page_text(enum table_form form, bool bold, const struct line *rows, size_t n_rows,
		       bool record)
{
	struct table_page page;
	size_t size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(out);
	table_page_begin(&page, out, form, bold);
	table_rows(&page, "lines", columns, ARRAY_SIZE(columns), rows, n_rows, sizeof(*rows));
	if (record)
		table_record(&page, "one", columns, ARRAY_SIZE(columns), rows);
	table_page_end(&page);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

START_TEST(on_a_terminal_columns_are_aligned_and_numbers_stand_right)
{
	_cleanup_(freep) char *text = page_text(TABLE_TERMINAL, false, lines, 2, false);

	ck_assert_str_eq(text, "NAME        USED     TOOK            UP  GONE\n"
			       "a         41 MiB  12.3 us        59.9 s  no\n"
			       "bcdefgh!     0 B   999 ns  2 d 03:05:04  yes\n");
}
END_TEST

START_TEST(a_header_is_bold_only_where_asked_and_only_on_a_terminal)
{
	_cleanup_(freep) char *bold = page_text(TABLE_TERMINAL, true, lines, 1, false);
	_cleanup_(freep) char *plain = page_text(TABLE_PLAIN, true, lines, 1, false);

	ck_assert_int_eq(strncmp(bold, "\033[1mNAME", 8), 0);
	ck_assert_ptr_null(strchr(plain, '\033'));
}
END_TEST

START_TEST(in_a_pipe_fields_stand_between_tabs_with_their_numbers_in_full)
{
	_cleanup_(freep) char *text = page_text(TABLE_PLAIN, false, lines, 2, true);

	ck_assert_str_eq(text, "NAME\tUSED\tTOOK\tUP\tGONE\n"
			       "a\t42991616\t12345\t59999\tno\n"
			       "bcdefgh!\t0\t999\t183904000\tyes\n"
			       "\n"
			       "NAME\ta\n"
			       "USED\t42991616\n"
			       "TOOK\t12345\n"
			       "UP\t59999\n"
			       "GONE\tno\n");
}
END_TEST

START_TEST(json_has_every_column_and_one_object_a_page)
{
	_cleanup_(freep) char *text = page_text(TABLE_JSON, false, lines, 1, true);
	const char *object = "{\"name\":\"a\",\"mode\":\"0640\",\"used\":42991616,"
			     "\"took_ns\":12345,\"up_ms\":59999,\"gone\":false}";
	char expected[512];

	snprintf(expected, sizeof(expected), "{\"lines\":[%s],\"one\":%s}\n", object, object);
	ck_assert_str_eq(text, expected);
}
END_TEST

START_TEST(without_rows_a_table_still_has_its_header)
{
	_cleanup_(freep) char *terminal = page_text(TABLE_TERMINAL, false, lines, 0, false);
	_cleanup_(freep) char *plain = page_text(TABLE_PLAIN, false, lines, 0, false);
	_cleanup_(freep) char *json = page_text(TABLE_JSON, false, lines, 0, false);

	ck_assert_str_eq(terminal, "NAME  USED  TOOK  UP  GONE\n");
	ck_assert_str_eq(plain, "NAME\tUSED\tTOOK\tUP\tGONE\n");
	ck_assert_str_eq(json, "{\"lines\":[]}\n");
}
END_TEST

START_TEST(a_nameless_record_is_the_page_itself_in_json)
{
	struct table_page page;
	size_t size = 0;
	_cleanup_(freep) char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	table_page_begin(&page, out, TABLE_JSON, false);
	table_record(&page, NULL, columns, 1, lines);
	table_page_end(&page);
	fclose(out);
	ck_assert_str_eq(text, "{\"name\":\"a\"}\n");
}
END_TEST

static char *printed(void (*print)(FILE *out, const char *data, size_t size), const char *data,
		     size_t length)
{
	size_t size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	print(out, data, length);
	fclose(out);
	return text;
}

START_TEST(hostile_bytes_reach_a_terminal_only_as_escapes)
{
	static const char hostile[] = "\033[2J\ta\\b\n\x7f\xc3\xa9\0";
	_cleanup_(freep) char *text = printed(text_print, hostile, sizeof(hostile) - 1);

	ck_assert_str_eq(text, "\\x1b[2J\\ta\\\\b\\n\\x7f\\xc3\\xa9\\x00");
	ck_assert_uint_eq(text_width(hostile, sizeof(hostile) - 1), strlen(text));
}
END_TEST

START_TEST(every_byte_alone_is_printed_as_ascii_as_wide_as_said)
{
	for (unsigned i = 0; i < 256; i++) {
		char byte = (char)i;
		_cleanup_(freep) char *text = printed(text_print, &byte, 1);
		_cleanup_(freep) char *json = printed(text_print_json, &byte, 1);

		ck_assert_uint_eq(strlen(text), text_width(&byte, 1));
		for (const char *at = text; *at; at++)
			ck_assert(*at >= 0x20 && *at < 0x7f);
		for (const char *at = json; *at; at++)
			ck_assert(*at >= 0x20 && *at < 0x7f);
	}
}
END_TEST

START_TEST(json_strings_keep_what_is_utf8_and_replace_what_is_not)
{
	static const struct {
		const char *bytes, *json;
	} cases[] = {
		{"plain", "\"plain\""},
		{"q\"b\\", "\"q\\\"b\\\\\""},
		{"\n\x1b\x7f", "\"\\u000a\\u001b\\u007f\""},
		{"\xc3\xa9\xe2\x82\xac", "\"\\u00e9\\u20ac\""},
		{"\xf0\x9f\x98\x80", "\"\\ud83d\\ude00\""},
		{"\xff-\xc3", "\"\\ufffd-\\ufffd\""},
		{"\xc0\xaf", "\"\\ufffd\\ufffd\""},                       /* overlong */
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* a surrogate */
		{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond Unicode */
		{"\xe2\x82", "\"\\ufffd\\ufffd\""},                       /* cut off */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *text =
			printed(text_print_json, cases[i].bytes, strlen(cases[i].bytes));

		ck_assert_str_eq(text, cases[i].json);
	}
}
END_TEST

struct part {
	char name[8];
	double share;
};

START_TEST(a_page_of_lines_is_an_object_a_row_and_ratios_are_rounded_for_people_only)
{
	static const struct table_column of_parts[] = {
		TABLE_COLUMN(struct part, name, "NAME", "name", SHOW_TEXT),
		TABLE_COLUMN(struct part, share, "SHARE", "share", SHOW_RATIO),
	};
	static const struct part parts[] = {{"half", 0.5}, {"third", 1.0 / 3}};
	static const char *const wanted[] = {
		[TABLE_TERMINAL] = "NAME    SHARE\nhalf   0.5000\nthird  0.3333\n",
		[TABLE_PLAIN] = "NAME\tSHARE\nhalf\t0.500000000\nthird\t0.333333333\n",
		[TABLE_JSON] = ("{\"name\":\"half\",\"share\":0.500000000}\n"
				"{\"name\":\"third\",\"share\":0.333333333}\n"),
	};

	for (unsigned form = TABLE_TERMINAL; form <= TABLE_JSON; form++) {
		struct table_page page;
		char text[256] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");

		table_page_begin(&page, out, (enum table_form)form, false);
		table_lines(&page, of_parts, ARRAY_SIZE(of_parts), parts, 2, sizeof(parts[0]));
		table_page_end(&page);
		ck_assert_int_eq(fclose(out), 0);
		ck_assert_str_eq(text, wanted[form]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table");
	TCase *tcase = tcase_create("table");

	tcase_add_test(tcase, on_a_terminal_columns_are_aligned_and_numbers_stand_right);
	tcase_add_test(tcase, a_header_is_bold_only_where_asked_and_only_on_a_terminal);
	tcase_add_test(tcase, in_a_pipe_fields_stand_between_tabs_with_their_numbers_in_full);
	tcase_add_test(tcase, json_has_every_column_and_one_object_a_page);
	tcase_add_test(tcase, without_rows_a_table_still_has_its_header);
	tcase_add_test(tcase, a_nameless_record_is_the_page_itself_in_json);
	tcase_add_test(tcase, hostile_bytes_reach_a_terminal_only_as_escapes);
	tcase_add_test(tcase, every_byte_alone_is_printed_as_ascii_as_wide_as_said);
	tcase_add_test(tcase, json_strings_keep_what_is_utf8_and_replace_what_is_not);
	tcase_add_test(
		tcase,
		a_page_of_lines_is_an_object_a_row_and_ratios_are_rounded_for_people_only);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
