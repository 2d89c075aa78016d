/*
 * What bad input gets: a clear answer, nothing lost, and the connection goes on.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"

#define MIB ((uint64_t)1 << 20)

static struct test_daemon daemon_;
static struct peer peer;
static uint64_t space;

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 16 * MIB);
	space = peer_open_space(&peer, "a");
}

static void tear_down(void)
{
	peer_status(&peer); /* it serves on */
	peer_close(&peer);
	test_daemon_stop(&daemon_);
}

static void expect_fault(enum fault_code code, const char *which)
{
	const struct wire_fault *fault = &peer.answer.fault;

	ck_assert_msg(peer.answer.failed, "it was accepted");
	ck_assert_msg(fault->code == code, "code %d: %.*s", (int)fault->code,
		      (int)fault->message.size, fault->message.data);
	ck_assert_msg(wire_str_is(fault->which, which), "which: '%.*s' instead of '%s'",
		      (int)fault->which.size, fault->which.data, which);
	ck_assert_uint_gt(fault->message.size, 0);
}

static void expect_words(const char *words)
{
	const struct wire_str *said = &peer.answer.fault.message;

	ck_assert_msg(memmem(said->data, said->size, words, strlen(words)), "'%.*s'",
		      (int)said->size, said->data);
}

/* MessagePack by hand: what the encoder would never say. */
struct bytes {
	unsigned char data[WIRE_MESSAGE_MAX + 4096];
	size_t size;
};

static struct bytes raw;

static void put(const void *data, size_t size)
{
	ck_assert(raw.size + size <= sizeof(raw.data));
	memcpy(raw.data + raw.size, data, size);
	raw.size += size;
}

static void put_byte(int byte)
{
	unsigned char b = (unsigned char)byte;

	put(&b, 1);
}

static void put_text(const char *text)
{
	put_byte(0xd9);
	put_byte((int)strlen(text));
	put(text, strlen(text));
}

static void put_u64(uint64_t value)
{
	put_byte(0xcf);
	for (int shift = 56; shift >= 0; shift -= 8)
		put_byte((int)(value >> shift & 0xff));
}

/* [0, id, method, {n fields... */
static void begin(const char *method, int n_fields)
{
	raw.size = 0;
	put_byte(0x94);
	put_byte(0);
	put_u64(++peer.id);
	put_text(method);
	put_byte(0x80 | n_fields);
}

static bool call(void)
{
	return peer_call_bytes(&peer, raw.data, raw.size, WIRE_PING);
}

START_TEST(an_unknown_method_is_named)
{
	begin("space.frobnicate", 0);
	call();
	expect_fault(FAULT_METHOD, "space.frobnicate");
}
END_TEST

START_TEST(an_unknown_field_is_named)
{
	begin("ping", 1);
	put_text("tokne");
	put_u64(1);
	call();
	expect_fault(FAULT_INVALID, "tokne");
}
END_TEST

START_TEST(a_field_of_the_wrong_type_is_named)
{
	begin("ping", 1);
	put_text("token");
	put_text("one");
	call();
	expect_fault(FAULT_INVALID, "token");
}
END_TEST

START_TEST(a_missing_field_is_named)
{
	begin("space.open", 0);
	call();
	expect_fault(FAULT_INVALID, "name");
}
END_TEST

START_TEST(a_negative_size_is_refused)
{
	begin("extent.alloc", 2);
	put_text("space");
	put_u64(space);
	put_text("size");
	put_byte(0xff); /* -1 */
	call();
	expect_fault(FAULT_INVALID, "size");
}
END_TEST

static bool alloc(uint64_t size, uint64_t align)
{
	return peer_call(
		&peer, WIRE_EXTENT_ALLOC,
		&(struct wire_extent_alloc){.space = space, .size = size, .align = align});
}

START_TEST(a_size_of_nothing_is_refused)
{
	ck_assert(!alloc(0, 0));
	expect_fault(FAULT_INVALID, "size");
}
END_TEST

START_TEST(sizes_that_overflow_are_too_large)
{
	static const uint64_t sizes[] = {UINT64_MAX,        UINT64_MAX - 65535, INT64_MAX,
					 (uint64_t)1 << 63, (uint64_t)16 << 40, 17 * MIB};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ck_assert(!alloc(sizes[i], 0));
		expect_fault(FAULT_TOO_LARGE, "");
		ck_assert_uint_eq(peer.answer.fault.requested, sizes[i]);
		ck_assert_uint_le(peer.answer.fault.max, 16 * MIB);
	}
	ck_assert_uint_eq(peer_status(&peer).used, 0);
}
END_TEST

START_TEST(alignments_that_make_no_sense_are_refused)
{
	static const uint64_t aligns[] = {3, 65537, UINT64_MAX, (uint64_t)1 << 63,
					  (uint64_t)2 << 30};

	for (size_t i = 0; i < ARRAY_SIZE(aligns); i++) {
		ck_assert(!alloc(MIB, aligns[i]));
		expect_fault(FAULT_INVALID, "align");
	}
}
END_TEST

START_TEST(a_truncated_message_is_refused_wherever_it_ends)
{
	begin("extent.alloc", 2);
	put_text("space");
	put_u64(space);
	put_text("size");
	put_u64(MIB);
	for (size_t size = 1; size < raw.size; size++) {
		ck_assert(!peer_call_bytes(&peer, raw.data, size, WIRE_PING));
		expect_fault(FAULT_PROTOCOL, "");
	}
	ck_assert_uint_eq(peer_status(&peer).used, 0);
}
END_TEST

START_TEST(an_oversized_message_is_refused)
{
	begin("ping", 1);
	put_text("token");
	while (raw.size < WIRE_MESSAGE_MAX + 100)
		put_byte(1);
	call();
	expect_fault(FAULT_PROTOCOL, "");
}
END_TEST

START_TEST(five_bytes_that_announce_four_billion_elements_are_refused)
{
	static const unsigned char array[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
	static const unsigned char map[] = {0xdf, 0xff, 0xff, 0xff, 0xff};

	ck_assert(!peer_call_bytes(&peer, array, sizeof(array), WIRE_PING));
	expect_fault(FAULT_PROTOCOL, "");
	ck_assert(!peer_call_bytes(&peer, map, sizeof(map), WIRE_PING));
	expect_fault(FAULT_PROTOCOL, "");
}
END_TEST

START_TEST(forty_levels_of_nesting_are_refused)
{
	raw.size = 0;
	for (int i = 0; i < 40; i++)
		put_byte(0x91);
	put_byte(0xc0);
	call();
	expect_fault(FAULT_PROTOCOL, "");
}
END_TEST

START_TEST(versions_without_overlap_are_refused_with_ours)
{
	struct peer other;

	peer_connect(&other, daemon_.socket);
	ck_assert(!peer_call(
		&other, WIRE_HELLO,
		&(struct wire_hello){.protocol = 1, .layout_min = 7, .layout_max = 9}));
	ck_assert_uint_eq(other.answer.fault.code, FAULT_VERSION);
	ck_assert(wire_str_is(other.answer.fault.which, "layout"));
	ck_assert_uint_eq(other.answer.fault.max, 1);
	ck_assert(!peer_call(
		&other, WIRE_HELLO,
		&(struct wire_hello){.protocol = 0, .layout_min = 1, .layout_max = 1}));
	ck_assert_uint_eq(other.answer.fault.code, FAULT_VERSION);
	ck_assert(wire_str_is(other.answer.fault.which, "protocol"));
	/* A newer client speaks what we speak. */
	ck_assert(peer_call(
		&other, WIRE_HELLO,
		&(struct wire_hello){.protocol = 99, .layout_min = 1, .layout_max = 9}));
	ck_assert_uint_eq(other.answer.body.welcome.protocol, 1);
	peer_close(&other);
	while (peer_status(&peer).sessions != 2)
		usleep(1000); /* it stays until its process ends, and that is this one */
}
END_TEST

START_TEST(nothing_is_answered_before_hello)
{
	struct peer other;

	peer_connect(&other, daemon_.socket);
	ck_assert(!peer_call(&other, WIRE_PING, &(struct wire_ping){}));
	ck_assert_uint_eq(other.answer.fault.code, FAULT_PROTOCOL);
	ck_assert(!peer_call(&other, WIRE_EXTENT_ALLOC,
			     &(struct wire_extent_alloc){.space = space, .size = MIB}));
	ck_assert_uint_eq(other.answer.fault.code, FAULT_PROTOCOL);
	peer_close(&other);
}
END_TEST

static bool free_extent(uint64_t offset, uint64_t tag)
{
	return peer_call(
		&peer, WIRE_EXTENT_FREE,
		&(struct wire_extent_free){.space = space, .offset = offset, .tag = tag});
}

START_TEST(stale_doubled_and_foreign_references_are_refused_by_name)
{
	struct wire_extent_alloced a, b;
	uint64_t other;

	ck_assert(alloc(MIB, 0));
	a = peer.answer.body.extent_alloced;
	ck_assert(!free_extent(a.offset + 65536, a.tag));
	expect_fault(FAULT_REFERENCE, "interior");
	ck_assert(free_extent(a.offset, a.tag));
	ck_assert(!free_extent(a.offset, a.tag)); /* doubled */
	expect_fault(FAULT_REFERENCE, "freed");

	ck_assert(alloc(MIB, 0));
	b = peer.answer.body.extent_alloced;
	ck_assert_uint_eq(a.offset, b.offset); /* the same place again */
	ck_assert(!free_extent(a.offset, a.tag));
	expect_fault(FAULT_REFERENCE, "stale");

	ck_assert(!free_extent(b.offset + ((uint64_t)1 << 34), b.tag)); /* no such window */
	expect_fault(FAULT_REFERENCE, "foreign");
	ck_assert(!free_extent((uint64_t)1 << 60, b.tag));
	expect_fault(FAULT_INVALID, "offset");

	peer_create_space(&peer, "b", 16 * MIB);
	other = peer_open_space(&peer, "b");
	ck_assert(!peer_call(
		&peer, WIRE_EXTENT_FREE,
		&(struct wire_extent_free){.space = other, .offset = b.offset, .tag = b.tag}));
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_REFERENCE);
	ck_assert_uint_eq(peer_status(&peer).used, MIB);
}
END_TEST

START_TEST(a_space_that_was_not_opened_is_out_of_reach)
{
	static const uint64_t handles[] = {0, 2, 77, 1 << 20, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
		space = handles[i];
		ck_assert(!alloc(MIB, 0));
		ck_assert(peer.answer.failed);
	}
	ck_assert_uint_eq(peer_status(&peer).used, 0);
}
END_TEST

START_TEST(space_names_that_are_none_are_refused)
{
	char longest[300];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	static const char *const names[] = {"", "a/b", ".", "..", "-x", "a b", "\xff", "a\nb"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		peer_call(&peer, WIRE_SPACE_CREATE,
			  &(struct wire_space_create){.name = wire_str(names[i])});
		expect_fault(FAULT_INVALID, "name");
	}
	peer_call(&peer, WIRE_SPACE_CREATE,
		  &(struct wire_space_create){.name = wire_str(longest)});
	expect_fault(FAULT_INVALID, "name");
	expect_words("1 to 63 of A-Z");
	longest[64] = '\0';
	peer_call(&peer, WIRE_SPACE_CREATE,
		  &(struct wire_space_create){.name = wire_str(longest)});
	expect_fault(FAULT_INVALID, "name");
	expect_words("1 to 63 of A-Z");
}
END_TEST

START_TEST(budgets_that_do_not_fit_are_refused_with_numbers)
{
	peer_call(&peer, WIRE_SPACE_CREATE,
		  &(struct wire_space_create){.name = wire_str("huge"),
					      .limit = (uint64_t)16 << 40});
	ck_assert(peer.answer.failed);
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_BUDGET);
	ck_assert_uint_eq(peer.answer.fault.requested, (uint64_t)16 << 40);
	ck_assert_uint_eq(peer.answer.fault.remaining, 48 * MIB);
	peer_call(&peer, WIRE_SPACE_CREATE,
		  &(struct wire_space_create){
			  .name = wire_str("b"), .limit = 8 * MIB, .reserve = 9 * MIB});
	expect_fault(FAULT_INVALID, "reserve");
	peer_call(&peer, WIRE_SPACE_CREATE,
		  &(struct wire_space_create){.name = wire_str("b"), .limit = UINT64_MAX});
	ck_assert(peer.answer.failed);
	ck_assert_uint_eq(peer_status(&peer).spaces, 1);
}
END_TEST

START_TEST(descriptors_from_a_client_are_not_taken)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	char data[256];
	struct iovec piece = {data, 0};
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);
	int pipe_fds[2];
	struct peer rude;
	char byte;

	ck_assert(!pipe(pipe_fds));
	peer_open(&rude, daemon_.socket);
	piece.iov_len = (size_t)wire_encode_request(data, sizeof(data), 99, WIRE_PING,
						    &(struct wire_ping){});
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &pipe_fds[1], sizeof(int));
	/* The kernel refuses to carry it (6.16), or the daemon drops who sent it and closes it. */
	if (sendmsg(rude.fd, &header, MSG_NOSIGNAL) > 0)
		ck_assert(!peer_receive(&rude));
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 0); /* its end: no one else has it */
	close(pipe_fds[0]);
	peer_close(&rude);
}
END_TEST

START_TEST(a_client_that_never_reads_is_dropped_alone)
{
	struct peer deaf;

	peer_open(&deaf, daemon_.socket);
	for (int i = 0; i < 200000; i++) {
		char buf[128];
		int size = wire_encode_request(buf, sizeof(buf), (uint64_t)i + 1, WIRE_STATUS,
					       &(struct wire_empty){});

		if (send(deaf.fd, buf, (size_t)size, MSG_NOSIGNAL) < 0)
			break; /* dropped */
		ck_assert_int_lt(i, 199999);
	}
	peer_status(&peer);
	peer_close(&deaf);
}
END_TEST

START_TEST(a_free_without_an_answer_that_is_refused_comes_back_as_a_note)
{
	peer_note(&peer, WIRE_EXTENT_FREE,
		  &(struct wire_extent_free){.space = space, .offset = 65536, .tag = 5});
	ck_assert(peer_receive(&peer));
	ck_assert_int_eq(peer.answer.kind, WIRE_NOTE);
	ck_assert_int_eq(peer.answer.method, WIRE_EXTENT_REFUSED);
	ck_assert_uint_eq(peer.answer.body.extent_refused.offset, 65536);
	ck_assert_uint_eq(peer.answer.body.extent_refused.code, FAULT_REFERENCE);
}
END_TEST

START_TEST(who_frees_what_a_sweep_may_have_freed_first_is_not_refused)
{
	struct wire_extent_free late = {.space = space, .offset = 65536, .tag = 5};
	struct wire_extent_alloced a;

	late.maybe = true;
	peer_note(&peer, WIRE_EXTENT_FREE, &late);
	ck_assert(peer_call(&peer, WIRE_EXTENT_FREE, &late));
	ck_assert(alloc(MIB, 0));
	a = peer.answer.body.extent_alloced;
	/* not what is there by now, and not from within */
	late.offset = a.offset;
	late.tag = (uint32_t)a.tag ^ 1;
	ck_assert(peer_call(&peer, WIRE_EXTENT_FREE, &late));
	late.tag = a.tag;
	late.offset = a.offset + 65536;
	ck_assert(!peer_call(&peer, WIRE_EXTENT_FREE, &late));
	expect_fault(FAULT_REFERENCE, "interior");
	ck_assert_uint_eq(peer_status(&peer).used, MIB);
	late.offset = a.offset;
	ck_assert(peer_call(&peer, WIRE_EXTENT_FREE, &late));
	ck_assert_uint_eq(peer_status(&peer).used, 0);
	late.space = 77;
	ck_assert(!peer_call(&peer, WIRE_EXTENT_FREE, &late));
}
END_TEST

/* ---- at the start ---- */

static int run_daemon(const char *const *args, char *said, size_t size)
{
	int out[2], status;
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	ck_assert(!pipe(out));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		alarm(20);
		dup2(out[1], STDERR_FILENO);
		execv(getenv("VARBOSD"), (char *const *)args);
		_exit(127);
	}
	close(out[1]);
	while (used < size - 1 && (n = read(out[0], said + used, size - 1 - used)) > 0)
		used += (size_t)n;
	said[used] = '\0';
	close(out[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_refusal(const char *const *args, int exit_status, const char *part)
{
	char said[2048];
	int status = run_daemon(args, said, sizeof(said));

	ck_assert_msg(status == exit_status, "exit %d: %s", status, said);
	ck_assert_msg(strstr(said, part), "'%s' is not in: %s", part, said);
}

START_TEST(a_second_daemon_on_the_same_socket_is_refused)
{
	expect_refusal((const char *[]){"varbosd", "--socket", daemon_.socket, NULL}, 1,
		       "another varbosd serves this socket");
	peer_status(&peer); /* the first serves on */
}
END_TEST

START_TEST(sixteen_tebibytes_are_refused_with_asked_available_and_cap)
{
	char path[160];

	snprintf(path, sizeof(path), "%s.other", daemon_.socket);
	expect_refusal((const char *[]){"varbosd", "--socket", path, "--size", "16TiB", NULL},
		       1, "asked 16 TiB, available ");
	expect_refusal((const char *[]){"varbosd", "--socket", path, "--size", "16TiB",
					"--pages", "4K", NULL},
		       1, "(cap)");
	expect_refusal((const char *[]){"varbosd", "--socket", path, "--size", "16TiB",
					"--pages", "2M", NULL},
		       1, "HugePagesUnavailable");
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused)
{
	static const struct {
		const char *option, *value, *said;
	} wrong[] = {
		{"--size", "lots", "is not a size"},
		{"--size", "-1", "is not a size"},
		{"--size", "0", "multiple of 2 MiB"},
		{"--size", "3000000", "multiple of 2 MiB"},
		{"--size", "99999999999T", "is not a size"},
		{"--pages", "3K", "none of auto, 4K, 2M"},
		{"--socket", "", "a path of 1 to"},
		{"--lifeline", "77", "not an open"},
		{"--frobnicate", "1", "unknown option"},
	};
	char longest[200];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		expect_refusal(
			(const char *[]){"varbosd", wrong[i].option, wrong[i].value, NULL}, 2,
			wrong[i].said);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	expect_refusal((const char *[]){"varbosd", "--socket", longest, NULL}, 2,
		       "a path of 1 to");
}
END_TEST

START_TEST(a_folder_that_is_missing_or_not_writable_is_named)
{
	char path[160];

	expect_refusal((const char *[]){"varbosd", "--socket", "/nonexistent/v.sock", "--size",
					"4M", NULL},
		       1, "/nonexistent/v.sock");
	/* Not even root may write here. */
	snprintf(path, sizeof(path), "/proc/self/v.sock");
	expect_refusal((const char *[]){"varbosd", "--socket", path, "--size", "4M", NULL}, 1,
		       "/proc/self/v.sock");
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s.precious", daemon_.socket);
	file = fopen(path, "w");
	ck_assert(file);
	fputs("precious", file);
	fclose(file);
	expect_refusal((const char *[]){"varbosd", "--socket", path, "--size", "4M", NULL}, 1,
		       "not a socket");
	ck_assert(!access(path, F_OK));
	unlink(path);
}
END_TEST

START_TEST(a_socket_that_another_program_serves_is_left_alone)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s.foreign", daemon_.folder);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		ck_assert(!bind(fd, (struct sockaddr *)&address, sizeof(address)));
		ck_assert(!listen(fd, 1));
		expect_refusal((const char *[]){"varbosd", "--socket", address.sun_path,
						"--size", "4M", NULL},
			       1, "someone serves this socket");
		ck_assert(!access(address.sun_path, F_OK));
		close(fd);
		unlink(address.sun_path);
	}
}
END_TEST

START_TEST(without_its_lock_file_a_live_daemons_socket_is_left_alone)
{
	char lock[160];

	snprintf(lock, sizeof(lock), "%s.lock", daemon_.socket);
	ck_assert(!unlink(lock));
	expect_refusal((const char *[]){"varbosd", "--socket", daemon_.socket, NULL}, 1,
		       "someone serves this socket");
	peer_status(&peer);
}
END_TEST

START_TEST(a_stale_socket_is_taken_over)
{
	struct test_daemon other;
	struct peer late;

	/* Killed: its files stay behind. */
	test_daemon_start(&other, "8M", NULL);
	test_daemon_kill(&other);
	ck_assert(!access(other.socket, F_OK));
	test_daemon_restart(&other);
	peer_open(&late, other.socket);
	peer_status(&late);
	peer_close(&late);
	test_daemon_stop(&other);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("bad input");
	TCase *t = tcase_create("bad input");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, an_unknown_method_is_named);
	tcase_add_test(t, an_unknown_field_is_named);
	tcase_add_test(t, a_field_of_the_wrong_type_is_named);
	tcase_add_test(t, a_missing_field_is_named);
	tcase_add_test(t, a_negative_size_is_refused);
	tcase_add_test(t, a_size_of_nothing_is_refused);
	tcase_add_test(t, sizes_that_overflow_are_too_large);
	tcase_add_test(t, alignments_that_make_no_sense_are_refused);
	tcase_add_test(t, a_truncated_message_is_refused_wherever_it_ends);
	tcase_add_test(t, an_oversized_message_is_refused);
	tcase_add_test(t, five_bytes_that_announce_four_billion_elements_are_refused);
	tcase_add_test(t, forty_levels_of_nesting_are_refused);
	tcase_add_test(t, versions_without_overlap_are_refused_with_ours);
	tcase_add_test(t, nothing_is_answered_before_hello);
	tcase_add_test(t, stale_doubled_and_foreign_references_are_refused_by_name);
	tcase_add_test(t, a_space_that_was_not_opened_is_out_of_reach);
	tcase_add_test(t, space_names_that_are_none_are_refused);
	tcase_add_test(t, budgets_that_do_not_fit_are_refused_with_numbers);
	tcase_add_test(t, descriptors_from_a_client_are_not_taken);
	tcase_add_test(t, a_client_that_never_reads_is_dropped_alone);
	tcase_add_test(t, a_free_without_an_answer_that_is_refused_comes_back_as_a_note);
	tcase_add_test(t, who_frees_what_a_sweep_may_have_freed_first_is_not_refused);
	tcase_add_test(t, a_second_daemon_on_the_same_socket_is_refused);
	tcase_add_test(t, sixteen_tebibytes_are_refused_with_asked_available_and_cap);
	tcase_add_test(t, options_that_make_no_sense_are_refused);
	tcase_add_test(t, a_folder_that_is_missing_or_not_writable_is_named);
	tcase_add_test(t, a_file_that_is_no_socket_is_left_alone);
	tcase_add_test(t, a_socket_that_another_program_serves_is_left_alone);
	tcase_add_test(t, without_its_lock_file_a_live_daemons_socket_is_left_alone);
	tcase_add_test(t, a_stale_socket_is_taken_over);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
