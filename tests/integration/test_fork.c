/*
 * Forked children, and daemons that live as long as a family of processes.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/integration/joined.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum { WAIT_TRIES = 3000 /* of 10 ms */ };

/* In a child: what fails is its exit status' line. */
#define CHILD_EXPECT(what)                                                           \
	do {                                                                         \
		if (!(what)) {                                                       \
			fprintf(stderr, "child, line %d: %s: %s\n", __LINE__, #what, \
				varbos_error()->message);                            \
			_exit(1);                                                    \
		}                                                                    \
	} while (0)

static void expect_exit(pid_t pid, int expected)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == expected, "wait status 0x%x",
		      (unsigned)status);
}

static struct varbos_space_info info(void)
{
	struct varbos_space_info *infos, found;
	size_t n;

	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	ck_assert_uint_eq(n, 1);
	found = infos[0];
	free(infos);
	return found;
}

static void wait_used(uint64_t used)
{
	for (int i = 0; i < WAIT_TRIES && info().used != used; i++)
		usleep(10000);
	ck_assert_uint_eq(info().used, used);
}

START_TEST(a_child_reads_shared_memory_through_the_reference)
{
	char *memory = varbos_alloc_shared(space, MIB), *mine = varbos_alloc(space, MIB);
	varbos_ref ref = varbos_ref_of(space, memory), my_ref = varbos_ref_of(space, mine);
	pid_t pid;

	strcpy(memory, "from the parent");
	strcpy(mine, "a loan");
	pid = fork();
	if (!pid) {
		char *seen = varbos_ref_get(space, ref), *lent;

		CHILD_EXPECT(seen == memory); /* at the same address */
		CHILD_EXPECT(!strcmp(seen, "from the parent"));
		lent = varbos_ref_get(space, my_ref);
		CHILD_EXPECT(lent && !strcmp(lent, "a loan"));
		CHILD_EXPECT(varbos_free(space, lent) == VARBOS_E_REFERENCE);
		CHILD_EXPECT(!strcmp(varbos_error()->which, "not-owner"));
		strcpy(seen, "from the child");
		_exit(0);
	}
	expect_exit(pid, 0);
	ck_assert_str_eq(memory, "from the child");
	ck_assert_str_eq(mine, "a loan");
	ck_assert_int_eq(varbos_free(space, mine), 0);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(a_childs_private_memory_dies_with_it_and_what_it_sent_stays)
{
	varbos_ref *refs =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *memory;
	pid_t pid;

	pid = fork();
	if (!pid) {
		char *shared, *mine;

		CHILD_EXPECT((shared = varbos_alloc_shared(space, 2 * MIB)));
		CHILD_EXPECT((mine = varbos_alloc(space, 4 * MIB)));
		strcpy(shared, "an heirloom");
		memset(mine, 1, 4 * MIB);
		CHILD_EXPECT((refs[0] = varbos_send(space, shared, VARBOS_ANYONE)));
		refs[1] = varbos_ref_of(space, mine);
		_exit(0);
	}
	expect_exit(pid, 0);
	wait_used(2 * MIB);
	memory = varbos_receive(space, refs[0]);
	ck_assert_ptr_nonnull(memory);
	ck_assert_str_eq(memory, "an heirloom");
	ck_assert_ptr_null(varbos_ref_get(space, refs[1]));
	ck_assert_int_eq(varbos_free(space, memory), 0);
	wait_used(0);
}
END_TEST

START_TEST(a_child_that_does_nothing_or_disconnects_disturbs_no_one)
{
	char *memory = varbos_alloc(space, MIB);
	pid_t pid;

	memset(memory, 7, MIB);
	pid = fork();
	if (!pid)
		_exit(0);
	expect_exit(pid, 0);
	pid = fork();
	if (!pid) {
		varbos_space_close(space);
		varbos_disconnect(vb);
		_exit(0);
	}
	expect_exit(pid, 0);
	pid = fork();
	if (!pid) {
		CHILD_EXPECT(!varbos_ping(vb, NULL));
		varbos_disconnect(vb); /* with a space that it never used */
		_exit(0);
	}
	expect_exit(pid, 0);
	ck_assert_int_eq(memory[MIB - 1], 7);
	ck_assert_uint_eq(info().used, MIB);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_ptr_nonnull(varbos_alloc(space, MIB));
}
END_TEST

START_TEST(a_child_that_closed_every_descriptor_closes_none_of_its_own)
{
	pid_t pid = fork();

	if (!pid) {
		int fds[2];

		close_range(3, ~0U, 0);
		CHILD_EXPECT(!pipe(fds)); /* where the parent's socket was */
		CHILD_EXPECT(!varbos_ping(vb, NULL));
		CHILD_EXPECT(write(fds[1], "x", 1) == 1);
		_exit(0);
	}
	expect_exit(pid, 0);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
}
END_TEST

START_TEST(what_the_parent_had_mapped_is_not_there_in_the_child)
{
	char *memory = varbos_alloc_shared(space, 1);
	int status;
	pid_t pid;

	*memory = 1;
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)memory = 2;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(*memory, 1);
}
END_TEST

START_TEST(where_the_range_is_taken_the_child_gets_another)
{
	char *memory = varbos_alloc_shared(space, 1);
	varbos_ref ref = varbos_ref_of(space, memory);
	pid_t pid;

	*memory = 'r';
	pid = fork();
	if (!pid) {
		char *seen;

		CHILD_EXPECT(mmap(memory, 4096, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
				  0) == (void *)memory);
		CHILD_EXPECT((seen = varbos_ref_get(space, ref)));
		CHILD_EXPECT(seen != memory && *seen == 'r' && !*memory);
		_exit(0);
	}
	expect_exit(pid, 0);
}
END_TEST

START_TEST(grandchildren_connect_on_their_own)
{
	char *memory = varbos_alloc_shared(space, 1);
	varbos_ref ref = varbos_ref_of(space, memory);
	pid_t pid;

	*memory = 0;
	pid = fork();
	if (!pid) {
		char *seen;
		int status = 1;

		CHILD_EXPECT((seen = varbos_ref_get(space, ref)));
		++*seen;
		if (!fork()) {
			CHILD_EXPECT((seen = varbos_ref_get(space, ref)));
			++*seen;
			CHILD_EXPECT(varbos_alloc(space, MIB));
			_exit(0);
		}
		wait(&status);
		CHILD_EXPECT(!status && *seen == 2 && !varbos_ping(vb, NULL));
		_exit(0);
	}
	expect_exit(pid, 0);
	ck_assert_int_eq(*memory, 2);
}
END_TEST

START_TEST(a_space_that_is_gone_fails_in_the_child_by_name)
{
	pid_t pid;

	ck_assert_int_eq(varbos_space_remove(vb, "s", 1), 0);
	pid = fork();
	if (!pid) {
		CHILD_EXPECT(!varbos_alloc(space, 1));
		CHILD_EXPECT(varbos_error()->code == VARBOS_E_NOT_FOUND);
		CHILD_EXPECT(!varbos_ping(vb, NULL));
		_exit(0);
	}
	expect_exit(pid, 0);
	ck_assert_ptr_nonnull(varbos_alloc(space, 1));
}
END_TEST

/* ---- forking amid threads that are inside the library ---- */

enum { THREADS = 3, FORKS = 40 };

static _Atomic bool enough;

static void *keep_busy(void *unused)
{
	struct varbos_space *again;

	while (!enough) {
		char *memory = varbos_alloc(space, MIB), *block = varbos_alloc(space, 1);

		if (!memory || varbos_free(space, memory) || varbos_free(space, block) ||
		    varbos_space_open(&again, vb, "s", NULL))
			return strdup(varbos_error()->message);
		varbos_space_close(again);
	}
	return unused;
}

START_TEST(no_lock_that_another_thread_held_stops_a_child)
{
	pthread_t threads[THREADS];
	void *failure;

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, keep_busy, NULL), 0);
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (!pid) {
			char *memory, *block;

			alarm(60);
			CHILD_EXPECT((memory = varbos_alloc(space, MIB)));
			CHILD_EXPECT((block = varbos_alloc(space, 1)));
			CHILD_EXPECT(!varbos_free(space, block));
			CHILD_EXPECT(!varbos_free(space, memory));
			_exit(0);
		}
		expect_exit(pid, 0);
	}
	enough = true;
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failure), 0);
		ck_assert_msg(!failure, "%s", (char *)failure);
	}
	ck_assert_int_eq(varbos_trim(space), 0); /* what the threads left */
	wait_used(0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

/* ---- private daemons ---- */

static struct varbos_private_options private_options(void)
{
	ck_assert_msg(getenv("VARBOSD"), "$VARBOSD does not say where varbosd is");
	return (struct varbos_private_options){
		.size = 16 * MIB, .daemon = getenv("VARBOSD"), .pages = "4K"};
}

static char *folder_of(const struct varbos *connection)
{
	char *folder = strdup(varbos_socket(connection));

	*strrchr(folder, '/') = '\0';
	return folder;
}

static void wait_gone(const char *path)
{
	for (int i = 0; i < WAIT_TRIES && !access(path, F_OK); i++)
		usleep(10000);
	ck_assert_msg(access(path, F_OK) < 0, "%s is still there", path);
}

START_TEST(a_private_daemon_serves_and_goes_without_a_trace)
{
	struct varbos_private_options options = private_options();
	struct varbos_space *own;
	struct varbos *mine, *second;
	struct stat st;
	char *folder;

	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	folder = folder_of(mine);
	ck_assert_int_eq(stat(folder, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(varbos_space_open(&own, mine, "own", NULL), 0);
	ck_assert_ptr_nonnull(varbos_alloc(own, MIB));
	ck_assert_int_eq(varbos_connect(&second, varbos_socket(mine)), 0);
	ck_assert_int_eq(varbos_ping(second, NULL), 0);
	varbos_disconnect(second);
	ck_assert_msg(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child was left");
	varbos_disconnect(mine);
	wait_gone(folder);
	free(folder);
}
END_TEST

START_TEST(a_private_daemon_outlives_its_starter_while_a_descendant_holds_on)
{
	struct varbos_private_options options = private_options();
	int to_child[2], from_child[2];
	struct varbos *mine;
	char *folder, byte;
	pid_t pid;

	ck_assert_int_eq(pipe(to_child), 0);
	ck_assert_int_eq(pipe(from_child), 0);
	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	folder = folder_of(mine);
	pid = fork();
	if (!pid) {
		CHILD_EXPECT(read(to_child[0], &byte, 1) == 1);
		CHILD_EXPECT(!varbos_ping(mine, NULL));
		CHILD_EXPECT(write(from_child[1], "", 1) == 1);
		CHILD_EXPECT(read(to_child[0], &byte, 1) == 1);
		_exit(0); /* no disconnect: the end of the process is enough */
	}
	varbos_disconnect(mine);
	ck_assert_int_eq(write(to_child[1], "", 1), 1);
	ck_assert_int_eq(read(from_child[0], &byte, 1), 1);
	ck_assert_int_eq(access(folder, F_OK), 0);
	ck_assert_int_eq(write(to_child[1], "", 1), 1);
	expect_exit(pid, 0);
	wait_gone(folder);
	free(folder);
}
END_TEST

START_TEST(a_private_daemon_that_cannot_start_says_why)
{
	struct varbos_private_options options = private_options();
	struct varbos *mine = NULL;

	options.daemon = "/nowhere/varbosd";
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "/nowhere/varbosd"));
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "No such file"));
	ck_assert_int_eq(varbos_error()->system_errno, ENOENT);

	options = private_options();
	options.size = (uint64_t)16 << 40; /* 16 TiB: the host comes first */
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_MEMORY);
	ck_assert_uint_eq(varbos_error()->requested, options.size);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "16 TiB"));
	options.size = 12345;
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_INVALID);
	ck_assert_str_eq(varbos_error()->which, "size");
	ck_assert_uint_eq(varbos_error()->requested, 12345);
	options = private_options();
	options.pages = "1G";
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_INVALID);
	ck_assert_str_eq(varbos_error()->which, "pages");
	options.pages = "4K";
	options.daemon = "/bin/true";
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "without a word"));

	options.daemon = NULL;
	unsetenv("VARBOS_DAEMON");
	setenv("PATH", "/nowhere", 1);
	ck_assert_int_eq(varbos_connect_private(&mine, &options), VARBOS_E_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "PATH"));
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "/sbin"));
	ck_assert_ptr_null(mine);
	ck_assert_msg(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child was left");
}
END_TEST

START_TEST(the_daemon_is_found_in_path_and_environment)
{
	char *program = strdup(getenv("VARBOSD")), *name = strrchr(program, '/');
	struct varbos_private_options options = private_options();
	struct varbos *mine;

	options.daemon = NULL;
	*name = '\0';
	setenv("PATH", program, 1);
	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	varbos_disconnect(mine);
	*name = '/';
	setenv("PATH", "/nowhere", 1);
	setenv("VARBOS_DAEMON", program, 1);
	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	varbos_disconnect(mine);
	free(program);
}
END_TEST

/* Who a socket's server is, by its credentials. */
static pid_t server_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct ucred peer = {};
	socklen_t size = sizeof(peer);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
	close(fd);
	return peer.pid;
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	FILE *file;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d (varbosd) %*c %d", &parent), 1);
	fclose(file);
	return parent;
}

START_TEST(a_killed_private_daemon_comes_back_and_goes_without_a_trace)
{
	struct varbos_private_options options = private_options();
	struct varbos *mine, *second;
	char *folder;
	pid_t former;

	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	folder = folder_of(mine);
	former = server_of(varbos_socket(mine));
	ck_assert_int_eq(kill(former, SIGKILL), 0);
	/* It waits in the backlog until there is a daemon again. */
	ck_assert_int_eq(varbos_connect(&second, varbos_socket(mine)), 0);
	ck_assert_int_eq(varbos_ping(second, NULL), 0);
	varbos_disconnect(second);
	ck_assert_int_ne(server_of(varbos_socket(mine)), former);
	varbos_disconnect(mine);
	wait_gone(folder);
	free(folder);
}
END_TEST

START_TEST(what_a_killed_private_daemon_left_goes_at_disconnect)
{
	struct varbos_private_options options = private_options();
	struct varbos *mine;
	char *folder;
	pid_t daemon;

	ck_assert_int_eq(varbos_connect_private(&mine, &options), 0);
	folder = folder_of(mine);
	daemon = server_of(varbos_socket(mine));
	/* Stopped, it starts no other keeper. */
	ck_assert_int_eq(kill(daemon, SIGSTOP), 0);
	ck_assert_int_eq(kill(parent_of(daemon), SIGKILL), 0);
	ck_assert_int_eq(kill(daemon, SIGKILL), 0);
	for (int i = 0; i < WAIT_TRIES && !varbos_ping(mine, NULL); i++)
		usleep(10000);
	ck_assert_int_eq(varbos_ping(mine, NULL), VARBOS_E_UNAVAILABLE);
	varbos_disconnect(mine);
	ck_assert_int_lt(access(folder, F_OK), 0);
	free(folder);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("fork");
	TCase *children = tcase_create("children"), *private = tcase_create("private");

	tcase_add_checked_fixture(children, set_up, tear_down);
	tcase_set_timeout(children, 30);
	tcase_add_test(children, a_child_reads_shared_memory_through_the_reference);
	tcase_add_test(children, a_childs_private_memory_dies_with_it_and_what_it_sent_stays);
	tcase_add_test(children, a_child_that_does_nothing_or_disconnects_disturbs_no_one);
	tcase_add_test(children, a_child_that_closed_every_descriptor_closes_none_of_its_own);
	tcase_add_test(children, what_the_parent_had_mapped_is_not_there_in_the_child);
	tcase_add_test(children, where_the_range_is_taken_the_child_gets_another);
	tcase_add_test(children, grandchildren_connect_on_their_own);
	tcase_add_test(children, a_space_that_is_gone_fails_in_the_child_by_name);
	tcase_add_test(children, no_lock_that_another_thread_held_stops_a_child);
	suite_add_tcase(s, children);

	tcase_set_timeout(private, 30);
	tcase_add_test(private, a_private_daemon_serves_and_goes_without_a_trace);
	tcase_add_test(private,
		       a_private_daemon_outlives_its_starter_while_a_descendant_holds_on);
	tcase_add_test(private, a_private_daemon_that_cannot_start_says_why);
	tcase_add_test(private, the_daemon_is_found_in_path_and_environment);
	tcase_add_test(private, a_killed_private_daemon_comes_back_and_goes_without_a_trace);
	tcase_add_test(private, what_a_killed_private_daemon_left_goes_at_disconnect);
	suite_add_tcase(s, private);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
