/*
 * A session goes on over another connection: its own process's, in the same program, and no other's.
 */
#include <check.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum { IMAGE = 111 };

static struct test_daemon daemon_;
static struct peer first, second;
static uint64_t serial; /* of the first one's session */

static bool hello(struct peer *peer, uint64_t image, uint64_t resume)
{
	peer_connect(peer, daemon_.socket);
	return peer_call(peer, WIRE_HELLO,
			 &(struct wire_hello){.protocol = 1,
					      .layout_min = 1,
					      .layout_max = 1,
					      .image = image,
					      .resume = resume});
}

static bool refused(struct peer *peer, uint64_t image, uint64_t resume)
{
	bool is = !hello(peer, image, resume) && peer->answer.fault.code == FAULT_NOT_FOUND &&
		  wire_str_is(peer->answer.fault.which, "session");

	peer_close(peer);
	return is;
}

/* `first` has a space open, and a megabyte of it. */
static uint64_t set_up(uint64_t *ret_space)
{
	uint64_t session;

	test_daemon_start(&daemon_, "64M", NULL);
	ck_assert(hello(&first, IMAGE, 0));
	ck_assert(!first.answer.body.welcome.resumed);
	session = first.answer.body.welcome.session;
	serial = first.answer.body.welcome.serial;
	*ret_space = peer_create_space(&first, "a", 32 * MIB);
	*ret_space = peer_open_space(&first, "a");
	ck_assert(peer_call(&first, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = *ret_space, .size = MIB}));
	return session;
}

static void tear_down(void)
{
	peer_close(&first);
	peer_close(&second);
	test_daemon_stop(&daemon_);
}

START_TEST(who_comes_back_has_what_he_had)
{
	uint64_t space, session = set_up(&space);
	struct wire_extent_alloced got = first.answer.body.extent_alloced;

	peer_close(&first);
	ck_assert(hello(&second, IMAGE, session));
	ck_assert(second.answer.body.welcome.resumed);
	ck_assert_uint_eq(second.answer.body.welcome.session, session);
	ck_assert_uint_eq(peer_status(&second).sessions, 1);
	ck_assert(peer_call(&second, WIRE_EXTENT_FREE,
			    &(struct wire_extent_free){
				    .space = space, .offset = got.offset, .tag = got.tag}));
	ck_assert_uint_eq(peer_status(&second).used, 0);
	tear_down();
}
END_TEST

START_TEST(a_connection_that_the_session_still_has_is_replaced)
{
	uint64_t space, session = set_up(&space);

	ck_assert(hello(&second, IMAGE, session));
	ck_assert(!peer_receive(&first)); /* closed */
	ck_assert_uint_eq(peer_status(&second).sessions, 1);
	ck_assert_uint_eq(peer_status(&second).used, MIB);
	tear_down();
}
END_TEST

START_TEST(nobody_else_goes_on_with_a_session)
{
	uint64_t space, session = set_up(&space);
	int status;
	pid_t pid;

	ck_assert(refused(&second, IMAGE + 1, session)); /* after an exec */
	ck_assert(refused(&second, IMAGE, session + 1));
	ck_assert(refused(&second, IMAGE, UINT64_MAX));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		_exit(refused(&second, IMAGE, session) ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(peer_status(&first).sessions, 1); /* its connection is untouched */
	ck_assert_uint_eq(peer_status(&first).used, MIB);
	tear_down();
}
END_TEST

START_TEST(a_session_of_a_region_that_is_gone_is_not_another_one_of_its_process)
{
	uint64_t space, session = set_up(&space), former = serial;
	struct wire_hello resume = {.protocol = 1,
				    .layout_min = 1,
				    .layout_max = 1,
				    .image = IMAGE,
				    .resume = session};

	ck_assert_uint_ne(former, 0);
	tear_down();
	ck_assert_uint_eq(set_up(&space), session); /* as far as numbers go */
	resume.serial = former;
	peer_connect(&second, daemon_.socket);
	ck_assert(!peer_call(&second, WIRE_HELLO, &resume));
	ck_assert_int_eq(second.answer.fault.code, FAULT_NOT_FOUND);
	peer_close(&second);
	ck_assert_uint_eq(peer_status(&first).used, MIB); /* its connection is untouched */

	/* As it was told, and as older libraries say it. */
	ck_assert(hello(&second, IMAGE, session));
	peer_close(&second);
	ck_assert_uint_ne(serial, former);
	resume.serial = serial;
	peer_connect(&second, daemon_.socket);
	ck_assert(peer_call(&second, WIRE_HELLO, &resume));
	ck_assert(second.answer.body.welcome.resumed);
	tear_down();
}
END_TEST

START_TEST(a_request_that_is_said_again_while_it_waits_is_done_once)
{
	uint64_t space;
	struct wire_extent_alloc want;
	char bytes[256];
	struct iovec piece = {.iov_base = bytes};
	struct mmsghdr twice[2] = {{.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}},
				   {.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}}};
	int size;

	set_up(&space);
	want = (struct wire_extent_alloc){.space = space, .size = 16 * MIB};
	size = wire_encode_request(bytes, sizeof(bytes), ++first.id, WIRE_EXTENT_ALLOC, &want);
	ck_assert_int_gt(size, 0);
	piece.iov_len = (size_t)size;
	first.method = WIRE_EXTENT_ALLOC;
	/* Its memory has to be committed; it has both before it is. */
	ck_assert_int_eq(kill(daemon_.pid, SIGSTOP), 0);
	ck_assert_int_eq(sendmmsg(first.fd, twice, 2, 0), 2);
	ck_assert_int_eq(kill(daemon_.pid, SIGCONT), 0);
	ck_assert(peer_receive(&first));
	ck_assert(!first.answer.failed);
	ck_assert_uint_eq(peer_status(&first).used, 17 * MIB);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resume");
	TCase *t = tcase_create("resume");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, who_comes_back_has_what_he_had);
	tcase_add_test(t, a_connection_that_the_session_still_has_is_replaced);
	tcase_add_test(t, nobody_else_goes_on_with_a_session);
	tcase_add_test(t, a_session_of_a_region_that_is_gone_is_not_another_one_of_its_process);
	tcase_add_test(t, a_request_that_is_said_again_while_it_waits_is_done_once);
	suite_add_tcase(s, t);
	return suite_run(s);
}
