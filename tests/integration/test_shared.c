/*
 * Shared blocks: handed from process to process, freed by whoever holds them, and by nobody else.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/base.h"
#include "client/space.h"
#include "proto/block_word.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	WAIT_TRIES = 1000, /* of 10 ms */
	SLICE_OF_64 = 1024,
};

static struct other other;

static void start(void (*run)(struct other *other))
{
	other_start(&other, daemon_.socket, "s", 0, run);
}

static void expect_error(enum varbos_code code, const char *which)
{
	ck_assert_msg(varbos_error()->code == code, "%s instead of %s: %s",
		      varbos_code_name((int)varbos_error()->code), varbos_code_name((int)code),
		      varbos_error()->message);
	ck_assert_str_eq(varbos_error()->which, which);
}

static void expect_free(void *memory, const char *which)
{
	ck_assert_int_eq(varbos_free(space, memory), VARBOS_E_REFERENCE);
	expect_error(VARBOS_E_REFERENCE, which);
}

static void expect_send(void *memory, uint32_t to, enum varbos_code code, const char *which)
{
	ck_assert_uint_eq(varbos_send(space, memory, to), 0);
	expect_error(code, which);
}

static void expect_receive(varbos_ref ref, const char *which)
{
	ck_assert_ptr_null(varbos_receive(space, ref));
	expect_error(VARBOS_E_REFERENCE, which);
}

static void wait_used(uint64_t bytes)
{
	for (int i = 0; i < WAIT_TRIES && used() != bytes; i++)
		usleep(10000);
	ck_assert_uint_eq(used(), bytes);
}

static char *alloc(size_t size)
{
	char *memory = varbos_alloc_shared(space, size);

	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

static varbos_ref send_to(void *memory, uint32_t to)
{
	varbos_ref ref = varbos_send(space, memory, to);

	ck_assert_msg(ref != 0, "%s", varbos_error()->message);
	return ref;
}

static char *receive(varbos_ref ref)
{
	char *memory = varbos_receive(space, ref);

	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

/* ---- from hand to hand ---- */

static void answer(struct other *me)
{
	char *memory;

	other_say(me, varbos_self(me->space));
	OTHER_EXPECT((memory = varbos_receive(me->space, other_hear(me))));
	OTHER_EXPECT(!strcmp(memory, "from the parent"));
	strcpy(memory, "from the child");
	other_say(me, varbos_send(me->space, memory, (uint32_t)other_hear(me)));
	other_hear(me);
	OTHER_EXPECT(varbos_free(me->space, memory) == VARBOS_E_REFERENCE);
	OTHER_EXPECT(!strcmp(varbos_error()->which, "not-owner"));
}

START_TEST(a_block_goes_there_and_back)
{
	const size_t sizes[] = {1, 64, 3000, 100000, 256 << 10, 3 * MIB};
	size_t size = sizes[_i];
	char *memory, *again;
	varbos_ref ref;
	uint32_t to;

	start(answer);
	to = (uint32_t)other_hear(&other);
	ck_assert_uint_ne(to, varbos_self(space));
	memory = alloc(size > 32 ? size : 32);
	ck_assert_uint_ge(varbos_usable_size(space, memory), size);
	strcpy(memory, "from the parent");
	ref = send_to(memory, to);
	ck_assert_uint_eq(ref, varbos_ref_of(space, memory));
	expect_free(memory, "not-owner");
	other_say(&other, ref);
	other_say(&other, varbos_self(space));
	again = receive(other_hear(&other));
	ck_assert_ptr_eq(again, memory);
	ck_assert_str_eq(again, "from the child");
	other_say(&other, 0);
	other_end(&other);
	ck_assert_int_eq(varbos_free(space, again), 0);
	expect_free(again, "freed");
}
END_TEST

static void receive_and_free(struct other *me)
{
	void *memory;

	other_say(me, varbos_self(me->space));
	for (uint64_t ref; (ref = other_hear(me));) {
		OTHER_EXPECT((memory = varbos_receive(me->space, ref)));
		OTHER_EXPECT(!varbos_free(me->space, memory));
		other_say(me, 0);
	}
}

static int compare(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(what_others_free_is_allocated_again)
{
	const size_t size = _i ? 100000 : 64;
	const uint32_t n = _i ? 13 : SLICE_OF_64;
	char *blocks[SLICE_OF_64], *again[SLICE_OF_64];
	uint64_t before;
	uint32_t to;

	start(receive_and_free);
	to = (uint32_t)other_hear(&other);
	for (uint32_t i = 0; i < n; i++)
		blocks[i] = alloc(size);
	before = used();
	for (uint32_t i = 0; i < n; i++) {
		other_say(&other, send_to(blocks[i], to));
		other_hear(&other);
	}
	for (uint32_t i = 0; i < n; i++)
		again[i] = alloc(size);
	ck_assert_uint_le(used(), before + before / 8); /* what is asked ahead may have come */
	qsort(blocks, n, sizeof(blocks[0]), compare);
	qsort(again, n, sizeof(again[0]), compare);
	for (uint32_t i = 0; i < n && !_i; i++) /* of large ones nothing is kept cut */
		ck_assert_ptr_eq(blocks[i], again[i]);
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

START_TEST(large_memory_that_another_frees_goes_back)
{
	char *memory;
	uint32_t to;

	start(receive_and_free);
	to = (uint32_t)other_hear(&other);
	memory = alloc(5 * MIB);
	ck_assert_uint_eq(varbos_usable_size(space, memory), 5 * MIB);
	ck_assert_uint_eq(used(), 5 * MIB);
	other_say(&other, send_to(memory, to));
	other_hear(&other);
	wait_used(0);
	other_say(&other, 0);
	other_end(&other);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

static void *free_it(void *memory)
{
	return (void *)(intptr_t)varbos_free(space, memory);
}

static struct wire_extent_alloced raw_alloc(struct peer *peer, uint64_t handle)
{
	ck_assert(peer_call(
		peer, WIRE_EXTENT_ALLOC,
		&(struct wire_extent_alloc){.space = handle, .size = MIB, .shared = true}));
	return peer->answer.body.extent_alloced;
}

static void *raw_memory(struct wire_extent_alloced extent)
{
	void *memory = varbos_ref_get(space, ref_make((uint32_t)extent.tag, extent.offset));

	ck_assert_msg(memory, "%s", varbos_error()->message);
	return memory;
}

START_TEST(what_a_stranger_shares_without_words_anyone_frees)
{
	struct peer stranger;
	uint64_t handle;
	void *memory;

	peer_open(&stranger, daemon_.socket);
	handle = peer_open_space(&stranger, "s");
	memory = raw_memory(raw_alloc(&stranger, handle));
	ck_assert_uint_eq(used(), MIB);
	expect_free((char *)memory + 65536, "interior");
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_uint_eq(used(), 0);
	expect_free(memory, "freed");
	peer_close(&stranger);
}
END_TEST

/* By a pointer that was left of what was there before. */
START_TEST(what_its_holder_has_just_been_granted_nobody_else_frees)
{
	struct wire_extent_alloced extent;
	struct peer stranger;
	uint64_t handle;

	peer_open(&stranger, daemon_.socket);
	handle = peer_open_space(&stranger, "s");
	ck_assert(peer_call(&stranger, WIRE_HOLDER_OPEN,
			    &(struct wire_space_handle){.space = handle}));
	extent = raw_alloc(&stranger, handle);
	expect_free(raw_memory(extent), "freed");
	ck_assert_uint_eq(used(), MIB);
	/* It never takes its word. */
	ck_assert(peer_call(&stranger, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&stranger);
	wait_used(0);
}
END_TEST

/* As a sweep does that finds the word. */
START_TEST(who_is_overtaken_freeing_large_memory_is_not_refused)
{
	struct wire_extent_free same = {.maybe = true};
	struct peer stranger;
	varbos_ref ref;
	void *memory;

	peer_open(&stranger, daemon_.socket);
	same.space = peer_open_space(&stranger, "s");
	memory = alloc(MIB);
	ref = varbos_ref_of(space, memory);
	same.offset = ref_offset(ref);
	same.tag = ref_tag(ref);
	ck_assert_int_eq(kill(daemon_.pid, SIGSTOP), 0);
	peer_note(&stranger, WIRE_EXTENT_FREE, &same);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_int_eq(kill(daemon_.pid, SIGCONT), 0);
	wait_used(0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
	peer_close(&stranger);
}
END_TEST

START_TEST(another_thread_frees_what_its_process_holds)
{
	void *memory = alloc(64), *r;
	pthread_t thread;

	for (int i = 0; i < 2 * SLICE_OF_64; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, free_it, memory), 0);
		pthread_join(thread, &r);
		ck_assert_ptr_null(r);
		memory = alloc(64);
	}
	ck_assert_uint_le(used(), MIB);
}
END_TEST

START_TEST(trim_gives_back_what_others_have_freed)
{
	void *blocks[300];
	uint32_t to;

	start(receive_and_free);
	to = (uint32_t)other_hear(&other);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = alloc(20000);
	ck_assert_uint_ge(used(), 300 * 20000);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		other_say(&other, send_to(blocks[i], to));
		other_hear(&other);
	}
	ck_assert_int_eq(varbos_trim(space), 0);
	wait_used(0);
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

/* ---- what is refused ---- */

static void hold_and_wait(struct other *me)
{
	char *memory;
	varbos_ref ref;

	OTHER_EXPECT((memory = varbos_alloc_shared(me->space, 200)));
	other_say(me, varbos_ref_of(me->space, memory));
	other_say(me, varbos_self(me->space));
	while ((ref = other_hear(me)))
		other_say(me, varbos_receive(me->space, ref) ? 0 : varbos_error()->code);
}

START_TEST(who_does_not_hold_a_block_can_neither_free_nor_send_it)
{
	char text[32], *memory;

	start(hold_and_wait);
	memory = varbos_ref_get(space, other_hear(&other));
	other_hear(&other);
	ck_assert_ptr_nonnull(memory); /* a loan */
	ck_assert_uint_eq(varbos_usable_size(space, memory), 256);
	expect_free(memory, "not-owner");
	snprintf(text, sizeof(text), "process %d", (int)other.pid);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, text));
	/* Also once this process is somebody. */
	ck_assert_uint_ne(varbos_self(space), 0);
	expect_free(memory, "not-owner");
	expect_send(memory, VARBOS_ANYONE, VARBOS_E_REFERENCE, "not-owner");
	expect_receive(varbos_ref_of(space, memory), "not-owner");
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

START_TEST(what_was_sent_to_another_is_not_received)
{
	void *memory = alloc(64);
	varbos_ref ref;

	start(hold_and_wait);
	other_hear(&other);
	other_hear(&other);
	ref = send_to(memory, varbos_self(space));
	other_say(&other, ref);
	ck_assert_uint_eq(other_hear(&other), VARBOS_E_REFERENCE);
	ck_assert_ptr_eq(receive(ref), memory);
	expect_receive(ref, "not-owner"); /* received already */
	other_say(&other, ref);
	ck_assert_uint_eq(other_hear(&other), VARBOS_E_REFERENCE);
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

START_TEST(what_is_anyones_is_the_first_ones)
{
	varbos_ref ref = send_to(alloc(64), VARBOS_ANYONE);

	start(hold_and_wait);
	other_hear(&other);
	other_hear(&other);
	other_say(&other, ref);
	ck_assert_uint_eq(other_hear(&other), 0);
	expect_receive(ref, "not-owner");
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

START_TEST(nobody_sends_to_who_is_not_there)
{
	char *memory = alloc(64);
	uint32_t to;

	expect_send(memory, 1024, VARBOS_E_INVALID, "to");
	expect_send(memory, 700, VARBOS_E_CLOSED, "died");
	start(hold_and_wait);
	other_hear(&other);
	to = (uint32_t)other_hear(&other);
	other_kill(&other);
	for (int i = 0; i < WAIT_TRIES && !shared_is_dead(space, to); i++)
		usleep(10000);
	expect_send(memory, to, VARBOS_E_CLOSED, "died");
	ck_assert_int_eq(varbos_free(space, memory), 0); /* it was still held */
}
END_TEST

START_TEST(pointers_that_name_no_block_are_refused)
{
	char *memory = alloc(3000), *large = alloc(2 * MIB), *mine = varbos_alloc(space, 64);
	char local;

	expect_free(memory + 64, "interior");
	expect_free(large + 64, "interior");
	expect_free(large + 65536, "interior");
	expect_send(memory + 1, VARBOS_ANYONE, VARBOS_E_REFERENCE, "interior");
	expect_send(large + 65536, VARBOS_ANYONE, VARBOS_E_REFERENCE, "interior");
	expect_send(mine, VARBOS_ANYONE, VARBOS_E_REFERENCE, "foreign");
	expect_send(&local, VARBOS_ANYONE, VARBOS_E_REFERENCE, "foreign");
	expect_free(memory + (size_t)5 * 3072, "freed"); /* cut, never given out */
	ck_assert_uint_eq(varbos_usable_size(space, memory + 1), 0);
	expect_error(VARBOS_E_REFERENCE, "interior");
	ck_assert_int_eq(varbos_free(space, memory), 0);
	expect_free(memory, "freed");
	expect_send(memory, VARBOS_ANYONE, VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(varbos_usable_size(space, memory), 0);
	expect_error(VARBOS_E_REFERENCE, "freed");
	ck_assert_uint_eq(varbos_ref_of(space, memory), 0);
	expect_error(VARBOS_E_REFERENCE, "freed");
	ck_assert_int_eq(varbos_free(space, large), 0);
	expect_free(large, "freed");
}
END_TEST

START_TEST(references_go_stale_with_their_block)
{
	char *memory = alloc(64);
	varbos_ref ref = varbos_ref_of(space, memory),
		   middle = varbos_ref_of(space, memory + 9);

	ck_assert_ptr_eq(varbos_ref_get(space, ref), memory);
	ck_assert_ptr_eq(varbos_ref_get(space, middle), memory + 9);
	expect_receive(middle, "interior");
	expect_receive(varbos_ref_of(space, varbos_alloc(space, 64)), "foreign");
	expect_receive(5, "foreign");
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_ptr_null(varbos_ref_get(space, ref));
	expect_error(VARBOS_E_REFERENCE, "freed");
	expect_receive(ref, "freed");
	ck_assert_ptr_eq(alloc(64), memory);
	ck_assert_ptr_null(varbos_ref_get(space, ref));
	expect_error(VARBOS_E_REFERENCE, "stale");
	expect_receive(ref, "stale");
	ck_assert_uint_ne(varbos_ref_of(space, memory), ref);
}
END_TEST

START_TEST(large_memory_has_references_anywhere_inside)
{
	char *memory = alloc(20 * MIB);
	varbos_ref ref = varbos_ref_of(space, memory + 20 * MIB - 1);

	ck_assert_ptr_eq(varbos_ref_get(space, ref), memory + 20 * MIB - 1);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_ptr_null(varbos_ref_get(space, ref));
	expect_error(VARBOS_E_REFERENCE, "freed");
}
END_TEST

START_TEST(what_cannot_be_had_is_refused)
{
	ck_assert_ptr_null(varbos_alloc_shared(space, SIZE_MAX / 2));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_TOO_LARGE);
	ck_assert_ptr_null(varbos_alloc_shared(space, 33 * MIB));
	ck_assert_ptr_null(varbos_alloc_shared(NULL, 1));
	expect_error(VARBOS_E_INVALID, "space");
	ck_assert_uint_eq(varbos_self(NULL), 0);
	expect_error(VARBOS_E_INVALID, "space");
	ck_assert_uint_eq(varbos_send(NULL, NULL, 0), 0);
	expect_error(VARBOS_E_INVALID, "space");
	ck_assert_ptr_null(varbos_receive(NULL, 1));
	expect_error(VARBOS_E_INVALID, "space");
}
END_TEST

static void look_only(struct other *me)
{
	varbos_ref ref = other_hear(me);
	char *memory;

	OTHER_EXPECT((memory = varbos_ref_get(me->space, ref)));
	OTHER_EXPECT(!strcmp(memory, "look"));
	OTHER_EXPECT(varbos_usable_size(me->space, memory) == 64);
	OTHER_EXPECT(varbos_ref_of(me->space, memory) == ref);
	OTHER_EXPECT(!varbos_alloc_shared(me->space, 1));
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_PERMISSION);
	OTHER_EXPECT(!varbos_self(me->space));
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_PERMISSION);
	OTHER_EXPECT(!varbos_send(me->space, memory, VARBOS_ANYONE));
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_PERMISSION);
	OTHER_EXPECT(!varbos_receive(me->space, ref));
	OTHER_EXPECT(varbos_error()->code == VARBOS_E_PERMISSION);
	OTHER_EXPECT(varbos_free(me->space, memory) == VARBOS_E_PERMISSION);
}

START_TEST(a_reader_looks_and_hands_nothing_over)
{
	char *memory = alloc(64);

	strcpy(memory, "look");
	other_start(&other, daemon_.socket, "s", VARBOS_SPACE_READ_ONLY, look_only);
	other_say(&other, send_to(memory, VARBOS_ANYONE));
	other_end(&other);
}
END_TEST

START_TEST(spoiled_words_and_notes_are_refused_or_left_alone)
{
	char *first = alloc(64), *second = alloc(64), *next;
	struct window *window = &space->windows[0];
	uint32_t slice = (uint32_t)((uint64_t)(first - space->base) >> SLICE_SHIFT);
	uint32_t block = (uint32_t)((first - space->base) % (1 << SLICE_SHIFT)) / 64;
	_Atomic uint32_t *word = words_at(window->words, words_index(slice, block));
	struct slice_note *note = words_note(window->words, window->n_slices, slice);
	uint32_t info = note->info;
	varbos_ref ref = varbos_ref_of(space, second);

	/* A free block that its word gives to somebody else stays where it is. */
	ck_assert_int_eq(varbos_free(space, first), 0);
	*word = block_word_pack((struct block_info){BLOCK_HELD, 77, 5});
	next = alloc(64);
	ck_assert_ptr_ne(next, first);
	expect_free(first, "not-owner");

	/* Notes that no owner writes: whose look for the run leaves the extent, or the classes. */
	const uint32_t infos[] = {0, 255, 45, 1 | 255 << 8, 28 | 3 << 8, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		note->info = infos[i];
		ck_assert_ptr_null(varbos_ref_get(space, ref));
		ck_assert_int_eq(varbos_error()->code, VARBOS_E_REFERENCE);
	}
	note->info = info;
	ck_assert_ptr_eq(varbos_ref_get(space, ref), second);
	ck_assert_int_eq(varbos_free(space, second), 0);
}
END_TEST

/* ---- processes that end ---- */

static void receive_many(struct other *me)
{
	other_say(me, varbos_self(me->space));
	for (uint64_t ref; (ref = other_hear(me));)
		OTHER_EXPECT(varbos_receive(me->space, ref));
	other_say(me, 0);
	pause();
}

START_TEST(what_the_dead_held_or_were_sent_is_allocated_again)
{
	char *blocks[SLICE_OF_64];
	uint64_t before;
	uint32_t to;

	start(receive_many);
	to = (uint32_t)other_hear(&other);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = alloc(64);
	before = used();
	for (size_t i = 0; i < ARRAY_SIZE(blocks) / 2; i++)
		other_say(&other, send_to(blocks[i], to));
	other_say(&other, 0);
	other_hear(&other);
	for (size_t i = ARRAY_SIZE(blocks) / 2; i < ARRAY_SIZE(blocks); i++)
		send_to(blocks[i], to);
	other_kill(&other);
	for (int i = 0; i < WAIT_TRIES; i++) {
		uint32_t live = 0;

		for (size_t j = 0; j < ARRAY_SIZE(blocks); j++)
			live += varbos_ref_of(space, blocks[j]) != 0;
		if (!live)
			break;
		usleep(10000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		alloc(64);
	ck_assert_uint_eq(used(), before);
}
END_TEST

/* As one leaves it who dies between freeing a block and telling where. */
static void free_silently(char *memory)
{
	uint64_t position = (uint64_t)(memory - space->base);
	_Atomic uint32_t *word = words_at(space->windows[0].words, position >> BLOCK_SHIFT);
	struct block_info info = block_word_unpack(*word);

	info.state = BLOCK_FREED;
	*word = block_word_pack(info);
}

START_TEST(a_hint_that_was_lost_with_its_process_is_made_good)
{
	static char *blocks[16 * SLICE_OF_64];
	uint64_t before;
	uint32_t deaths;

	start(hold_and_wait);
	other_hear(&other);
	other_hear(&other);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = alloc(64);
	before = used();
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		free_silently(blocks[i]);
	deaths = space->root->deaths;
	other_kill(&other);
	for (int i = 0; i < WAIT_TRIES && space->root->deaths == deaths; i++)
		usleep(10000);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		alloc(64);
	ck_assert_uint_le(used(), before + before / 4);
}
END_TEST

static void send_and_end(struct other *me)
{
	uint32_t to = (uint32_t)other_hear(me);

	for (int i = 0; i < 2 * SLICE_OF_64; i++) {
		char *memory = varbos_alloc_shared(me->space, 64);

		OTHER_EXPECT(memory);
		snprintf(memory, 64, "block %d", i);
		if (i % 3) /* it dies holding the others */
			other_say(me, varbos_send(me->space, memory, to));
	}
	other_say(me, varbos_send(me->space, varbos_alloc_shared(me->space, MIB), to));
	other_say(me, 0);
	pause();
}

START_TEST(what_was_sent_survives_its_sender_and_goes_with_its_last_block)
{
	char *blocks[2 * SLICE_OF_64], text[64], *large;
	size_t n = 0;
	varbos_ref ref;

	start(send_and_end);
	other_say(&other, varbos_self(space));
	while ((ref = other_hear(&other)))
		blocks[n++] = receive(ref);
	other_kill(&other);
	large = blocks[--n];
	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "block %zu", i / 2 * 3 + i % 2 + 1);
		ck_assert_str_eq(blocks[i], text);
	}
	ck_assert_uint_ge(used(), MIB + 2 * 65536);
	ck_assert_int_eq(varbos_free(space, large), 0);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(varbos_free(space, blocks[_i ? n - 1 - i : i]), 0);
	wait_used(0);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
}
END_TEST

START_TEST(closing_the_space_frees_what_is_held_and_keeps_what_was_sent)
{
	varbos_ref held, sent;
	char *memory;

	start(receive_and_free);
	other_hear(&other);
	alloc(2 * MIB);
	held = varbos_ref_of(space, alloc(64));
	memory = alloc(64);
	strcpy(memory, "kept");
	sent = send_to(memory, VARBOS_ANYONE);
	varbos_space_close(space);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	ck_assert_uint_ne(varbos_self(space), 0);
	for (int i = 0; i < WAIT_TRIES && varbos_ref_get(space, held); i++)
		usleep(10000);
	ck_assert_ptr_null(varbos_ref_get(space, held));
	memory = receive(sent);
	ck_assert_str_eq(memory, "kept");
	ck_assert_int_eq(varbos_free(space, memory), 0);
	wait_used(0);
	other_say(&other, 0);
	other_end(&other);
}
END_TEST

START_TEST(a_forked_child_holds_nothing_of_its_parents)
{
	char *memory = alloc(64), *large = alloc(MIB);
	varbos_ref ref = send_to(alloc(64), VARBOS_ANYONE);
	uint32_t mine = varbos_self(space);
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		char *other_block;

		OTHER_EXPECT(varbos_free(space, memory) == VARBOS_E_REFERENCE);
		OTHER_EXPECT(!strcmp(varbos_error()->which, "not-owner"));
		OTHER_EXPECT(varbos_free(space, large) == VARBOS_E_REFERENCE);
		OTHER_EXPECT(varbos_self(space) && varbos_self(space) != mine);
		OTHER_EXPECT(varbos_free(space, memory) == VARBOS_E_REFERENCE);
		OTHER_EXPECT((other_block = varbos_alloc_shared(space, 64)));
		OTHER_EXPECT(other_block != memory);
		OTHER_EXPECT(!varbos_free(space, other_block));
		OTHER_EXPECT((other_block = varbos_receive(space, ref)));
		OTHER_EXPECT(!varbos_free(space, other_block));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_int_eq(varbos_free(space, large), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shared");
	TCase *hands = tcase_create("from hand to hand"), *refused = tcase_create("refused"),
	      *ends = tcase_create("ends");

	tcase_add_checked_fixture(hands, set_up, tear_down);
	tcase_set_timeout(hands, 60);
	tcase_add_loop_test(hands, a_block_goes_there_and_back, 0, 6);
	tcase_add_loop_test(hands, what_others_free_is_allocated_again, 0, 2);
	tcase_add_test(hands, large_memory_that_another_frees_goes_back);
	tcase_add_test(hands, what_a_stranger_shares_without_words_anyone_frees);
	tcase_add_test(hands, who_is_overtaken_freeing_large_memory_is_not_refused);
	tcase_add_test(hands, another_thread_frees_what_its_process_holds);
	tcase_add_test(hands, trim_gives_back_what_others_have_freed);
	suite_add_tcase(suite, hands);

	tcase_add_checked_fixture(refused, set_up, tear_down);
	tcase_set_timeout(refused, 60);
	tcase_add_test(refused, who_does_not_hold_a_block_can_neither_free_nor_send_it);
	tcase_add_test(refused, what_its_holder_has_just_been_granted_nobody_else_frees);
	tcase_add_test(refused, what_was_sent_to_another_is_not_received);
	tcase_add_test(refused, what_is_anyones_is_the_first_ones);
	tcase_add_test(refused, nobody_sends_to_who_is_not_there);
	tcase_add_test(refused, pointers_that_name_no_block_are_refused);
	tcase_add_test(refused, references_go_stale_with_their_block);
	tcase_add_test(refused, large_memory_has_references_anywhere_inside);
	tcase_add_test(refused, what_cannot_be_had_is_refused);
	tcase_add_test(refused, a_reader_looks_and_hands_nothing_over);
	tcase_add_test(refused, spoiled_words_and_notes_are_refused_or_left_alone);
	suite_add_tcase(suite, refused);

	tcase_add_checked_fixture(ends, set_up, tear_down);
	tcase_set_timeout(ends, 60);
	tcase_add_test(ends, a_hint_that_was_lost_with_its_process_is_made_good);
	tcase_add_test(ends, what_the_dead_held_or_were_sent_is_allocated_again);
	tcase_add_loop_test(
		ends, what_was_sent_survives_its_sender_and_goes_with_its_last_block, 0, 2);
	tcase_add_test(ends, closing_the_space_frees_what_is_held_and_keeps_what_was_sent);
	tcase_add_test(ends, a_forked_child_holds_nothing_of_its_parents);
	suite_add_tcase(suite, ends);
	return suite_run(suite);
}
