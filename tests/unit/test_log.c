/*
 * The log: one event is one line, whatever is in it.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/server/log.h"
#include "tests/suite.h"

static char said[8192];

/* What is written to standard error meanwhile, into `said`. */
static void capture(void (*body)(void), bool as_journal)
{
	int pipe_fds[2], before = dup(STDERR_FILENO);
	char stream[64] = "1:1";
	struct stat st;
	ssize_t n;

	ck_assert(!pipe(pipe_fds));
	ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	ck_assert(!fstat(STDERR_FILENO, &st));
	if (as_journal)
		snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open();
	body();
	ck_assert_int_eq(dup2(before, STDERR_FILENO), STDERR_FILENO);
	n = read(pipe_fds[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(before);
}

static void forge(void)
{
	log_notice("space 7 (%s): gone", "a\n<0>varbosd: error: forged\r\x1b[31m\x7f");
}

static void forge_c1(void)
{
	log_notice("space %s", "\xc2\x9b" /* CSI, in UTF-8 */);
	log_notice("space %s", "\xff\xfe");
	log_notice("space %s", "caf\xc3\xa9");
}

static void long_line(void)
{
	char text[4000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error("%s", text);
}

static void each_level(void)
{
	log_error("e");
	log_warning("w");
	log_notice("n");
	log_info("i");
}

START_TEST(what_a_client_is_called_begins_no_line)
{
	capture(forge, true);
	ck_assert_str_eq(said, "<5>space 7 (a?<0>varbosd: error: forged??[31m?): gone\n");
	capture(forge, false);
	ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
}
END_TEST

START_TEST(what_is_no_text_is_made_one_and_what_is_stays)
{
	capture(forge_c1, true);
	ck_assert_str_eq(said, "<5>space ??\n<5>space ??\n<5>space caf\xc3\xa9\n");
}
END_TEST

START_TEST(a_long_line_is_cut_and_ends)
{
	capture(long_line, true);
	ck_assert_uint_le(strlen(said), 1024);
	ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
}
END_TEST

START_TEST(the_level_is_a_number_for_the_journal_alone)
{
	capture(each_level, true);
	ck_assert_str_eq(said, "<3>e\n<4>w\n<5>n\n<6>i\n");
	capture(each_level, false);
	ck_assert_ptr_eq(strstr(said, "varbosd: error: e\nvarbosd: warning: w\n"), said);
	log_limit(LOG_LEVEL_WARNING);
	capture(each_level, true);
	ck_assert_str_eq(said, "<3>e\n<4>w\n");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_test(t, what_a_client_is_called_begins_no_line);
	tcase_add_test(t, what_is_no_text_is_made_one_and_what_is_stays);
	tcase_add_test(t, a_long_line_is_cut_and_ends);
	tcase_add_test(t, the_level_is_a_number_for_the_journal_alone);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
