/*
 * The library and the daemon, as a program meets them.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/integration/joined.h"
#include "tests/sanitized.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)
#define SLICE ((size_t)64 << 10)

/* ---- memory ---- */

START_TEST(a_refusal_says_by_how_much)
{
	const struct varbos_error *error = varbos_error();
	struct varbos_space *other;
	void *held;

	expect_null(varbos_alloc(space, 33 * MIB), VARBOS_E_TOO_LARGE, NULL);
	ck_assert_uint_eq(error->requested, 33 * MIB);
	ck_assert_uint_gt(error->max, 0);
	expect_null(varbos_alloc(space, SIZE_MAX), VARBOS_E_TOO_LARGE, NULL);
	expect_null(varbos_alloc_shared(space, SIZE_MAX / 2), VARBOS_E_TOO_LARGE, NULL);

	held = varbos_alloc(space, 20 * MIB);
	ck_assert_ptr_nonnull(held);
	expect_null(varbos_alloc(space, 16 * MIB), VARBOS_E_BUDGET, NULL);
	ck_assert_uint_eq(error->requested, 16 * MIB);
	ck_assert_uint_lt(error->remaining, 16 * MIB);
	ck_assert_ptr_nonnull(strstr(error->message, "varbos_alloc: 16 MiB asked, "));
	ck_assert_ptr_nonnull(strstr(error->message, error->which));
	ck_assert_int_eq(varbos_free(space, held), 0);
	held = varbos_alloc(space, 16 * MIB);
	ck_assert_ptr_nonnull(held);
	ck_assert_int_eq(varbos_free(space, held), 0);

	expect(varbos_space_open(&other, vb, "vast",
				 &(struct varbos_space_options){.limit = (uint64_t)1 << 50}),
	       VARBOS_E_BUDGET, NULL);
}
END_TEST

START_TEST(sizes_are_rounded_up_and_all_of_them_can_be_used)
{
	static const struct {
		size_t size, usable;
	} sizes[] = {{0, 64},          {1, 64},           {64, 64},       {65, 128},
		     {600, 640},       {65536, 65536},    {65537, 81920}, {262144, 262144},
		     {262145, 327680}, {1000000, 1048576}};
	char *memory;
	size_t usable;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		memory = varbos_alloc(space, sizes[i].size);
		ck_assert_ptr_nonnull(memory);
		usable = varbos_usable_size(space, memory);
		ck_assert_uint_eq(usable, sizes[i].usable);
		memset(memory, 0x5a, usable);
		ck_assert_ptr_eq(
			varbos_ref_get(space, varbos_ref_of(space, memory + usable - 1)),
			memory + usable - 1);
	}
}
END_TEST

START_TEST(private_memory_is_freed_by_its_owner_only_and_dies_with_it)
{
	struct varbos_space *others;
	struct varbos *other;
	char *mine, *shared, *seen;
	varbos_ref ref, shared_ref;

	others = open_other(&other, "s", 0);
	mine = varbos_alloc(others, MIB);
	shared = varbos_alloc_shared(others, MIB);
	*mine = 'm';
	*shared = 's';
	ref = varbos_ref_of(others, mine);
	shared_ref = varbos_send(others, shared, VARBOS_ANYONE);
	seen = varbos_ref_get(space, ref);
	ck_assert_int_eq(*seen, 'm');
	expect(varbos_free(space, seen), VARBOS_E_REFERENCE, "not-owner");
	ck_assert_uint_eq(info_of("s").used, 2 * MIB);

	varbos_disconnect(other);
	expect_null(varbos_ref_get(space, ref), VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(info_of("s").used, MIB);
	seen = varbos_receive(space, shared_ref);
	ck_assert_int_eq(*seen, 's');
	ck_assert_int_eq(varbos_free(space, seen), 0);
	ck_assert_uint_eq(info_of("s").used, 0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(of_two_members_who_free_at_once_the_holder_may)
{
	struct varbos_space *others;
	struct varbos *other;
	char *memory, *seen;

	others = open_other(&other, "s", 0);
	memory = varbos_alloc_shared(space, MIB);
	seen = varbos_ref_get(others, varbos_ref_of(space, memory));
	ck_assert_uint_ne(varbos_self(others), 0);
	kill(daemon_.pid, SIGSTOP); /* nobody is asked */
	expect(varbos_free(others, seen), VARBOS_E_REFERENCE, "not-owner");
	ck_assert_int_eq(varbos_free(space, memory), 0);
	expect(varbos_free(others, seen), VARBOS_E_REFERENCE, "freed");
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "freed");
	kill(daemon_.pid, SIGCONT);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(varbos_frees_refused(vb) + varbos_frees_refused(other), 0);
	ck_assert_uint_eq(info_of("s").used, 0);
	varbos_disconnect(other);
}
END_TEST

START_TEST(a_double_free_is_refused_whether_the_daemon_has_seen_the_first_or_not)
{
	char *memory = varbos_alloc(space, MIB);

	ck_assert_int_eq(varbos_free(space, memory), 0);
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "freed");
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(more_frees_than_a_socket_holds_need_no_answer)
{
	enum { ROUNDS = 2000 };

	for (int i = 0; i < ROUNDS; i++) {
		void *memory = varbos_alloc(space, MIB);

		ck_assert_ptr_nonnull(memory);
		ck_assert_int_eq(varbos_free(space, memory), 0);
	}
	ck_assert_uint_eq(info_of("s").used, 0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

/* Random sizes, checked contents, many threads: what each holds is its own. */

enum { STORM_THREADS = 4, STORM_HELD = 16, STORM_ROUNDS = 400 };

static uint64_t seed;

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(*state >> 33);
}

static void *storm(void *userdata)
{
	struct {
		unsigned char *memory;
		size_t size;
		unsigned char mark;
	} held[STORM_HELD] = {};
	uint64_t state = seed + (uintptr_t)userdata;
	const char *failure = NULL;

	for (int i = 0; i < STORM_ROUNDS && !failure; i++) {
		uint32_t at = next_random(&state) % STORM_HELD;
		size_t size = next_random(&state) % (4 * SLICE) + 1;
		bool shared = next_random(&state) & 1;

		if (held[at].memory) {
			if (held[at].memory[0] != held[at].mark ||
			    held[at].memory[held[at].size - 1] != held[at].mark)
				failure = "another's bytes";
			else if (varbos_free(space, held[at].memory))
				failure = strdup(varbos_error()->message);
		}
		held[at].memory =
			shared ? varbos_alloc_shared(space, size) : varbos_alloc(space, size);
		held[at].size = size;
		held[at].mark = (unsigned char)next_random(&state);
		if (held[at].memory)
			memset(held[at].memory, held[at].mark, size);
		else if (!failure)
			failure = strdup(varbos_error()->message);
	}
	for (int i = 0; i < STORM_HELD; i++)
		if (varbos_free(space, held[i].memory) && !failure)
			failure = "the last frees";
	return (void *)(uintptr_t)failure;
}

START_TEST(threads_that_allocate_at_random_hold_what_is_theirs)
{
	const char *given = getenv("VARBOS_SEED");
	pthread_t threads[STORM_THREADS];
	void *failure;

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("VARBOS_SEED=%llu\n", (unsigned long long)seed);
	for (uintptr_t i = 0; i < STORM_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, storm, (void *)i), 0);
	for (int i = 0; i < STORM_THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failure), 0);
		ck_assert_msg(!failure, "%s", (char *)failure);
	}
	ck_assert_int_eq(varbos_trim(space), 0);
	ck_assert_uint_eq(info_of("s").used, 0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

/* ---- connections ---- */

START_TEST(without_a_daemon_the_error_names_what_was_tried)
{
	char path[200], longer[300] = {};
	struct varbos *other = NULL;

	memset(longer, 'p', sizeof(longer) - 1);
	expect(varbos_connect(&other, longer), VARBOS_E_INVALID, "path");
	expect(varbos_connect(&other, ""), VARBOS_E_INVALID, "path");
	snprintf(path, sizeof(path), "%s/none", daemon_.folder);
	expect(varbos_connect(&other, path), VARBOS_E_UNAVAILABLE, "socket");
	ck_assert_int_eq(varbos_error()->system_errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, path));

	unsetenv("VARBOS_SOCKET");
	setenv("XDG_RUNTIME_DIR", daemon_.folder, 1);
	snprintf(path, sizeof(path), "%s/varbos/varbos.sock", daemon_.folder);
	if (access("/run/varbos/varbos.sock", F_OK) < 0) {
		expect(varbos_connect(&other, NULL), VARBOS_E_UNAVAILABLE, "socket");
		ck_assert_ptr_nonnull(strstr(varbos_error()->message, path));
		ck_assert_ptr_nonnull(
			strstr(varbos_error()->message, "/run/varbos/varbos.sock"));
	}
	setenv("VARBOS_SOCKET", daemon_.socket, 1);
	ck_assert_int_eq(varbos_connect(&other, NULL), 0);
	ck_assert_str_eq(varbos_socket(other), daemon_.socket);
	varbos_disconnect(other);
}
END_TEST

START_TEST(the_users_own_daemon_is_found_without_being_told)
{
	struct varbos *other;
	char path[200];

	snprintf(path, sizeof(path), "%s/varbos", daemon_.folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	strcat(path, "/varbos.sock");
	ck_assert_int_eq(symlink(daemon_.socket, path), 0);
	unsetenv("VARBOS_SOCKET");
	setenv("XDG_RUNTIME_DIR", daemon_.folder, 1);
	ck_assert_int_eq(varbos_connect(&other, NULL), 0);
	ck_assert_str_eq(varbos_socket(other), path);
	varbos_disconnect(other);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}
END_TEST

START_TEST(when_the_daemon_is_gone_memory_and_references_stay)
{
	char *memory = varbos_alloc(space, MIB), *block = varbos_alloc(space, 100);
	varbos_ref ref = varbos_ref_of(space, memory);

	*memory = 'k';
	varbos_set_reconnect(vb, 20);
	test_daemon_kill(&daemon_);
	expect(varbos_ping(vb, NULL), VARBOS_E_UNAVAILABLE, NULL);
	expect_null(varbos_alloc(space, MIB), VARBOS_E_UNAVAILABLE, NULL);
	ck_assert_ptr_eq(varbos_ref_get(space, ref), memory);
	ck_assert_int_eq(*memory, 'k');
	/* Kept, to be told the daemon if it comes back; as far as it knows, it is not free. */
	ck_assert_int_eq(varbos_free(space, memory), 0);
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "freed");

	/* What is leased already needs no daemon. */
	ck_assert_int_eq(varbos_free(space, block), 0);
	for (size_t i = 0; i < SLICE / 128; i++)
		ck_assert_ptr_nonnull(varbos_alloc(space, 100));
	expect_null(varbos_alloc(space, 100), VARBOS_E_UNAVAILABLE, NULL);
}
END_TEST

START_TEST(a_null_that_is_not_fine_is_refused_by_name)
{
	struct varbos_space_info *infos = NULL;
	struct varbos_space *other = NULL;
	char byte = 0;
	size_t n = 0;

	expect(varbos_connect(NULL, daemon_.socket), VARBOS_E_INVALID, "ret");
	expect(varbos_connect_private(NULL, NULL), VARBOS_E_INVALID, "ret");
	expect_null(varbos_socket(NULL), VARBOS_E_INVALID, "vb");
	expect(varbos_ping(NULL, NULL), VARBOS_E_INVALID, "vb");
	expect(varbos_space_open(NULL, vb, "fresh", NULL), VARBOS_E_INVALID, "ret");
	expect(varbos_space_open(&other, NULL, "fresh", NULL), VARBOS_E_INVALID, "vb");
	expect(varbos_space_open(&other, vb, NULL, NULL), VARBOS_E_INVALID, "name");
	expect(varbos_space_list(NULL, &infos, &n), VARBOS_E_INVALID, "vb");
	expect(varbos_space_list(vb, NULL, &n), VARBOS_E_INVALID, "ret");
	expect(varbos_space_list(vb, &infos, NULL), VARBOS_E_INVALID, "ret_count");
	expect(varbos_space_remove(NULL, "fresh", 0), VARBOS_E_INVALID, "vb");
	expect(varbos_space_remove(vb, NULL, 0), VARBOS_E_INVALID, "name");
	expect_null(varbos_alloc(NULL, 1), VARBOS_E_INVALID, "space");
	expect_null(varbos_alloc_shared(NULL, 1), VARBOS_E_INVALID, "space");
	expect(varbos_free(NULL, &byte), VARBOS_E_INVALID, "space");
	ck_assert_uint_eq(varbos_ref_of(NULL, &byte), 0);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "space");
	expect_null(varbos_ref_get(NULL, 1), VARBOS_E_INVALID, "space");
	varbos_free(space, &byte); /* another failure, to tell the next from the last */
	ck_assert_uint_eq(varbos_usable_size(NULL, &byte), 0);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "space");
	varbos_free(space, &byte);
	ck_assert_uint_eq(varbos_frees_refused(NULL), 0);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "vb");
	ck_assert_ptr_null(other);
	ck_assert_ptr_null(infos);

	ck_assert_int_eq(varbos_free(NULL, NULL), 0);
	varbos_space_close(NULL);
	varbos_disconnect(NULL);
	varbos_free(space, &byte);
	ck_assert_uint_eq(varbos_ref_of(space, NULL), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "foreign");
}
END_TEST

START_TEST(a_daemon_that_is_stopped_is_waited_for_as_long_as_was_set)
{
	struct varbos *other = NULL;

	ck_assert_int_eq(kill(daemon_.pid, SIGSTOP), 0);
	ck_assert_int_eq(varbos_set_timeout(vb, 70), 0);
	expect(varbos_ping(vb, NULL), VARBOS_E_TIMEOUT, NULL);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "within 70 ms"));
	ck_assert_int_eq(varbos_set_timeout(NULL, 80), 0);
	expect(varbos_connect(&other, daemon_.socket), VARBOS_E_TIMEOUT, NULL);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "within 80 ms"));
	expect(varbos_ping(vb, NULL), VARBOS_E_TIMEOUT, NULL);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "within 70 ms"));
	ck_assert_int_eq(kill(daemon_.pid, SIGCONT), 0);
	ck_assert_int_eq(varbos_set_timeout(NULL, 0), 0);
	ck_assert_int_eq(varbos_set_timeout(vb, 0), 0);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
}
END_TEST

START_TEST(a_ping_takes_some_time)
{
	uint64_t ns = 0;

	ck_assert_int_eq(varbos_ping(vb, &ns), 0);
	ck_assert_uint_gt(ns, 0);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
}
END_TEST

#if !UNDER_ASAN && !UNDER_TSAN
START_TEST(where_address_space_is_short_a_space_makes_do)
{
	const struct rlimit limit = {.rlim_cur = (rlim_t)100 << 30,
				     .rlim_max = (rlim_t)100 << 30};
	struct varbos_space *other = NULL;

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit),
			 0); /* the first space has more already */
	expect(varbos_space_open(&other, vb, "asking",
				 &(struct varbos_space_options){.windows = 9}),
	       VARBOS_E_SYSTEM, NULL);
	ck_assert_int_eq(varbos_error()->system_errno, ENOMEM);
	ck_assert_str_eq(info_of("asking").name, ""); /* and has not been created */
	varbos_space_close(space);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	ck_assert_ptr_nonnull(varbos_alloc(space, MIB));
}
END_TEST

/* From here on any other system call than these kills the process. */
static void allow_only_sending_and_receiving(void)
{
	static const int allowed[] = {SYS_sendto, SYS_recvmsg, SYS_exit_group};
	struct sock_filter filter[2 * ARRAY_SIZE(allowed) + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	size_t n = 1;

	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							   (uint32_t)allowed[i], 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
		  &(struct sock_fprog){.len = (unsigned short)n, .filter = filter}))
		_exit(2);
}

START_TEST(a_lone_thread_only_sends_and_receives)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		void *memory =
			varbos_alloc(space, MIB); /* warm: connected, mapped, malloc filled */

		varbos_free(space, memory);
		varbos_ping(vb, NULL);
		allow_only_sending_and_receiving();
		for (int i = 0; i < 100; i++)
			if (varbos_ping(vb, NULL) || !(memory = varbos_alloc(space, MIB)) ||
			    varbos_free(space, memory))
				_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
}
END_TEST
#endif

static Suite *suite(void)
{
	Suite *s = suite_create("client");
	TCase *memory = tcase_create("memory"), *connections = tcase_create("connections");

	tcase_add_checked_fixture(memory, set_up, tear_down);
	tcase_set_timeout(memory, 120);
	tcase_add_test(memory, a_refusal_says_by_how_much);
	tcase_add_test(memory, sizes_are_rounded_up_and_all_of_them_can_be_used);
	tcase_add_test(memory, private_memory_is_freed_by_its_owner_only_and_dies_with_it);
	tcase_add_test(memory, of_two_members_who_free_at_once_the_holder_may);
	tcase_add_test(memory,
		       a_double_free_is_refused_whether_the_daemon_has_seen_the_first_or_not);
	tcase_add_test(memory, more_frees_than_a_socket_holds_need_no_answer);
	tcase_add_test(memory, threads_that_allocate_at_random_hold_what_is_theirs);
	suite_add_tcase(s, memory);

	tcase_add_checked_fixture(connections, set_up, tear_down);
	tcase_set_timeout(connections, 120);
	tcase_add_test(connections, without_a_daemon_the_error_names_what_was_tried);
	tcase_add_test(connections, the_users_own_daemon_is_found_without_being_told);
	tcase_add_test(connections, when_the_daemon_is_gone_memory_and_references_stay);
	tcase_add_test(connections, a_null_that_is_not_fine_is_refused_by_name);
	tcase_add_test(connections, a_daemon_that_is_stopped_is_waited_for_as_long_as_was_set);
	tcase_add_test(connections, a_ping_takes_some_time);
#if !UNDER_ASAN && !UNDER_TSAN
	tcase_add_test(connections, where_address_space_is_short_a_space_makes_do);
	tcase_add_test(connections, a_lone_thread_only_sends_and_receives);
#endif
	suite_add_tcase(s, connections);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
