/*
 * The library of an installation finds the daemon of that installation.
 *
 * This program carries a private.o of its own, whose sbindir is where the daemon was built.
 */
#include <check.h>
#include <stdlib.h>

#include <varbos/varbos.h>

#include "tests/suite.h"

START_TEST(what_is_in_no_path_is_found_where_it_was_installed)
{
	const struct varbos_private_options options = {.size = 4 << 20, .pages = "4K"};
	struct varbos *vb;

	unsetenv("VARBOS_DAEMON");
	setenv("PATH", "/nowhere", 1);
	ck_assert_msg(!varbos_connect_private(&vb, &options), "%s", varbos_error()->message);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	varbos_disconnect(vb);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sbindir");
	TCase *t = tcase_create("sbindir");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_is_in_no_path_is_found_where_it_was_installed);
	suite_add_tcase(s, t);
	return suite_run(s);
}
