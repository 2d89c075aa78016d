/*
 * A daemon that lies is refused: nothing it sends is mapped, dereferenced, waited for without
 * end, or left open, unless it is what it should be.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <varbos/channel.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/space.h"
#include "proto/layout.h"
#include "tests/integration/fake_daemon.h"
#include "tests/suite.h"

enum step { CONNECT, OPEN, ALLOC, PING, LIST, SHARE, CHANNEL };

/* More than a block is: each of it is asked of the daemon, and given back to it. */
enum { EXTENT = 5 << SLICE_SHIFT };

static struct socket_policy short_policy(void)
{
	struct socket_policy policy;

	socket_policy_default(&policy);
	policy.timeout_ms = 200;
	return policy;
}

static const struct {
	const char *name;
	enum lie lie;
	enum step step; /* that meets the lie; those before go well */
	enum varbos_code code;
	const char *which;
} lies[] = {
	{"silence", LIE_SILENT, PING, VARBOS_E_TIMEOUT, ""},
	{"silence at hello", LIE_SILENT, CONNECT, VARBOS_E_TIMEOUT, ""},
	{"another's id", LIE_WRONG_ID, ALLOC, VARBOS_E_TIMEOUT, ""},
	{"a close", LIE_CLOSE, ALLOC, VARBOS_E_UNAVAILABLE, "socket"},
	{"garbage", LIE_GARBAGE, ALLOC, VARBOS_E_PROTOCOL, ""},
	{"a huge header", LIE_HUGE_HEADER, ALLOC, VARBOS_E_PROTOCOL, ""},
	{"nothing in a datagram", LIE_EMPTY, ALLOC, VARBOS_E_UNAVAILABLE, "socket"},
	{"a request", LIE_REQUEST, PING, VARBOS_E_PROTOCOL, ""},
	{"another shape", LIE_OTHER_SHAPE, ALLOC, VARBOS_E_PROTOCOL, "offset"},
	{"a code from nowhere", LIE_CODE, ALLOC, VARBOS_E_PROTOCOL, "code"},
	{"another ping's token", LIE_OTHER_TOKEN, PING, VARBOS_E_PROTOCOL, "token"},
	{"an endless list", LIE_ENDLESS_LIST, LIST, VARBOS_E_PROTOCOL, "next"},
	{"a protocol never offered", LIE_PROTOCOL, CONNECT, VARBOS_E_VERSION, "protocol"},
	{"a layout never offered", LIE_LAYOUT, CONNECT, VARBOS_E_VERSION, "layout"},
	{"session 0", LIE_SESSION_ZERO, CONNECT, VARBOS_E_PROTOCOL, "welcome"},
	{"a session of 21 bits", LIE_SESSION_WIDE, CONNECT, VARBOS_E_PROTOCOL, "welcome"},
	{"no request at a time", LIE_INFLIGHT_ZERO, CONNECT, VARBOS_E_PROTOCOL, "welcome"},
	{"five descriptors for one", LIE_FDS_SURPLUS, OPEN, VARBOS_E_UNTRUSTED, "descriptors"},
	{"five descriptors for two", LIE_FDS_SURPLUS, ALLOC, VARBOS_E_UNTRUSTED, "descriptors"},
	{"a descriptor for none", LIE_FDS_UNASKED, PING, VARBOS_E_UNTRUSTED, "descriptors"},
	{"no descriptor for one", LIE_FDS_MISSING, OPEN, VARBOS_E_UNTRUSTED, "descriptors"},
	{"one descriptor for two", LIE_FDS_MISSING, ALLOC, VARBOS_E_UNTRUSTED, "descriptors"},
	{"a descriptor with a fault", LIE_FDS_WITH_FAULT, PING, VARBOS_E_PROTOCOL, "code"},
	{"a root that may shrink", LIE_ROOT_UNSEALED, OPEN, VARBOS_E_UNTRUSTED, "root file"},
	{"half a root", LIE_ROOT_SHORT, OPEN, VARBOS_E_UNTRUSTED, "root file"},
	{"a root of something else", LIE_ROOT_MAGIC, OPEN, VARBOS_E_UNTRUSTED, "root file"},
	{"a root of another layout", LIE_ROOT_LAYOUT, OPEN, VARBOS_E_UNTRUSTED, "root file"},
	{"another space's root", LIE_ROOT_SPACE, OPEN, VARBOS_E_UNTRUSTED, "root file"},
	{"a pipe for data", LIE_DATA_PIPE, ALLOC, VARBOS_E_UNTRUSTED, "data file"},
	{"data that may shrink", LIE_DATA_SHRINKS, ALLOC, VARBOS_E_UNTRUSTED, "data file"},
	{"data that may grow", LIE_DATA_GROWS, ALLOC, VARBOS_E_UNTRUSTED, "data file"},
	{"less data than announced", LIE_DATA_SMALL, ALLOC, VARBOS_E_UNTRUSTED, "data file"},
	{"more data than announced", LIE_DATA_LARGE, ALLOC, VARBOS_E_UNTRUSTED, "data file"},
	{"a slice map that may shrink", LIE_MAP_UNSEALED, ALLOC, VARBOS_E_UNTRUSTED,
	 "slice map"},
	{"a slice map too short", LIE_MAP_SHORT, ALLOC, VARBOS_E_UNTRUSTED, "slice map"},
	{"a window not granted", LIE_WINDOW_UNGRANTED, ALLOC, VARBOS_E_UNTRUSTED, "root-file"},
	{"a window of 1 MiB", LIE_WINDOW_TINY, ALLOC, VARBOS_E_UNTRUSTED, "size"},
	{"a window of 32 GiB", LIE_WINDOW_VAST, ALLOC, VARBOS_E_UNTRUSTED, "size"},
	{"a window of an odd size", LIE_WINDOW_ODD, ALLOC, VARBOS_E_UNTRUSTED, "size"},
	{"another generation", LIE_WINDOW_GENERATION, ALLOC, VARBOS_E_UNTRUSTED, "root-file"},
	{"another page size", LIE_WINDOW_PAGE, ALLOC, VARBOS_E_UNTRUSTED, "root-file"},
	{"memory beyond the window", LIE_OFFSET_BEYOND, ALLOC, VARBOS_E_UNTRUSTED, "offset"},
	{"memory across its end", LIE_OFFSET_STRADDLES, ALLOC, VARBOS_E_UNTRUSTED, "offset"},
	{"an offset of 45 bits", LIE_OFFSET_WIDE, ALLOC, VARBOS_E_UNTRUSTED, "offset"},
	{"an offset inside a slice", LIE_OFFSET_ODD, ALLOC, VARBOS_E_UNTRUSTED, "offset"},
	{"a window that is not there", LIE_OFFSET_NOWHERE, ALLOC, VARBOS_E_UNTRUSTED, "window"},
	{"less than was asked", LIE_SIZE_LESS, ALLOC, VARBOS_E_UNTRUSTED, "size"},
	{"an odd size", LIE_SIZE_ODD, ALLOC, VARBOS_E_UNTRUSTED, "size"},
	{"tag 0", LIE_TAG_ZERO, ALLOC, VARBOS_E_UNTRUSTED, "tag"},
	{"a tag of 21 bits", LIE_TAG_WIDE, ALLOC, VARBOS_E_UNTRUSTED, "tag"},
	{"another tag in the map", LIE_TAG_OTHER, ALLOC, VARBOS_E_UNTRUSTED, "slice-map"},
	{"another owner in the map", LIE_OWNER, ALLOC, VARBOS_E_UNTRUSTED, "slice-map"},
	{"fewer slices in the map", LIE_COUNT, ALLOC, VARBOS_E_UNTRUSTED, "slice-map"},
	{"another owner of blocks", LIE_OWNER, SHARE, VARBOS_E_UNTRUSTED, "slice-map"},
	{"id 0", LIE_ID_ZERO, SHARE, VARBOS_E_UNTRUSTED, "id"},
	{"an id of 11 bits", LIE_ID_WIDE, SHARE, VARBOS_E_UNTRUSTED, "id"},
	{"an id that is nobody's", LIE_ID_NOBODY, SHARE, VARBOS_E_UNTRUSTED, "id"},
	{"words that may shrink", LIE_WORDS_UNSEALED, SHARE, VARBOS_E_UNTRUSTED, "words file"},
	{"words too short", LIE_WORDS_SHORT, SHARE, VARBOS_E_UNTRUSTED, "words file"},
	{"channel 0", LIE_CHANNEL_ID, CHANNEL, VARBOS_E_UNTRUSTED, "id"},
	{"an odd capacity", LIE_CHANNEL_CAPACITY, CHANNEL, VARBOS_E_UNTRUSTED, "capacity"},
	{"a channel too large", LIE_CHANNEL_LARGE, CHANNEL, VARBOS_E_UNTRUSTED, "capacity"},
	{"a channel nowhere", LIE_CHANNEL_OFFSET, CHANNEL, VARBOS_E_UNTRUSTED, "offset"},
	{"a channel in memory", LIE_CHANNEL_KIND, CHANNEL, VARBOS_E_UNTRUSTED, "slice-map"},
	{"a channel of another tag", LIE_CHANNEL_TAG, CHANNEL, VARBOS_E_UNTRUSTED, "slice-map"},
};

static bool is_of_messages(enum lie lie)
{
	return lie <= LIE_ENDLESS_LIST || (lie >= LIE_FDS_SURPLUS && lie <= LIE_FDS_WITH_NOTE);
}

/* Lies about messages begin with the step; lies about files are there from the start. */
static int take_steps(struct fake_daemon *fake, enum lie lie, enum step last,
		      enum varbos_code code, struct varbos **vb)
{
	struct socket_policy policy = short_policy();
	struct varbos_space_info *infos;
	struct varbos_channel *channel;
	struct varbos_space *space;
	size_t n;
	int r;

	/* Silence is waited out; on a busy machine all else may take its time. */
	if (code != VARBOS_E_TIMEOUT)
		socket_policy_default(&policy);
	policy.reconnect_ms = 50;
	if (last == CONNECT)
		fake->lie = lie;
	r = connection_open(vb, fake->socket, &policy);
	if (r || last == CONNECT)
		return r;
	if (last == OPEN || last == PING || last == LIST)
		fake->lie = lie;
	if (last == PING)
		return varbos_ping(*vb, NULL);
	if (last == LIST)
		return varbos_space_list(*vb, &infos, &n);
	r = varbos_space_open(&space, *vb, "s", NULL);
	if (r || last == OPEN)
		return r;
	fake->lie = lie;
	if (last == SHARE)
		return varbos_alloc_shared(space, 64) ? 0 : (int)varbos_error()->code;
	if (last == CHANNEL)
		return varbos_channel_open(&channel, space, "c", VARBOS_CHANNEL_SEND, NULL);
	return varbos_alloc(space, 100000) ? 0 : (int)varbos_error()->code;
}

START_TEST(a_lie_is_refused_by_name_and_nothing_stays_open)
{
	enum lie lie = lies[_i].lie;
	struct fake_daemon fake;
	struct varbos *vb = NULL;
	unsigned before = fds_open();
	int r;

	fake_daemon_start(&fake, is_of_messages(lie) ? LIE_NONE : lie);
	r = take_steps(&fake, lie, lies[_i].step, lies[_i].code, &vb);
	ck_assert_msg(r == (int)lies[_i].code, "%s: %s: %s", lies[_i].name, varbos_code_name(r),
		      r ? varbos_error()->message : "believed");
	ck_assert_int_eq(varbos_error()->code, r);
	ck_assert_str_eq(varbos_error()->which, lies[_i].which);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "varbos"));

	fake.lie = LIE_NONE;
	varbos_disconnect(vb);
	fake_daemon_stop(&fake);
	ck_assert_uint_eq(fds_open(), before);
}
END_TEST

START_TEST(a_server_of_another_uid_is_refused_before_a_byte_is_sent)
{
	struct socket_policy policy = {
		.trusted = {12345}, .n_trusted = 1, .timeout_ms = SOCKET_TIMEOUT_MS};
	struct fake_daemon fake;
	struct varbos *vb = NULL;

	fake_daemon_start(&fake, LIE_NONE);
	ck_assert_int_eq(connection_open(&vb, fake.socket, &policy), VARBOS_E_UNTRUSTED);
	ck_assert_str_eq(varbos_error()->which, "uid");
	ck_assert_ptr_null(vb);

	policy.trusted[0] = geteuid();
	ck_assert_int_eq(connection_open(&vb, fake.socket, &policy), 0);
	ck_assert_uint_eq(fake.requests, 1);
	varbos_disconnect(vb);
	fake_daemon_stop(&fake);
}
END_TEST

START_TEST(root_and_the_callers_own_user_are_trusted_by_default)
{
	struct socket_policy policy;
	bool root = false, own = false;

	socket_policy_default(&policy);
	for (unsigned i = 0; i < policy.n_trusted; i++) {
		root |= policy.trusted[i] == 0;
		own |= policy.trusted[i] == geteuid();
	}
	ck_assert(root && own && policy.n_trusted <= 3);
	ck_assert_uint_eq(policy.timeout_ms, SOCKET_TIMEOUT_MS);
}
END_TEST

/* An honest fake, and a space of it. */
struct set {
	struct fake_daemon fake;
	struct varbos *vb;
	struct varbos_space *space;
};

static void set_up(struct set *set)
{
	struct socket_policy policy;

	fake_daemon_start(&set->fake, LIE_NONE);
	socket_policy_default(&policy);
	policy.reconnect_ms = 0; /* how it goes on is what test_away is about */
	ck_assert_int_eq(connection_open(&set->vb, set->fake.socket, &policy), 0);
	ck_assert_int_eq(varbos_space_open(&set->space, set->vb, "s", NULL), 0);
}

static void tear_down(struct set *set)
{
	varbos_disconnect(set->vb);
	fake_daemon_stop(&set->fake);
}

START_TEST(an_answer_that_comes_too_late_is_dropped_with_its_descriptors)
{
	struct set set;
	unsigned before;

	set_up(&set);
	before = fds_open();
	set.fake.lie = LIE_LATE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_TIMEOUT);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(fds_open(), before);
	set.fake.lie = LIE_NONE;
	ck_assert_ptr_nonnull(varbos_alloc(set.space, 1));
	tear_down(&set);
}
END_TEST

/* The late answer has been read by what was asked since; the daemon gets to this by and by. */
static void expect_soon(const _Atomic uint32_t *counter, uint32_t value)
{
	for (int i = 0; i < 1500 && *counter != value; i++)
		usleep(10000);
	ck_assert_uint_eq(*counter, value);
}

START_TEST(memory_that_comes_too_late_is_given_back)
{
	struct set set;

	set_up(&set);
	/* One is answered with the other, and both ask the slice map for room. */
	for (uint32_t i = 1; i <= 2 * WIRE_INFLIGHT_MAX; i++) {
		set.fake.late_size = 0;
		set.fake.lie = LIE_LATE;
		varbos_set_timeout(set.vb, 20);
		ck_assert_ptr_null(varbos_alloc(set.space, 1));
		ck_assert_int_eq(varbos_error()->code, VARBOS_E_TIMEOUT);
		varbos_set_timeout(set.vb, 0);
		ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
		set.fake.lie = LIE_NONE;
		expect_soon(&set.fake.frees, i);
	}
	ck_assert_ptr_nonnull(varbos_alloc(set.space, 1));
	ck_assert_uint_eq(varbos_frees_refused(set.vb), 0);
	tear_down(&set);
}
END_TEST

START_TEST(a_space_that_opens_too_late_is_closed)
{
	struct set set;
	unsigned before;

	set_up(&set);
	varbos_space_close(set.space);
	ck_assert_uint_eq(set.fake.closes, 1);
	before = fds_open();
	set.fake.lie = LIE_LATE;
	varbos_set_timeout(set.vb, 100);
	ck_assert_int_eq(varbos_space_open(&set.space, set.vb, "s", NULL), VARBOS_E_TIMEOUT);
	varbos_set_timeout(set.vb, 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	set.fake.lie = LIE_NONE;
	expect_soon(&set.fake.closes, 2);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(fds_open(), before);
	ck_assert_int_eq(varbos_space_open(&set.space, set.vb, "s", NULL), 0);
	tear_down(&set);
}
END_TEST

START_TEST(requests_stay_unanswered_until_their_answers_come)
{
	struct set set;
	uint32_t asked;

	set_up(&set);
	varbos_set_timeout(set.vb, 5);
	set.fake.lie = LIE_SILENT;
	asked = set.fake.requests;
	for (int i = 0; i < 2 * WIRE_INFLIGHT_MAX; i++)
		ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_TIMEOUT);
	expect_soon(&set.fake.requests, asked + WIRE_INFLIGHT_MAX);
	tear_down(&set);
}
END_TEST

START_TEST(after_garbage_every_call_fails_at_once)
{
	struct set set;

	set_up(&set);
	set.fake.lie = LIE_GARBAGE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_PROTOCOL);
	set.fake.lie = LIE_SILENT;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_PROTOCOL);
	ck_assert_ptr_null(varbos_alloc(set.space, 1));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_PROTOCOL);
	tear_down(&set);
}
END_TEST

START_TEST(notes_of_a_newer_daemon_are_skipped)
{
	struct set set;

	set_up(&set);
	set.fake.lie = LIE_NEW_NOTE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(varbos_frees_refused(set.vb), 0);
	set.fake.lie = LIE_NONE;
	tear_down(&set);
}
END_TEST

START_TEST(a_refused_free_is_counted_and_its_descriptors_closed)
{
	unsigned before;
	struct set set;

	setenv("VARBOS_QUIET", "1", 1);
	set_up(&set);
	before = fds_open();
	set.fake.lie = LIE_REFUSED_NOTE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(varbos_frees_refused(set.vb), 1);
	set.fake.lie = LIE_FDS_WITH_NOTE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(varbos_frees_refused(set.vb), 2);
	ck_assert_uint_eq(fds_open(), before);
	set.fake.lie = LIE_NONE;
	tear_down(&set);
}
END_TEST

START_TEST(a_refused_free_is_named_on_standard_error_unless_quiet)
{
	char text[512] = "";
	struct set set;
	int pair[2];

	unsetenv("VARBOS_QUIET");
	set_up(&set);
	ck_assert_int_eq(pipe(pair), 0);
	ck_assert_int_ge(dup2(pair[1], STDERR_FILENO), 0);
	close(pair[1]);
	set.fake.lie = LIE_REFUSED_NOTE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	setenv("VARBOS_QUIET", "1", 1);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	close(STDERR_FILENO);
	ck_assert_int_gt(read(pair[0], text, sizeof(text) - 1), 0);
	ck_assert_str_eq(text,
			 "varbos: the daemon refused to free the block at offset 0x30000 of "
			 "space 7 (tag 0x9): VARBOS_E_REFERENCE: it is not yours\n");
	set.fake.lie = LIE_NONE;
	tear_down(&set);
}
END_TEST

START_TEST(a_double_free_is_refused_before_the_daemon_has_seen_the_first)
{
	struct set set;
	char *memory;

	set_up(&set);
	memory = varbos_alloc(set.space, EXTENT);
	ck_assert_ptr_nonnull(memory);
	set.fake.ignore_frees = true;
	ck_assert_int_eq(varbos_free(set.space, memory), 0);
	ck_assert_int_eq(varbos_free(set.space, memory), VARBOS_E_REFERENCE);
	ck_assert_str_eq(varbos_error()->which, "freed");
	ck_assert_uint_eq(varbos_usable_size(set.space, memory), 0);
	ck_assert_uint_eq(varbos_ref_of(set.space, memory), 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0); /* the notes have been read */
	ck_assert_uint_eq(set.fake.frees, 1);
	tear_down(&set);
}
END_TEST

START_TEST(a_free_that_cannot_be_sent_may_be_tried_again)
{
	struct set set;
	char *memory;

	set_up(&set);
	memory = varbos_alloc(set.space, EXTENT);
	set.fake.lie = LIE_GARBAGE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_PROTOCOL);
	ck_assert_int_eq(varbos_free(set.space, memory), VARBOS_E_PROTOCOL);
	ck_assert_int_eq(varbos_free(set.space, memory), VARBOS_E_PROTOCOL);
	tear_down(&set);
}
END_TEST

START_TEST(frees_name_what_is_wrong_with_the_pointer)
{
	struct slice_info info = {
		.kind = EXTENT_PRIVATE, .tag = 99, .head = true, .count = 1, .session = 4};
	char *memory, *next;
	struct set set;
	int local;

	set_up(&set);
	memory = varbos_alloc(set.space, EXTENT);
	next = memory + EXTENT + SLICE_BYTES;
	set.fake.words[EXTENT / SLICE_BYTES + 1] = slice_word_pack(info);
	ck_assert_uint_eq(varbos_usable_size(set.space, memory), EXTENT);

	const struct {
		void *memory;
		const char *which;
	} wrong[] = {
		{memory + 1, "interior"},
		{memory + SLICE_BYTES, "interior"},
		{memory + EXTENT, "freed"},
		{next, "not-owner"},
		{next + 1, "interior"},
		{&local, "foreign"},
		{memory + CHUNK_BYTES, "foreign"},
		{memory + 3 * WINDOW_BYTES_MAX, "foreign"},
		{memory - 1, "foreign"},
		{memory + 64 * WINDOW_BYTES_MAX, "foreign"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		ck_assert_int_eq(varbos_free(set.space, wrong[i].memory), VARBOS_E_REFERENCE);
		ck_assert_str_eq(varbos_error()->which, wrong[i].which);
	}
	ck_assert_int_eq(varbos_free(set.space, NULL), 0);
	ck_assert_int_eq(varbos_free(set.space, memory), 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(set.fake.frees, 1);
	tear_down(&set);
}
END_TEST

START_TEST(references_name_every_byte_and_go_stale)
{
	varbos_ref first, last, stale;
	struct set set;
	char *memory;

	set_up(&set);
	memory = varbos_alloc_shared(set.space, 2 << SLICE_SHIFT);
	first = varbos_ref_of(set.space, memory);
	last = varbos_ref_of(set.space, memory + (2 << SLICE_SHIFT) - 1);
	ck_assert_ptr_eq(varbos_ref_get(set.space, first), memory);
	ck_assert_ptr_eq(varbos_ref_get(set.space, last), memory + (2 << SLICE_SHIFT) - 1);
	ck_assert_ptr_null(varbos_ref_get(set.space, 0));
	ck_assert_str_eq(varbos_error()->which, "foreign");

	stale = first;
	ck_assert_int_eq(varbos_free(set.space, memory), 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_ptr_null(varbos_ref_get(set.space, stale));
	ck_assert_str_eq(varbos_error()->which, "freed");
	ck_assert_ptr_eq(varbos_alloc_shared(set.space, 1), memory);
	ck_assert_ptr_null(varbos_ref_get(set.space, stale));
	ck_assert_str_eq(varbos_error()->which, "stale");

	memory = varbos_alloc(set.space, 5 << SLICE_SHIFT);
	stale = varbos_ref_of(set.space, memory);
	ck_assert_ptr_eq(varbos_ref_get(set.space, stale), memory);
	ck_assert_int_eq(varbos_free(set.space, memory), 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_ptr_eq(varbos_alloc(set.space, 5 << SLICE_SHIFT), memory);
	ck_assert_ptr_null(varbos_ref_get(set.space, stale));
	ck_assert_str_eq(varbos_error()->which, "stale");

	ck_assert_ptr_null(varbos_ref_get(set.space, ref_make(5, offset_make(900, 0))));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_LIMIT);
	ck_assert_ptr_null(varbos_ref_get(set.space, ref_make(5, offset_make(2, 0))));
	ck_assert_str_eq(varbos_error()->which, "foreign");
	ck_assert_ptr_null(varbos_ref_get(set.space, ref_make(5, CHUNK_BYTES)));
	ck_assert_str_eq(varbos_error()->which, "foreign");
	tear_down(&set);
}
END_TEST

START_TEST(a_block_given_out_again_can_be_freed_again)
{
	struct set set;
	char *memory;

	set_up(&set);
	for (int i = 0; i < 100; i++) {
		memory = varbos_alloc(set.space, EXTENT);
		ck_assert_ptr_nonnull(memory);
		set.fake.tag_next = 1; /* even with the very same tag */
		ck_assert_int_eq(varbos_free(set.space, memory), 0);
	}
	tear_down(&set);
}
END_TEST

/* ---- asked ahead ---- */

static struct call *ask_extent(struct set *set)
{
	const struct wire_extent_alloc request = {.space = set->space->handle,
						  .size = SLICE_BYTES};

	return call_ask(&set->vb->calls, WIRE_EXTENT_ALLOC, &request);
}

START_TEST(what_is_asked_ahead_is_taken_in_by_whoever_reads)
{
	struct call *call;
	struct set set;

	set_up(&set);
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	set.fake.lie = LIE_CLOSE; /* nothing comes any more */
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_UNAVAILABLE);
	ck_assert_int_eq(call_collect(&call, 0), 0);
	ck_assert_uint_eq(call->message.body.extent_alloced.size, SLICE_BYTES);
	call_end(call);
	tear_down(&set);
}
END_TEST

START_TEST(what_is_collected_too_early_is_waited_for_until_the_deadline)
{
	struct call *call;
	struct set set;

	set_up(&set);
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	ck_assert_int_eq(call_collect(&call, 0), 0);
	call_end(call);
	set.fake.lie = LIE_SILENT;
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	varbos_set_timeout(set.vb, 20);
	ck_assert_int_eq(call_collect(&call, 0), VARBOS_E_TIMEOUT);
	ck_assert_ptr_null(call);
	tear_down(&set);
}
END_TEST

START_TEST(what_is_asked_ahead_leaves_half_of_the_requests_to_others)
{
	struct call *asked[WIRE_INFLIGHT_MAX];
	struct set set;
	unsigned n = 0;

	set_up(&set);
	while (n < WIRE_INFLIGHT_MAX && (asked[n] = ask_extent(&set)))
		n++;
	ck_assert_uint_eq(n, set.vb->calls.limit / 2);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_ptr_null(ask_extent(&set)); /* answered, but not collected */
	for (unsigned i = 0; i < n; i++)
		call_forget(asked[i]);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_ptr_nonnull(ask_extent(&set));
	tear_down(&set);
}
END_TEST

START_TEST(what_is_forgotten_is_given_back_whether_it_has_come_or_not)
{
	struct call *call;
	struct set set;

	set_up(&set);
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	call_forget(call);
	expect_soon(&set.fake.frees, 1);

	set.fake.lie = LIE_LATE; /* with the next request's */
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	call_forget(call);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	set.fake.lie = LIE_NONE;
	expect_soon(&set.fake.frees, 2);
	tear_down(&set);
}
END_TEST

START_TEST(what_is_asked_ahead_when_the_daemon_goes_fails)
{
	struct call *call;
	struct set set;

	set_up(&set);
	set.fake.lie = LIE_SILENT;
	call = ask_extent(&set);
	ck_assert_ptr_nonnull(call);
	expect_soon(&set.fake.unanswered, 1);
	set.fake.lie = LIE_CLOSE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_UNAVAILABLE);
	ck_assert_int_eq(call_collect(&call, 0), VARBOS_E_UNAVAILABLE);
	ck_assert_ptr_null(call);
	tear_down(&set);
}
END_TEST

/* ---- many threads over one socket ---- */

enum { THREADS = 12, CHURNERS = CHUNK_BYTES / EXTENT };

static void *ping_often(void *userdata)
{
	for (int i = 0; i < 300; i++)
		if (varbos_ping(userdata, NULL))
			return (void *)varbos_error()->message;
	return NULL;
}

static void *ping_once(void *userdata)
{
	return (void *)(uintptr_t)varbos_ping(userdata, NULL);
}

static void *churn(void *userdata)
{
	struct set *set = userdata;

	for (int i = 0; i < 100; i++) {
		char *memory = varbos_alloc(set->space, EXTENT);

		if (!memory || varbos_free(set->space, memory))
			return (void *)(uintptr_t)varbos_error()->code;
	}
	return NULL;
}

static void join_all(pthread_t *threads, unsigned n, uintptr_t expected)
{
	void *result;

	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		ck_assert_uint_eq((uintptr_t)result, expected);
	}
}

START_TEST(threads_share_one_socket_and_each_gets_its_own_answer)
{
	pthread_t threads[THREADS];
	struct set set;

	set_up(&set);
	calls_set_limit(&set.vb->calls, 5); /* fewer than threads: some wait for their turn */
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_often, set.vb), 0);
	join_all(threads, THREADS, 0);
	tear_down(&set);
}
END_TEST

START_TEST(threads_allocate_and_free_at_once)
{
	pthread_t threads[CHURNERS];
	struct set set;

	set_up(&set);
	for (int i = 0; i < CHURNERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &set), 0);
	join_all(threads, CHURNERS, 0);
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	ck_assert_uint_eq(set.fake.frees, CHURNERS * 100);
	tear_down(&set);
}
END_TEST

START_TEST(who_has_its_answer_hands_the_reading_on)
{
	pthread_t threads[THREADS];
	struct set set;

	set_up(&set);
	set.fake.slowly = true; /* so that each reader leaves while others sleep */
	set.fake.gather = THREADS;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_once, set.vb), 0);
	join_all(threads, THREADS, 0);
	set.fake.gather = 0;
	tear_down(&set);
}
END_TEST

START_TEST(answers_may_come_in_any_order)
{
	pthread_t threads[THREADS];
	struct set set;

	set_up(&set);
	set.fake.gather = THREADS;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_once, set.vb), 0);
	join_all(threads, THREADS, 0);
	set.fake.gather = 0;
	tear_down(&set);
}
END_TEST

START_TEST(when_the_daemon_goes_every_waiter_hears_of_it)
{
	pthread_t threads[THREADS];
	struct set set;

	set_up(&set);
	set.fake.lie = LIE_SILENT;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_once, set.vb), 0);
	while (set.fake.requests < 2 + THREADS)
		usleep(1000);
	set.fake.lie = LIE_CLOSE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), VARBOS_E_UNAVAILABLE);
	join_all(threads, THREADS, VARBOS_E_UNAVAILABLE);
	tear_down(&set);
}
END_TEST

START_TEST(when_no_one_answers_every_waiter_times_out)
{
	pthread_t threads[THREADS];
	struct set set;

	set_up(&set);
	set.fake.lie = LIE_SILENT;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping_once, set.vb), 0);
	join_all(threads, THREADS, VARBOS_E_TIMEOUT);
	set.fake.lie = LIE_NONE;
	ck_assert_int_eq(varbos_ping(set.vb, NULL), 0);
	tear_down(&set);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hostile_daemon");
	TCase *lying = tcase_create("lies"), *calls = tcase_create("calls");

	tcase_set_timeout(lying, 60);
	tcase_add_loop_test(lying, a_lie_is_refused_by_name_and_nothing_stays_open, 0,
			    ARRAY_SIZE(lies));
	tcase_add_test(lying, a_server_of_another_uid_is_refused_before_a_byte_is_sent);
	tcase_add_test(lying, root_and_the_callers_own_user_are_trusted_by_default);
	tcase_add_test(lying, an_answer_that_comes_too_late_is_dropped_with_its_descriptors);
	tcase_add_test(lying, memory_that_comes_too_late_is_given_back);
	tcase_add_test(lying, a_space_that_opens_too_late_is_closed);
	tcase_add_test(lying, requests_stay_unanswered_until_their_answers_come);
	tcase_add_test(lying, after_garbage_every_call_fails_at_once);
	tcase_add_test(lying, notes_of_a_newer_daemon_are_skipped);
	tcase_add_test(lying, a_refused_free_is_counted_and_its_descriptors_closed);
	tcase_add_test(lying, a_refused_free_is_named_on_standard_error_unless_quiet);
	suite_add_tcase(s, lying);

	tcase_set_timeout(calls, 60);
	tcase_add_test(calls, a_double_free_is_refused_before_the_daemon_has_seen_the_first);
	tcase_add_test(calls, a_free_that_cannot_be_sent_may_be_tried_again);
	tcase_add_test(calls, frees_name_what_is_wrong_with_the_pointer);
	tcase_add_test(calls, references_name_every_byte_and_go_stale);
	tcase_add_test(calls, a_block_given_out_again_can_be_freed_again);
	tcase_add_test(calls, what_is_asked_ahead_is_taken_in_by_whoever_reads);
	tcase_add_test(calls, what_is_collected_too_early_is_waited_for_until_the_deadline);
	tcase_add_test(calls, what_is_asked_ahead_leaves_half_of_the_requests_to_others);
	tcase_add_test(calls, what_is_forgotten_is_given_back_whether_it_has_come_or_not);
	tcase_add_test(calls, what_is_asked_ahead_when_the_daemon_goes_fails);
	tcase_add_test(calls, threads_share_one_socket_and_each_gets_its_own_answer);
	tcase_add_test(calls, threads_allocate_and_free_at_once);
	tcase_add_test(calls, who_has_its_answer_hands_the_reading_on);
	tcase_add_test(calls, answers_may_come_in_any_order);
	tcase_add_test(calls, when_the_daemon_goes_every_waiter_hears_of_it);
	tcase_add_test(calls, when_no_one_answers_every_waiter_times_out);
	suite_add_tcase(s, calls);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
