/*
 * What a stranger wrote in Python after proto/README.md, a C client reads.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/varbos.h>

#include "tests/integration/daemon.h"
#include "tests/suite.h"

enum {
	WRITTEN = 1 << 20, /* byte i is i % 251 */
};

START_TEST(what_a_stranger_wrote_in_python_is_read_in_c)
{
	const struct varbos_space_options reader = {.flags = VARBOS_SPACE_READ_ONLY |
							     VARBOS_SPACE_EXISTING};
	const char *script = getenv("STRANGER");
	int said[2], told[2], status;
	struct varbos_space *space;
	struct test_daemon daemon;
	const unsigned char *data;
	struct varbos *vb;
	char line[64] = "";
	FILE *from;
	pid_t pid;

	ck_assert_ptr_nonnull(script);
	test_daemon_start(&daemon, "16M", NULL);
	ck_assert(!pipe(said) && !pipe(told));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		dup2(told[0], STDIN_FILENO);
		dup2(said[1], STDOUT_FILENO);
		close(told[1]);
		execl("/usr/bin/python3", "python3", script, daemon.socket, "meeting", NULL);
		_exit(127);
	}
	close(said[1]);
	close(told[0]);
	from = fdopen(said[0], "r");
	ck_assert(from && fgets(line, sizeof(line), from));

	ck_assert_msg(!varbos_connect(&vb, daemon.socket), "%s", varbos_error()->message);
	ck_assert_msg(!varbos_space_open(&space, vb, "meeting", &reader), "%s",
		      varbos_error()->message);
	data = varbos_ref_get(space, strtoull(line, NULL, 16));
	ck_assert_msg(data, "%s", varbos_error()->message);
	for (size_t i = 0; i < WRITTEN; i++)
		ck_assert_uint_eq(data[i], i % 251);
	ck_assert_uint_eq(varbos_usable_size(space, data), WRITTEN);

	ck_assert_int_eq(write(told[1], "\n", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
	ck_assert_uint_eq(data[1], 1); /* it was shared: it outlives its writer */
	varbos_disconnect(vb);
	fclose(from);
	close(told[1]);
	test_daemon_stop(&daemon);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stranger");
	TCase *t = tcase_create("stranger");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_a_stranger_wrote_in_python_is_read_in_c);
	suite_add_tcase(s, t);
	return suite_run(s);
}
