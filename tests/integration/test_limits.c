/*
 * Limits of one uid, from outside: what is refused, by which key, and what goes on; also after
 * a reload.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

enum {
	NOBODY = 65534,
	DEAF = 24,       /* connections that read nothing */
	VALUES = 400000, /* more than 4 MiB know of */
};

static struct test_daemon daemon_;
static struct peer root;
static int to_child[2], to_parent[2];

/* Other uids are to come in, whether there is a group for that or not. */
static void open_up(void)
{
	ck_assert(!chmod(daemon_.folder, 0755) && !chmod(daemon_.socket, 0666));
	peer_open(&root, daemon_.socket);
	ck_assert(!pipe(to_child) && !pipe(to_parent));
}

static void tear_down(void)
{
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(to_parent[i]);
	}
	peer_status(&root); /* it serves on */
	peer_close(&root);
	test_daemon_stop(&daemon_);
}

static pid_t start_as(uint32_t uid, int (*act)(void))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	peer_leave_check();
	alarm(60);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setgid(uid) || setuid(uid))
		_exit(100);
	_exit(act());
}

static void expect_done(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
}

static void as_nobody(int (*act)(void))
{
	expect_done(start_as(NOBODY, act));
}

static void tell(const int pair[2])
{
	if (write(pair[1], "x", 1) != 1)
		abort();
}

static void hear(const int pair[2])
{
	char byte;

	if (read(pair[0], &byte, 1) != 1)
		abort();
}

static struct wire_limit_row limit_row(const char *key)
{
	struct wire_daemon_status status = peer_status(&root);
	const struct wire_limit_row *rows = status.limits.rows;

	for (uint32_t i = 0; i < status.limits.count; i++)
		if (wire_str_is(rows[i].key, key))
			return rows[i];
	ck_abort_msg("no row for %s", key);
}

static bool is_limit(int r, const char *key)
{
	const struct varbos_error *error = varbos_error();

	if (r == VARBOS_E_LIMIT && error->code == VARBOS_E_LIMIT &&
	    !strcmp(error->which, key) && strstr(error->message, key))
		return true;
	fprintf(stderr, "%d, not a refusal by %s: %s\n", r, key, error->message);
	return false;
}

/* ---- what is known of values ---- */

/* Who gets no lanes may put, by methods, and read nothing. */
static int open_lanes_beyond_metadata(void)
{
	struct varbos *mine;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos_view view;

	if (varbos_connect(&mine, daemon_.socket) ||
	    varbos_space_open(&space, mine, "n",
			      &(struct varbos_space_options){.limit = 4 << 20}))
		return 1;
	/* The cache's own files, already; or its lanes. */
	if (is_limit(varbos_cache_open(&cache, space, "c", NULL), "limits.metadata"))
		return 0;
	return varbos_cache_get(cache, "k", 1, &view) == VARBOS_E_UNAVAILABLE ? 0 : 2;
}

START_TEST(lanes_and_files_of_caches_count_as_metadata)
{
	test_daemon_start(&daemon_, "32M", "--limits.metadata=256K", NULL);
	open_up();
	as_nobody(open_lanes_beyond_metadata);
	ck_assert_uint_ge(limit_row("limits.metadata").refused, 1);
}
END_TEST

static int put_beyond_metadata(void)
{
	struct varbos *mine;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos_view view;
	uint32_t first = 0;
	int r = 0;

	if (varbos_connect(&mine, daemon_.socket) ||
	    varbos_space_open(&space, mine, "n",
			      &(struct varbos_space_options){.limit = 24 << 20}) ||
	    varbos_cache_open(&cache, space, "c",
			      &(struct varbos_cache_options){.capacity = 20 << 20}) ||
	    varbos_cache_put(cache, &first, sizeof(first), "", 0, NULL))
		return 1;
	for (uint32_t i = 1; i < VALUES && !r; i++)
		r = varbos_cache_put_async(cache, &i, sizeof(i), "", 0, NULL);
	if (!r)
		r = varbos_cache_flush(cache);
	if (!is_limit(r, "limits.metadata"))
		return 2;
	while (varbos_cache_flush(cache))
		;
	/* What there is can be read all the same; of the first another may have taken the place. */
	while (varbos_cache_get(cache, &first, sizeof(first), &view))
		if (++first == VALUES)
			return 3;
	varbos_view_release(&view);
	return 0;
}

START_TEST(what_is_known_of_values_counts_as_metadata)
{
	test_daemon_start(&daemon_, "128M", "--limits.metadata=4M", NULL);
	open_up();
	as_nobody(put_beyond_metadata);
	ck_assert_uint_ge(limit_row("limits.metadata").refused, 1);
}
END_TEST

/* ---- connections ---- */

static int take_two_and_more(void)
{
	struct varbos *two[2], *more;

	for (int i = 0; i < 2; i++)
		if (varbos_connect(&two[i], daemon_.socket))
			return 1;
	/* HELLO leaves before the daemon has refused, or after, or not any more. */
	for (int i = 0; i < 300; i++)
		if (!is_limit(varbos_connect(&more, daemon_.socket), "limits.connections") ||
		    varbos_error()->max != 2)
			return 2;
	for (int i = 0; i < 2; i++)
		if (varbos_ping(two[i], NULL))
			return 3;
	return 0;
}

START_TEST(a_connection_beyond_the_limit_is_told_which_limit)
{
	test_daemon_start(&daemon_, "32M", "--limits.connections=2", NULL);
	open_up();
	as_nobody(take_two_and_more);
	ck_assert_uint_eq(limit_row("limits.connections").refused, 300);
}
END_TEST

static int take_two_and_wait(void)
{
	struct varbos *two[2], *more;

	for (int i = 0; i < 2; i++)
		if (varbos_connect(&two[i], daemon_.socket))
			return 1;
	tell(to_parent);
	hear(to_child);
	return is_limit(varbos_connect(&more, daemon_.socket), "limits.connections") ? 0 : 2;
}

START_TEST(also_one_whose_hello_is_never_read)
{
	pid_t pid;

	test_daemon_start(&daemon_, "32M", "--limits.connections=2", NULL);
	open_up();
	pid = start_as(NOBODY, take_two_and_wait);
	hear(to_parent);
	/* It has connected and said HELLO by the time the daemon takes it. */
	kill(daemon_.pid, SIGSTOP);
	tell(to_child);
	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	kill(daemon_.pid, SIGCONT);
	expect_done(pid);
}
END_TEST

static int ask_by_hand(void)
{
	struct varbos *two[2];
	char said[512] = "";
	int out[2], status;
	pid_t pid;

	for (int i = 0; i < 2; i++)
		if (varbos_connect(&two[i], daemon_.socket))
			return 1;
	for (int i = 0; i < 20; i++) {
		if (pipe(out))
			return 2;
		pid = fork();
		if (!pid) {
			dup2(out[1], STDERR_FILENO);
			execl(getenv("VARBOSCTL"), "varbosctl", "ping", "--socket",
			      daemon_.socket, (char *)NULL);
			_exit(127);
		}
		close(out[1]);
		memset(said, 0, sizeof(said));
		for (size_t n = 0; n < sizeof(said) - 1; n++) /* it may write in pieces */
			if (read(out[0], said + n, 1) != 1)
				break;
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
		    !WEXITSTATUS(status) || WEXITSTATUS(status) == 127)
			return 3;
		close(out[0]);
		if (!strstr(said, "limits.connections")) {
			fprintf(stderr, "%s\n", said);
			return 4;
		}
	}
	return 0;
}

START_TEST(varbosctl_says_which_limit_refused_it)
{
	test_daemon_start(&daemon_, "32M", "--limits.connections=2", NULL);
	open_up();
	as_nobody(ask_by_hand);
}
END_TEST

/* ---- descriptors ---- */

static int connect_beyond_descriptors(void)
{
	struct varbos *vb, *more;

	/* Two of the three: a connection, and its process. */
	if (varbos_connect(&vb, daemon_.socket))
		return 1;
	return is_limit(varbos_connect(&more, daemon_.socket), "limits.descriptors") ? 0 : 2;
}

START_TEST(descriptors_of_a_uid_are_limited)
{
	test_daemon_start(&daemon_, "32M", "--limits.descriptors=3", NULL);
	open_up();
	as_nobody(connect_beyond_descriptors);
	ck_assert_uint_ge(limit_row("limits.descriptors").refused, 1);
}
END_TEST

static int connect_without_descriptors(void)
{
	struct varbos *vb;

	/* Of all uids, the daemon's own included: so there is no `mine`. */
	for (int i = 0; i < 20; i++)
		if (!is_limit(varbos_connect(&vb, daemon_.socket), "limits.descriptors"))
			return 1;
	return 0;
}

/* The lowest descriptor that the daemon does not have: its next one. */
static rlim_t daemon_next_fd(void)
{
	char path[64], target[8];
	rlim_t fd = 0;

	do
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)daemon_.pid,
			 (unsigned)fd++);
	while (readlink(path, target, sizeof(target)) >= 0);
	return fd - 1;
}

START_TEST(who_comes_when_none_is_left_is_told_so)
{
	struct rlimit was, now;
	rlim_t end;

	test_daemon_start(&daemon_, "32M", NULL);
	open_up();
	peer_status(&root);
	end = daemon_next_fd();
	ck_assert(!prlimit(daemon_.pid, RLIMIT_NOFILE, NULL, &was));
	now = (struct rlimit){.rlim_cur = end, .rlim_max = was.rlim_max};
	ck_assert(!prlimit(daemon_.pid, RLIMIT_NOFILE, &now, NULL));
	as_nobody(connect_without_descriptors);
	ck_assert(!prlimit(daemon_.pid, RLIMIT_NOFILE, &was, NULL));
	/* And when there are some again, they are used. */
	peer_close(&root);
	peer_open(&root, daemon_.socket);
}
END_TEST

/* ---- requests ---- */

/* The daemon is stopped while this is said, so that it finds both at once. */
static int ask_two_at_once(void)
{
	struct peer peer;
	bool opened = false, refused = false;

	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 2 << 20);
	tell(to_parent);
	hear(to_child);
	peer_send(&peer, WIRE_SPACE_OPEN, &(struct wire_space_open){.name = wire_str("a")});
	peer_send(&peer, WIRE_SPACE_LIST, &(struct wire_page_after){});
	tell(to_parent);
	for (int i = 0; i < 2; i++) {
		/* The refusal of the second comes first. */
		if (i) {
			peer.method = WIRE_SPACE_OPEN;
			peer.id--;
		}
		if (!peer_receive(&peer))
			return 1;
		if (!peer.answer.failed)
			opened = true;
		else if (peer.answer.fault.code == FAULT_LIMIT &&
			 wire_str_is(peer.answer.fault.which, "limits.requests"))
			refused = true;
	}
	if (!opened || !refused)
		return 2;
	peer_close(&peer);
	return 0;
}

START_TEST(requests_in_flight_are_limited)
{
	pid_t pid;

	test_daemon_start(&daemon_, "32M", "--limits.requests=1", NULL);
	open_up();
	pid = start_as(NOBODY, ask_two_at_once);
	hear(to_parent);
	kill(daemon_.pid, SIGSTOP);
	tell(to_child);
	hear(to_parent);
	kill(daemon_.pid, SIGCONT);
	expect_done(pid);
	ck_assert_uint_eq(limit_row("limits.requests").refused, 1);
	ck_assert_uint_eq(limit_row("limits.requests").held, 0);
}
END_TEST

/* Each keeps less than one connection may: together it is too much, and somebody is dropped. */
static int read_nothing(void)
{
	struct peer peers[DEAF];
	char buf[64];
	int n;

	for (int i = 0; i < DEAF; i++)
		peer_open(&peers[i], daemon_.socket);
	for (uint64_t id = 2; id < 1000000; id++) {
		n = wire_encode_request(buf, sizeof(buf), id, WIRE_STATUS,
					&(struct wire_empty){});
		for (int i = 0; i < DEAF; i++)
			if (send(peers[i].fd, buf, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) <
				    0 &&
			    errno != EAGAIN)
				return errno == EPIPE || errno == ECONNRESET ? 0 : 1;
		if (id % 8 == 0) /* the daemon makes pauses, too */
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return 2;
}

START_TEST(unread_answers_of_a_uid_are_limited_together)
{
	struct wire_limit_row row;

	test_daemon_start(&daemon_, "32M", "--limits.unanswered=1M", NULL);
	open_up();
	as_nobody(read_nothing);
	row = limit_row("limits.unanswered");
	ck_assert_uint_eq(row.max, 1 << 20);
	ck_assert_uint_ge(row.refused, 1);
}
END_TEST

/* ---- reloading ---- */

static char config[64];

static void write_config(unsigned spaces)
{
	FILE *file = fopen(config, "w");

	ck_assert_ptr_nonnull(file);
	fprintf(file, "[limits]\nspaces = %u\n", spaces);
	ck_assert(!fclose(file));
}

static void reload(unsigned spaces)
{
	write_config(spaces);
	ck_assert(!kill(daemon_.pid, SIGHUP));
	for (int i = 0; i < 2000; i++) {
		if (limit_row("limits.spaces").max == spaces)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	ck_abort_msg("not reloaded");
}

static struct varbos *session;

static int make(struct varbos_space **ret, const char *name)
{
	return varbos_space_open(ret, session, name,
				 &(struct varbos_space_options){.limit = 2 << 20});
}

static int make_spaces(void)
{
	struct varbos_space *a, *b, *c, *none;
	void *in_a, *in_b;

	if (varbos_connect(&session, daemon_.socket) || make(&a, "a") || make(&b, "b") ||
	    !is_limit(make(&none, "c"), "limits.spaces"))
		return 1;
	in_a = varbos_alloc(a, 100000);
	if (!in_a)
		return 2;
	tell(to_parent);
	hear(to_child);
	/* Fewer than it has: nothing ends, also not what is asked of them, and nothing grows. */
	in_b = varbos_alloc(b, 100000);
	if (!in_b || varbos_free(a, in_a) || !is_limit(make(&none, "c"), "limits.spaces") ||
	    varbos_error()->max != 1)
		return 3;
	memset(in_b, 1, 100000);
	tell(to_parent);
	hear(to_child);
	if (make(&c, "c") || !varbos_alloc(c, 100000) ||
	    !is_limit(make(&none, "d"), "limits.spaces"))
		return 4;
	return 0;
}

START_TEST(a_reload_stops_growth_or_lets_go_on_and_ends_nothing)
{
	pid_t pid;

	strcpy(config, "/tmp/varbos-limits-XXXXXX");
	close(mkstemp(config));
	write_config(2);
	test_daemon_start(&daemon_, "32M", "--config", config, NULL);
	open_up();
	pid = start_as(NOBODY, make_spaces);
	hear(to_parent);
	reload(1);
	ck_assert_uint_eq(limit_row("limits.spaces").held, 2);
	tell(to_child);
	hear(to_parent);
	reload(3);
	tell(to_child);
	expect_done(pid);
	unlink(config);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("limits");
	TCase *t = tcase_create("limits");

	if (geteuid()) {
		printf("SKIPPED: only root can be other uids\n");
		return 77;
	}
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, NULL, tear_down);
	tcase_add_test(t, a_connection_beyond_the_limit_is_told_which_limit);
	tcase_add_test(t, lanes_and_files_of_caches_count_as_metadata);
	tcase_add_test(t, what_is_known_of_values_counts_as_metadata);
	tcase_add_test(t, also_one_whose_hello_is_never_read);
	tcase_add_test(t, varbosctl_says_which_limit_refused_it);
	tcase_add_test(t, descriptors_of_a_uid_are_limited);
	tcase_add_test(t, who_comes_when_none_is_left_is_told_so);
	tcase_add_test(t, requests_in_flight_are_limited);
	tcase_add_test(t, unread_answers_of_a_uid_are_limited_together);
	tcase_add_test(t, a_reload_stops_growth_or_lets_go_on_and_ends_nothing);
	suite_add_tcase(s, t);
	return suite_run(s);
}
