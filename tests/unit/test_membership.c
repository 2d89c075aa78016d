#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/membership.h"
#include "tests/suite.h"

static char path[] = "/tmp/varbos-membership-XXXXXX";
static char hint[MEMBERSHIP_TEXT_MAX];

static void setup(void)
{
	_cleanup_(closep) int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
}

static void teardown(void)
{
	unlink(path);
	strcpy(path + sizeof(path) - sizeof("XXXXXX"), "XXXXXX");
}

START_TEST(who_is_not_in_the_group_is_told_the_command)
{
	if (geteuid()) {
		fprintf(stderr, "SKIPPED: giving a file to another group needs root\n");
		return;
	}
	/* Group 1 is `daemon` since the first of them. */
	ck_assert_int_eq(chown(path, (uid_t)-1, 1), 0);
	ck_assert_int_eq(chmod(path, 0660), 0);
	membership_hint(hint, sizeof(hint), path);
	ck_assert_str_eq(hint, "; its group may: usermod -aG daemon root, and log in again");
}
END_TEST

START_TEST(who_is_in_the_group_or_faces_one_without_rights_is_told_nothing)
{
	ck_assert_int_eq(chmod(path, 0060), 0);
	ck_assert_str_eq(membership_hint(hint, sizeof(hint), path), "");
	if (!geteuid()) {
		ck_assert_int_eq(chown(path, (uid_t)-1, 1), 0);
		ck_assert_int_eq(chmod(path, 0600), 0);
		ck_assert_str_eq(membership_hint(hint, sizeof(hint), path), "");
	}
}
END_TEST

START_TEST(a_file_that_is_not_there_or_a_group_without_a_name_gives_no_advice)
{
	ck_assert_str_eq(membership_hint(hint, sizeof(hint), "/nonexistent/socket"), "");
	if (!geteuid()) {
		ck_assert_int_eq(chown(path, (uid_t)-1, 3999999), 0);
		ck_assert_int_eq(chmod(path, 0660), 0);
		ck_assert_str_eq(membership_hint(hint, sizeof(hint), path), "");
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("membership");
	TCase *tests = tcase_create("membership");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, who_is_not_in_the_group_is_told_the_command);
	tcase_add_test(tests, who_is_in_the_group_or_faces_one_without_rights_is_told_nothing);
	tcase_add_test(tests,
		       a_file_that_is_not_there_or_a_group_without_a_name_gives_no_advice);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
