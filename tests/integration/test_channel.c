/*
 * Channels: what one process sends, another receives, in order and once, until one of them closes
 * or dies.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <varbos/channel.h>

#include "base/base.h"
#include "client/channel.h"
#include "proto/stats_file.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	WAIT_TRIES = 1000, /* of 10 ms */
	BATCH = 32,
	PATIENCE_MS = 20000,
	MILLION = 1000000,
};

static struct varbos_channel *channel;
static struct other other;

static void start(void (*run)(struct other *other))
{
	other_start(&other, daemon_.socket, "s", 0, run);
}

static struct varbos_channel *open_channel(uint32_t roles, uint32_t capacity)
{
	struct varbos_channel *opened;

	ck_assert_msg(
		!varbos_channel_open(&opened, space, "c", roles,
				     &(struct varbos_channel_options){.capacity = capacity}),
		"%s", varbos_error()->message);
	return opened;
}

static struct varbos_channel *other_channel(struct other *me, uint32_t roles)
{
	struct varbos_channel *opened;

	OTHER_EXPECT(!varbos_channel_open(&opened, me->space, "c", roles, NULL));
	other_say(me, 0);
	return opened;
}

static void expect_none(const void *memory, enum varbos_code code, const char *which)
{
	ck_assert_ptr_null(memory);
	expect((int)varbos_error()->code, code, which);
}

static uint32_t *alloc_numbered(uint32_t number)
{
	uint32_t *memory = varbos_alloc_shared(space, 64 + number % 1024);

	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	*memory = number;
	return memory;
}

static void send_numbered(uint32_t number)
{
	ck_assert_msg(!varbos_channel_send(channel, alloc_numbered(number), PATIENCE_MS), "%s",
		      varbos_error()->message);
}

static uint32_t *receive_one(void)
{
	uint32_t *memory = varbos_channel_receive(channel, PATIENCE_MS);

	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

/* What others free, or a sweep, is collected before it goes back. */
static void wait_used(uint64_t bytes)
{
	for (int i = 0; i < WAIT_TRIES && used() != bytes; i++) {
		usleep(10000);
		varbos_trim(space);
	}
	ck_assert_uint_eq(used(), bytes);
}

/* ---- opening ---- */

START_TEST(what_makes_no_channel_is_refused)
{
	static const char *const names[] = {"", ".c", "-c", "a b", "a/b"};
	struct varbos_channel_options options = {};
	char name[CHANNEL_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expect(varbos_channel_open(&channel, space, names[i], VARBOS_CHANNEL_SEND,
					   NULL),
		       VARBOS_E_INVALID, "name");
	memset(name, 'n', sizeof(name));
	name[CHANNEL_NAME_MAX + 1] = 0;
	expect(varbos_channel_open(&channel, space, name, VARBOS_CHANNEL_SEND, NULL),
	       VARBOS_E_INVALID, "name");
	expect(varbos_channel_open(&channel, space, NULL, VARBOS_CHANNEL_SEND, NULL),
	       VARBOS_E_INVALID, "name");
	expect(varbos_channel_open(&channel, space, "c", 0, NULL), VARBOS_E_INVALID, "roles");
	expect(varbos_channel_open(&channel, space, "c", 4, NULL), VARBOS_E_INVALID, "roles");
	options.flags = VARBOS_CHANNEL_EXISTING | VARBOS_CHANNEL_NEW;
	expect(varbos_channel_open(&channel, space, "c", VARBOS_CHANNEL_SEND, &options),
	       VARBOS_E_INVALID, "flags");
	options.flags = 8;
	expect(varbos_channel_open(&channel, space, "c", VARBOS_CHANNEL_SEND, &options),
	       VARBOS_E_INVALID, "flags");
	options = (struct varbos_channel_options){.capacity = 4097};
	expect(varbos_channel_open(&channel, space, "c", VARBOS_CHANNEL_SEND, &options),
	       VARBOS_E_INVALID, "capacity");
	expect(varbos_channel_open(NULL, space, "c", VARBOS_CHANNEL_SEND, NULL),
	       VARBOS_E_INVALID, "ret");
	expect(varbos_channel_open(&channel, NULL, "c", VARBOS_CHANNEL_SEND, NULL),
	       VARBOS_E_INVALID, "space");
	expect(varbos_channel_send(NULL, NULL, 0), VARBOS_E_INVALID, "channel");
	expect_none(varbos_channel_receive(NULL, 0), VARBOS_E_INVALID, "channel");
	varbos_channel_close(NULL);
}
END_TEST

START_TEST(a_channel_is_there_as_long_as_an_end_of_it)
{
	struct varbos_channel_options options = {.flags = VARBOS_CHANNEL_EXISTING};
	struct varbos_channel *again;
	uint32_t mine = VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE;

	expect(varbos_channel_open(&channel, space, "c", mine, &options), VARBOS_E_NOT_FOUND,
	       "channel");
	channel = open_channel(mine, 5); /* rounded up */
	options.flags = VARBOS_CHANNEL_NEW;
	expect(varbos_channel_open(&again, space, "c", mine, &options), VARBOS_E_EXISTS,
	       "channel");
	for (uint32_t i = 0; i < 8; i++)
		send_numbered(i);
	expect(varbos_channel_send(channel, alloc_numbered(8), 0), VARBOS_E_TIMEOUT, "full");
	options.flags = VARBOS_CHANNEL_EXISTING;
	ck_assert_int_eq(
		varbos_channel_open(&again, space, "c", VARBOS_CHANNEL_RECEIVE, &options), 0);
	varbos_channel_close(channel); /* the receiving end is open still */
	channel = again;
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_uint_eq(*receive_one(), i);
	expect_none(varbos_channel_receive(channel, PATIENCE_MS), VARBOS_E_CLOSED, "closed");
	varbos_channel_close(channel);
	expect(varbos_channel_open(&channel, space, "c", mine, &options), VARBOS_E_NOT_FOUND,
	       "channel");
}
END_TEST

START_TEST(capacity_zero_is_sixty_four)
{
	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 0);
	for (uint32_t i = 0; i < 64; i++)
		send_numbered(i);
	expect(varbos_channel_send(channel, alloc_numbered(64), 1), VARBOS_E_TIMEOUT, "full");
	varbos_channel_close(channel);
}
END_TEST

START_TEST(an_end_does_what_it_was_opened_for)
{
	struct varbos_channel *receiver;
	void *memory[1] = {alloc_numbered(1)};

	channel = open_channel(VARBOS_CHANNEL_SEND, 4);
	receiver = open_channel(VARBOS_CHANNEL_RECEIVE, 4);
	expect_none(varbos_channel_receive(channel, 0), VARBOS_E_PERMISSION, "receive");
	expect(varbos_channel_send(receiver, memory[0], 0), VARBOS_E_PERMISSION, "send");
	expect(varbos_channel_send_many(receiver, memory, 1, 0, NULL), VARBOS_E_PERMISSION,
	       "send");
	ck_assert_uint_eq(varbos_channel_receive_many(channel, memory, 1, 0), 0);
	expect((int)varbos_error()->code, VARBOS_E_PERMISSION, "receive");
	ck_assert_uint_eq(varbos_channel_receive_many(receiver, NULL, 1, 0), 0);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "memory");
	expect(varbos_channel_send_many(channel, NULL, 1, 0, NULL), VARBOS_E_INVALID, "memory");
	/* The space stays open with its last channel. */
	varbos_space_close(space);
	ck_assert_int_eq(varbos_channel_send(channel, memory[0], 0), 0);
	ck_assert_ptr_eq(varbos_channel_receive(receiver, 0), memory[0]);
	varbos_channel_close(channel);
	varbos_channel_close(receiver);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	wait_used(0);
}
END_TEST

static void open_read_only(struct other *me)
{
	struct varbos_channel *none;

	OTHER_EXPECT(varbos_channel_open(&none, me->space, "c", VARBOS_CHANNEL_RECEIVE, NULL) ==
		     VARBOS_E_PERMISSION);
}

START_TEST(a_reader_of_the_space_has_no_channel)
{
	other_start(&other, daemon_.socket, "s", VARBOS_SPACE_READ_ONLY, open_read_only);
	other_end(&other);
}
END_TEST

START_TEST(its_memory_is_nobodys_to_free)
{
	char *memory;

	channel = open_channel(VARBOS_CHANNEL_SEND, 4);
	memory = (char *)channel->end.ring;
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "foreign");
	ck_assert_uint_eq(varbos_usable_size(space, memory), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "foreign");
	ck_assert_uint_eq(varbos_ref_of(space, memory), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "foreign");
	ck_assert_uint_eq(varbos_send(space, memory, VARBOS_ANYONE), 0);
	expect((int)varbos_error()->code, VARBOS_E_REFERENCE, "foreign");
	memory = varbos_alloc_shared(space, 64);
	ck_assert_uint_eq(varbos_send(space, memory, channel->end.channel), 0);
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "to");
	varbos_channel_close(channel);
}
END_TEST

/* ---- handing over ---- */

static void receive_all(struct other *me)
{
	struct varbos_channel *from = other_channel(me, VARBOS_CHANNEL_RECEIVE);
	uint32_t batch = (uint32_t)other_hear(me), expected = 0;
	uint32_t *memory[BATCH];
	size_t n;

	while ((n = varbos_channel_receive_many(from, (void **)memory, batch, PATIENCE_MS)))
		for (size_t i = 0; i < n; i++) {
			OTHER_EXPECT(*memory[i] == expected);
			OTHER_EXPECT(!varbos_free(me->space, memory[i]));
			expected++;
		}
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_CLOSED);
	other_say(me, expected);
}

START_TEST(what_is_sent_arrives_in_order)
{
	const uint32_t n = 20000;
	void *memory[BATCH];
	size_t sent;

	channel = open_channel(VARBOS_CHANNEL_SEND, 64);
	start(receive_all);
	other_hear(&other);
	other_say(&other, _i ? BATCH : 1);
	for (uint32_t i = 0; i < n; i += _i ? BATCH : 1) {
		if (!_i) {
			send_numbered(i);
			continue;
		}
		for (uint32_t k = 0; k < BATCH; k++)
			memory[k] = alloc_numbered(i + k);
		ck_assert_int_eq(
			varbos_channel_send_many(channel, memory, BATCH, PATIENCE_MS, &sent),
			0);
		ck_assert_uint_eq(sent, BATCH);
	}
	varbos_channel_close(channel);
	ck_assert_uint_eq(other_hear(&other), n);
	other_end(&other);
	wait_used(0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(large_memory_passes_like_any_other)
{
	char *memory = varbos_alloc_shared(space, 3 * MIB);

	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 4);
	memory[3 * MIB - 1] = 'x';
	ck_assert_int_eq(varbos_channel_send(channel, memory, 0), 0);
	expect(varbos_free(space, memory), VARBOS_E_REFERENCE, "not-owner");
	ck_assert_ptr_eq(varbos_channel_receive(channel, 0), memory);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	varbos_channel_close(channel);
	wait_used(0);
}
END_TEST

START_TEST(what_is_not_held_is_not_sent_and_the_rest_of_its_batch_waits)
{
	void *memory[4] = {alloc_numbered(0), alloc_numbered(1), alloc_numbered(2),
			   alloc_numbered(3)};
	char *mine = varbos_alloc(space, 64);
	size_t sent = 9;

	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 4);
	expect(varbos_channel_send(channel, mine, 0), VARBOS_E_REFERENCE, "foreign");
	expect(varbos_channel_send(channel, &sent, 0), VARBOS_E_REFERENCE, "foreign");
	expect(varbos_channel_send(channel, (char *)memory[0] + 1, 0), VARBOS_E_REFERENCE,
	       "interior");
	ck_assert_uint_ne(varbos_send(space, memory[2], VARBOS_ANYONE), 0);
	expect(varbos_channel_send(channel, memory[2], 0), VARBOS_E_REFERENCE, "not-owner");
	expect(varbos_channel_send_many(channel, memory, 4, 0, &sent), VARBOS_E_REFERENCE,
	       "not-owner");
	ck_assert_uint_eq(sent, 2);
	ck_assert_int_eq(varbos_free(space, memory[3]), 0);
	expect(varbos_channel_send(channel, memory[3], 0), VARBOS_E_REFERENCE, "freed");
	/* The same one twice: the second is not this process's any more. */
	memory[2] = alloc_numbered(4);
	memory[3] = memory[2];
	expect(varbos_channel_send_many(channel, memory + 2, 2, 0, &sent), VARBOS_E_REFERENCE,
	       "not-owner");
	ck_assert_uint_eq(sent, 1);
	ck_assert_ptr_eq(varbos_channel_receive(channel, 0), memory[0]);
	ck_assert_ptr_eq(varbos_channel_receive(channel, 0), memory[1]);
	ck_assert_ptr_eq(varbos_channel_receive(channel, 0), memory[2]);
	expect_none(varbos_channel_receive(channel, 0), VARBOS_E_TIMEOUT, "empty");
	varbos_channel_close(channel);
}
END_TEST

START_TEST(as_many_go_as_there_is_room_for)
{
	void *memory[8];
	size_t sent;

	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 4);
	for (uint32_t i = 0; i < 8; i++)
		memory[i] = alloc_numbered(i);
	expect(varbos_channel_send_many(channel, memory, 8, 5, &sent), VARBOS_E_TIMEOUT,
	       "full");
	ck_assert_uint_eq(sent, 4);
	ck_assert_int_eq(varbos_free(space, memory[4]), 0); /* still held */
	ck_assert_uint_eq(varbos_channel_receive_many(channel, memory, 8, 0), 4);
	ck_assert_uint_eq(*(uint32_t *)memory[3], 3);
	varbos_channel_close(channel);
}
END_TEST

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

START_TEST(who_waits_in_vain_waits_until_the_deadline)
{
	uint64_t before = now_ms();

	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 1);
	expect_none(varbos_channel_receive(channel, 30), VARBOS_E_TIMEOUT, "empty");
	ck_assert_uint_ge(now_ms() - before, 30);
	send_numbered(0);
	before = now_ms();
	expect(varbos_channel_send(channel, alloc_numbered(1), 30), VARBOS_E_TIMEOUT, "full");
	ck_assert_uint_ge(now_ms() - before, 30);
	varbos_channel_close(channel);
}
END_TEST

static void send_when_told(struct other *me)
{
	struct varbos_channel *to = other_channel(me, VARBOS_CHANNEL_SEND);

	other_hear(me);
	usleep(50000);
	OTHER_EXPECT(!varbos_channel_send(to, varbos_alloc_shared(me->space, 64), 0));
	other_hear(me);
}

START_TEST(who_sleeps_is_woken_by_what_comes)
{
	channel = open_channel(VARBOS_CHANNEL_RECEIVE, 4);
	start(send_when_told);
	other_hear(&other);
	other_say(&other, 0);
	ck_assert_ptr_nonnull(varbos_channel_receive(channel, VARBOS_FOREVER));
	other_say(&other, 0);
	other_end(&other);
	varbos_channel_close(channel);
}
END_TEST

static void receive_when_told(struct other *me)
{
	struct varbos_channel *from = other_channel(me, VARBOS_CHANNEL_RECEIVE);

	other_hear(me);
	usleep(50000);
	OTHER_EXPECT(varbos_channel_receive(from, 0));
	other_hear(me);
}

START_TEST(who_sleeps_is_woken_by_room)
{
	channel = open_channel(VARBOS_CHANNEL_SEND, 1);
	start(receive_when_told);
	other_hear(&other);
	send_numbered(0);
	other_say(&other, 0);
	ck_assert_int_eq(varbos_channel_send(channel, alloc_numbered(1), VARBOS_FOREVER), 0);
	other_say(&other, 0);
	other_end(&other);
	varbos_channel_close(channel);
}
END_TEST

/* Each of many sends its numbers, each of many counts what comes. */
enum { SENDERS = 3, RECEIVERS = 2, EACH = 5000 };

static void send_each(struct other *me)
{
	struct varbos_channel *to = other_channel(me, VARBOS_CHANNEL_SEND);

	for (uint32_t i = 0; i < EACH; i++) {
		uint32_t *memory = varbos_alloc_shared(me->space, 64);

		OTHER_EXPECT(memory);
		*memory = i;
		OTHER_EXPECT(!varbos_channel_send(to, memory, PATIENCE_MS));
	}
	other_hear(me); /* what it has sent outlives it anyway, but not its slices' owner */
}

static void count_each(struct other *me)
{
	struct varbos_channel *from = other_channel(me, VARBOS_CHANNEL_RECEIVE);
	uint64_t n = 0, sum = 0;
	uint32_t *memory[BATCH];
	size_t got;

	while ((got = varbos_channel_receive_many(from, (void **)memory, 7, PATIENCE_MS)))
		for (size_t i = 0; i < got; i++) {
			n++;
			sum += *memory[i];
			OTHER_EXPECT(!varbos_free(me->space, memory[i]));
		}
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_CLOSED);
	other_say(me, n);
	other_say(me, sum);
}

START_TEST(many_senders_and_receivers_lose_nothing)
{
	struct other senders[SENDERS], receivers[RECEIVERS];
	uint64_t n = 0, sum = 0;

	channel = open_channel(VARBOS_CHANNEL_SEND, 16);
	for (int i = 0; i < RECEIVERS; i++) {
		start(count_each);
		other_hear(&other);
		receivers[i] = other;
	}
	for (int i = 0; i < SENDERS; i++) {
		start(send_each);
		other_hear(&other);
		senders[i] = other;
	}
	varbos_channel_close(channel); /* the last sender's end is the last */
	for (int i = 0; i < SENDERS; i++) {
		other_say(&senders[i], 0);
		other_end(&senders[i]);
	}
	for (int i = 0; i < RECEIVERS; i++) {
		n += other_hear(&receivers[i]);
		sum += other_hear(&receivers[i]);
		other_end(&receivers[i]);
	}
	ck_assert_uint_eq(n, SENDERS * EACH);
	ck_assert_uint_eq(sum, (uint64_t)SENDERS * EACH * (EACH - 1) / 2);
	wait_used(0);
}
END_TEST

static void *count_in_thread(void *userdata)
{
	uintptr_t n = 0;
	void *memory;

	while ((memory = varbos_channel_receive(userdata, PATIENCE_MS)) &&
	       *(uint32_t *)memory) {
		n++;
		if (varbos_free(space, memory))
			return (void *)-1;
	}
	return (void *)n;
}

START_TEST(threads_of_one_process_share_an_end)
{
	struct varbos_channel *receiver = open_channel(VARBOS_CHANNEL_RECEIVE, 16);
	pthread_t threads[3];
	uintptr_t n = 0;

	channel = open_channel(VARBOS_CHANNEL_SEND, 16);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_in_thread, receiver),
				 0);
	for (uint32_t i = 1; i <= EACH; i++)
		send_numbered(i);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		send_numbered(0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *counted;

		pthread_join(threads[i], &counted);
		n += (uintptr_t)counted;
	}
	ck_assert_uint_eq(n, EACH);
	varbos_channel_close(channel);
	varbos_channel_close(receiver);
}
END_TEST

static uint64_t requests(void)
{
	static struct stats_file file;
	static struct stats_copy copy;
	struct call *call;
	char path[128];
	FILE *stream;

	/* Which brings the statistics up to date. */
	ck_assert_int_eq(call_begin(&call, &vb->calls, WIRE_STATUS, &(struct wire_empty){}, 0),
			 0);
	call_end(call);
	snprintf(path, sizeof(path), "%s.stats", daemon_.socket);
	stream = fopen(path, "r");
	ck_assert_ptr_nonnull(stream);
	ck_assert_uint_eq(fread(&file, sizeof(file), 1, stream), 1);
	fclose(stream);
	ck_assert_int_eq(stats_file_read(&file, &copy), 0);
	return copy.requests;
}

static void receive_and_free_all(struct other *me)
{
	struct varbos_channel *from = other_channel(me, VARBOS_CHANNEL_RECEIVE);
	void *memory[BATCH];
	uint64_t n = 0;
	size_t got;

	while (n < MILLION) {
		OTHER_EXPECT(
			(got = varbos_channel_receive_many(from, memory, BATCH, PATIENCE_MS)));
		for (size_t i = 0; i < got; i++)
			OTHER_EXPECT(!varbos_free(me->space, memory[i]));
		n += got;
	}
	other_say(me, 0);
	other_hear(me);
}

START_TEST(handing_over_a_million_blocks_costs_the_daemon_nothing)
{
	void *memory[BATCH];
	uint64_t before;

	channel = open_channel(VARBOS_CHANNEL_SEND, 256);
	start(receive_and_free_all);
	other_hear(&other);
	before = requests();
	for (uint64_t n = 0; n < MILLION; n += BATCH) {
		for (int k = 0; k < BATCH; k++) {
			memory[k] = varbos_alloc_shared(space, 64);
			ck_assert_ptr_nonnull(memory[k]);
		}
		ck_assert_int_eq(
			varbos_channel_send_many(channel, memory, BATCH, PATIENCE_MS, NULL), 0);
	}
	other_hear(&other);
	/* The few slices in use, a window and its words for each of the two, two statuses. */
	ck_assert_uint_le(requests() - before, 20);
	other_say(&other, 0);
	other_end(&other);
	varbos_channel_close(channel);
}
END_TEST

/* ---- ends that go ---- */

static void send_some_and_close(struct other *me)
{
	struct varbos_channel *to = other_channel(me, VARBOS_CHANNEL_SEND);

	for (uint32_t i = 0; i < 3; i++) {
		uint32_t *memory = varbos_alloc_shared(me->space, 64);

		*memory = i;
		OTHER_EXPECT(!varbos_channel_send(to, memory, 0));
	}
	other_say(me, 0);
	if (other_hear(me))
		varbos_channel_close(to);
	other_say(me, 0);
	other_hear(me);
}

START_TEST(a_receiver_gets_the_rest_and_then_hears_that_nobody_sends)
{
	channel = open_channel(VARBOS_CHANNEL_RECEIVE, 4);
	expect_none(varbos_channel_receive(channel, 0), VARBOS_E_TIMEOUT, "empty");
	start(send_some_and_close);
	other_hear(&other);
	other_hear(&other);
	other_say(&other, _i);
	other_hear(&other);
	if (!_i)
		other_kill(&other);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(*receive_one(), i);
	expect_none(varbos_channel_receive(channel, PATIENCE_MS), VARBOS_E_CLOSED,
		    _i ? "closed" : "died");
	if (_i) {
		other_say(&other, 0);
		other_end(&other);
	}
	varbos_channel_close(channel);
}
END_TEST

static void receive_none(struct other *me)
{
	struct varbos_channel *from = other_channel(me, VARBOS_CHANNEL_RECEIVE);

	if (other_hear(me))
		varbos_channel_close(from);
	other_say(me, 0);
	other_hear(me);
}

START_TEST(a_sender_hears_that_nobody_receives)
{
	uint32_t *memory;
	int r = 0;

	channel = open_channel(VARBOS_CHANNEL_SEND, 4);
	send_numbered(0); /* nobody receives yet */
	start(receive_none);
	other_hear(&other);
	other_say(&other, _i);
	other_hear(&other);
	if (!_i)
		other_kill(&other);
	memory = alloc_numbered(1);
	/* By and by: until then there is room, or not. */
	for (int i = 0; i < WAIT_TRIES && r != VARBOS_E_CLOSED; i++) {
		r = varbos_channel_send(channel, memory, 0);
		if (!r)
			memory = alloc_numbered(1);
		else if (r != VARBOS_E_CLOSED)
			expect(r, VARBOS_E_TIMEOUT, "full");
		usleep(10000);
	}
	expect(r, VARBOS_E_CLOSED, _i ? "closed" : "died");
	ck_assert_int_eq(varbos_free(space, memory), 0); /* it was still held */
	if (_i) {
		other_say(&other, 0);
		other_end(&other);
	}
	varbos_channel_close(channel);
	wait_used(0); /* what was in it has been freed */
}
END_TEST

static void die_soon(struct other *me)
{
	other_channel(me, (uint32_t)other_hear(me));
	usleep(50000);
	raise(SIGKILL);
}

START_TEST(who_sleeps_is_woken_by_the_others_death)
{
	start(die_soon);
	if (_i) {
		channel = open_channel(VARBOS_CHANNEL_RECEIVE, 4);
		other_say(&other, VARBOS_CHANNEL_SEND);
		other_hear(&other);
		expect_none(varbos_channel_receive(channel, VARBOS_FOREVER), VARBOS_E_CLOSED,
			    "died");
	} else {
		channel = open_channel(VARBOS_CHANNEL_SEND, 1);
		send_numbered(0);
		other_say(&other, VARBOS_CHANNEL_RECEIVE);
		other_hear(&other);
		expect(varbos_channel_send(channel, alloc_numbered(1), VARBOS_FOREVER),
		       VARBOS_E_CLOSED, "died");
	}
	waitpid(other.pid, NULL, 0);
	varbos_channel_close(channel);
}
END_TEST

START_TEST(what_is_in_a_channel_when_its_last_end_goes_is_freed)
{
	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 8);
	for (uint32_t i = 0; i < 4; i++)
		send_numbered(i);
	ck_assert_int_eq(varbos_channel_send(channel, varbos_alloc_shared(space, MIB), 0), 0);
	varbos_channel_close(channel);
	wait_used(0);
}
END_TEST

START_TEST(a_forked_child_has_an_end_of_its_own)
{
	uint32_t *memory;
	int status;
	pid_t pid;

	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 4);
	send_numbered(7);
	pid = fork();
	if (!pid) {
		OTHER_EXPECT((memory = varbos_channel_receive(channel, PATIENCE_MS)));
		OTHER_EXPECT(*memory == 7);
		OTHER_EXPECT(!varbos_free(space, memory));
		OTHER_EXPECT((memory = varbos_alloc_shared(space, 64)));
		*memory = 8;
		OTHER_EXPECT(!varbos_channel_send(channel, memory, 0));
		varbos_channel_close(channel);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(*receive_one(), 8);
	expect_none(varbos_channel_receive(channel, 0), VARBOS_E_TIMEOUT, "empty");
	pid = fork();
	if (!pid) {
		varbos_channel_close(channel); /* the parent's, unused here */
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	send_numbered(9);
	ck_assert_uint_eq(*receive_one(), 9);
	varbos_channel_close(channel);
}
END_TEST

START_TEST(a_spoiled_ring_is_told_and_harms_nobody)
{
	channel = open_channel(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, 4);
	send_numbered(1);
	/* References that nobody has sent: skipped, whatever they name. */
	const uint64_t wrong[] = {UINT64_MAX, 1, ref_make(5, offset_make(900, 0)),
				  ref_make(5, offset_make(0, 31 * MIB))};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		channel->end.ring->slots[(i + 1) % 4] = wrong[i];
		channel->end.ring->send.tail++;
		if (!i)
			ck_assert_uint_eq(*receive_one(), 1);
		expect_none(varbos_channel_receive(channel, 0), VARBOS_E_TIMEOUT, "empty");
	}
	channel->end.ring->send.tail += 100;
	expect_none(varbos_channel_receive(channel, 0), VARBOS_E_UNTRUSTED, "channel");
	expect(varbos_channel_send(channel, alloc_numbered(2), 0), VARBOS_E_UNTRUSTED,
	       "channel");
	varbos_channel_close(channel);
}
END_TEST

START_TEST(disconnecting_ends_channels_that_are_open)
{
	struct varbos_channel *left;
	struct varbos_space *others;
	struct varbos *second;

	channel = open_channel(VARBOS_CHANNEL_RECEIVE, 4);
	ck_assert_int_eq(varbos_connect(&second, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&others, second, "s", NULL), 0);
	ck_assert_int_eq(varbos_channel_open(&left, others, "c", VARBOS_CHANNEL_SEND, NULL), 0);
	varbos_disconnect(second);
	expect_none(varbos_channel_receive(channel, PATIENCE_MS), VARBOS_E_CLOSED, "closed");
	varbos_channel_close(channel);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel");
	TCase *opening = tcase_create("opening"), *handing = tcase_create("handing over"),
	      *ends = tcase_create("ends");

	tcase_add_checked_fixture(opening, set_up, tear_down);
	tcase_set_timeout(opening, 60);
	tcase_add_test(opening, what_makes_no_channel_is_refused);
	tcase_add_test(opening, a_channel_is_there_as_long_as_an_end_of_it);
	tcase_add_test(opening, capacity_zero_is_sixty_four);
	tcase_add_test(opening, an_end_does_what_it_was_opened_for);
	tcase_add_test(opening, a_reader_of_the_space_has_no_channel);
	tcase_add_test(opening, its_memory_is_nobodys_to_free);
	suite_add_tcase(suite, opening);

	tcase_add_checked_fixture(handing, set_up, tear_down);
	tcase_set_timeout(handing, 120);
	tcase_add_loop_test(handing, what_is_sent_arrives_in_order, 0, 2);
	tcase_add_test(handing, large_memory_passes_like_any_other);
	tcase_add_test(handing, what_is_not_held_is_not_sent_and_the_rest_of_its_batch_waits);
	tcase_add_test(handing, as_many_go_as_there_is_room_for);
	tcase_add_test(handing, who_waits_in_vain_waits_until_the_deadline);
	tcase_add_test(handing, who_sleeps_is_woken_by_what_comes);
	tcase_add_test(handing, who_sleeps_is_woken_by_room);
	tcase_add_test(handing, many_senders_and_receivers_lose_nothing);
	tcase_add_test(handing, threads_of_one_process_share_an_end);
	tcase_add_test(handing, handing_over_a_million_blocks_costs_the_daemon_nothing);
	suite_add_tcase(suite, handing);

	tcase_add_checked_fixture(ends, set_up, tear_down);
	tcase_set_timeout(ends, 60);
	tcase_add_loop_test(ends, a_receiver_gets_the_rest_and_then_hears_that_nobody_sends, 0,
			    2);
	tcase_add_loop_test(ends, a_sender_hears_that_nobody_receives, 0, 2);
	tcase_add_loop_test(ends, who_sleeps_is_woken_by_the_others_death, 0, 2);
	tcase_add_test(ends, what_is_in_a_channel_when_its_last_end_goes_is_freed);
	tcase_add_test(ends, a_forked_child_has_an_end_of_its_own);
	tcase_add_test(ends, a_spoiled_ring_is_told_and_harms_nobody);
	tcase_add_test(ends, disconnecting_ends_channels_that_are_open);
	suite_add_tcase(suite, ends);
	return suite_run(suite);
}
