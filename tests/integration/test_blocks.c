/*
 * Shared blocks from the daemon's side, spoken raw: what clients are given, what becomes of the
 * blocks of the dead, and how little it matters what anyone writes into words files.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/block_word.h"
#include "proto/layout.h"
#include "proto/ring.h"
#include "proto/size_class.h"
#include "proto/stats_file.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum {
	WINDOW = 16 << 20,
	SLICES = WINDOW >> SLICE_SHIFT,
	WAIT_TRIES = 1000, /* of 10 ms */
};

static struct test_daemon daemon_;
static struct peer watcher;
static uint32_t *child_id; /* shared with children */

/* A session with the space open, its first window and its words mapped. */
struct member {
	struct peer peer;
	uint64_t space;
	const struct root_file *root;
	const _Atomic uint64_t *map;
	char *data;
	void *words;
	int words_fd;
};

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", "--pages", "4K", NULL);
	peer_open(&watcher, daemon_.socket);
	peer_create_space(&watcher, "a", WINDOW);
	child_id = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(child_id, MAP_FAILED);
}

static void tear_down(void)
{
	munmap(child_id, 4096);
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

static void *map_file(int fd, uint64_t size, int prot)
{
	void *memory = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	close(fd);
	return memory;
}

static void open_member(struct member *member, const char *name, bool read_only)
{
	peer_open(&member->peer, daemon_.socket);
	ck_assert(peer_call(
		&member->peer, WIRE_SPACE_OPEN,
		&(struct wire_space_open){.name = wire_str(name), .read_only = read_only}));
	member->space = member->peer.answer.body.space_opened.space;
	member->root = map_file(TAKE_FD(member->peer.fds[0]), sizeof(*member->root), PROT_READ);
	member->map = NULL;
	member->data = NULL;
	member->words = NULL;
	member->words_fd = -1;
}

static void close_member(struct member *member)
{
	munmap((void *)(uintptr_t)member->root, sizeof(*member->root));
	if (member->map)
		munmap((void *)(uintptr_t)member->map, SLICES * sizeof(*member->map));
	if (member->data)
		munmap(member->data, WINDOW);
	if (member->words)
		munmap(member->words, words_file_size(SLICES));
	closep(&member->words_fd);
	peer_call(&member->peer, WIRE_BYE, &(struct wire_empty){});
	peer_close(&member->peer);
}

static bool try_alloc(struct member *member, uint64_t size, bool blocks, bool shared)
{
	return peer_call(&member->peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = member->space,
						     .size = size,
						     .blocks = blocks,
						     .shared = shared});
}

static struct wire_extent_alloced alloc_blocks(struct member *member, uint64_t size)
{
	ck_assert(try_alloc(member, size, true, false));
	return member->peer.answer.body.extent_alloced;
}

static bool try_words(struct member *member, uint64_t window)
{
	return peer_call(&member->peer, WIRE_WORDS_OPEN,
			 &(struct wire_window_open){.space = member->space, .window = window});
}

/* Once there is a window: it comes with the first extent. */
static void open_files(struct member *member, bool read_only)
{
	int prot = read_only ? PROT_READ : PROT_READ | PROT_WRITE;

	ck_assert(peer_call(&member->peer, WIRE_WINDOW_OPEN,
			    &(struct wire_window_open){.space = member->space}));
	ck_assert_uint_eq(member->peer.answer.body.window_opened.size, WINDOW);
	member->data = map_file(TAKE_FD(member->peer.fds[0]), WINDOW, prot);
	member->map = map_file(TAKE_FD(member->peer.fds[1]), SLICES * sizeof(*member->map),
			       PROT_READ);
	ck_assert(try_words(member, 0));
	ck_assert_uint_eq(member->peer.answer.body.words_opened.size, words_file_size(SLICES));
	member->words_fd = TAKE_FD(member->peer.fds[0]);
	member->words = map_file(fcntl(member->words_fd, F_DUPFD_CLOEXEC, 3),
				 words_file_size(SLICES), prot);
}

static uint32_t slice_of(struct wire_extent_alloced extent)
{
	return (uint32_t)(offset_position(extent.offset) >> SLICE_SHIFT);
}

static struct slice_info info_of(struct member *member, struct wire_extent_alloced extent)
{
	return slice_word_unpack(atomic_load(&member->map[slice_of(extent)]));
}

static _Atomic uint32_t *word_of(struct member *member, struct wire_extent_alloced extent,
				 uint32_t block)
{
	return words_at(member->words, words_index(slice_of(extent), block));
}

static uint32_t word(enum block_state state, uint32_t id, uint32_t generation)
{
	return block_word_pack((struct block_info){state, id, generation});
}

static bool try_free(struct member *member, struct wire_extent_alloced extent)
{
	return peer_call(&member->peer, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){.space = member->space,
						    .offset = extent.offset,
						    .tag = extent.tag});
}

static bool was_refused(const struct peer *peer, uint64_t code, const char *which)
{
	return peer->answer.failed && peer->answer.fault.code == code &&
	       wire_str_is(peer->answer.fault.which, which);
}

static uint64_t used(void)
{
	return peer_status(&watcher).used;
}

static void wait_until_used(uint64_t bytes)
{
	for (int i = 0; i < WAIT_TRIES && used() != bytes; i++)
		usleep(10000);
	ck_assert_uint_eq(used(), bytes);
}

/* ---- words files ---- */

START_TEST(members_share_the_words_of_a_window)
{
	struct member one, two;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	ck_assert(!try_words(&one, 0)); /* there is no window yet */
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	open_files(&two, false);
	ck_assert_uint_eq(atomic_load(word_of(&one, extent, 1023)), 0);
	atomic_store(word_of(&one, extent, 1023), 0x12345677);
	ck_assert_uint_eq(atomic_load(word_of(&two, extent, 1023)), 0x12345677);
	close_member(&one);
	close_member(&two);
}
END_TEST

START_TEST(a_words_file_keeps_its_size_and_its_writers)
{
	struct member one;

	open_member(&one, "a", false);
	alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	ck_assert_int_eq(ftruncate(one.words_fd, 4096), -1);
	ck_assert_int_eq(ftruncate(one.words_fd, 1 << 30), -1);
	ck_assert_int_eq(fcntl(one.words_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	close_member(&one);
}
END_TEST

START_TEST(who_opened_the_space_read_only_cannot_write_its_words)
{
	struct member one, reader;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	open_member(&reader, "a", true);
	open_files(&reader, true);
	ck_assert_ptr_eq(
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader.words_fd, 0),
		MAP_FAILED);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_ne(mprotect(reader.words, 4096, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(pwrite(reader.words_fd, "x", 1, 0), -1);
	ck_assert_int_eq(
		fallocate(reader.words_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
		-1);
	atomic_store(word_of(&one, extent, 0), 7);
	ck_assert_uint_eq(atomic_load(word_of(&reader, extent, 0)), 7);
	ck_assert(!try_alloc(&reader, 64 * KIB, true, false));
	ck_assert_uint_eq(reader.peer.answer.fault.code, 12);
	close_member(&reader);
	close_member(&one);
}
END_TEST

START_TEST(words_of_a_space_that_is_not_open_are_refused)
{
	struct member one, other;
	uint64_t own;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	alloc_blocks(&one, 64 * KIB);
	open_member(&other, "b", false);
	own = other.space;
	other.space = one.space;
	ck_assert(!try_words(&other, 0));
	other.space = own;
	ck_assert(!try_words(&other, WINDOWS_MAX));
	ck_assert_uint_eq(other.peer.answer.fault.code, 6);
	close_member(&one);
	close_member(&other);
}
END_TEST

/* ---- extents of blocks ---- */

START_TEST(blocks_are_their_sessions_and_then_the_spaces)
{
	struct member one, two;
	struct wire_extent_alloced extent;
	struct slice_info info;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 128 * KIB);
	open_files(&two, false);
	info = info_of(&two, extent);
	ck_assert_int_eq(info.kind, EXTENT_BLOCKS);
	ck_assert(info.head && info.count == 2);
	ck_assert_uint_gt(info.session, 0);
	ck_assert(!try_free(&two, extent)); /* while its owner lives it is the owner's */
	ck_assert(was_refused(&two.peer, 4, "not-owner"));
	atomic_store(word_of(&two, extent, 5), word(BLOCK_HELD, 9, 1));
	close_member(&one);
	info = info_of(&two, extent);
	ck_assert_int_eq(info.kind, EXTENT_BLOCKS);
	ck_assert_uint_eq(info.session, 0);
	ck_assert_uint_eq(used(), 128 * KIB);
	close_member(&two);
}
END_TEST

START_TEST(an_extent_is_one_block_or_of_blocks)
{
	struct member one;

	open_member(&one, "a", false);
	ck_assert(!try_alloc(&one, 64 * KIB, true, true));
	ck_assert(was_refused(&one.peer, 6, "blocks"));
	close_member(&one);
}
END_TEST

START_TEST(adopted_blocks_are_freed_when_nobody_has_any_and_not_before)
{
	static const enum block_state live[] = {BLOCK_HELD, BLOCK_SENT};
	struct member one, two;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 3 * MIB); /* more than a worker looks at in one piece */
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023), word(BLOCK_SENT, 0, 3));
	close_member(&one);

	for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
		atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023),
			     word(live[i], 9, 3));
		ck_assert(!try_free(&two, extent));
		ck_assert(was_refused(&two.peer, 4, "held"));
		ck_assert_uint_eq(used(), 3 * MIB);
	}
	/* Who only hints is not told that he was wrong. */
	peer_note(&two.peer, WIRE_EXTENT_FREE,
		  &(struct wire_extent_free){
			  .space = two.space, .offset = extent.offset, .tag = extent.tag});
	ck_assert(peer_call(&two.peer, WIRE_PING, &(struct wire_ping){}));
	ck_assert_uint_eq(used(), 3 * MIB);

	atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023), word(BLOCK_FREED, 0, 3));
	/* The sweep that follows its adoption may still be under way, and see the same. */
	ck_assert(try_free(&two, extent) || two.peer.answer.fault.code == 4);
	ck_assert_uint_eq(used(), 0);
	ck_assert_uint_eq(info_of(&two, extent).kind, EXTENT_NONE);
	ck_assert(!try_free(&two, extent));
	ck_assert_uint_eq(two.peer.answer.fault.code, 4);
	close_member(&two);
}
END_TEST

/* ---- ids, and what becomes of what the dead held ---- */

static uint32_t holder(struct member *member)
{
	ck_assert_msg(peer_call(&member->peer, WIRE_HOLDER_OPEN,
				&(struct wire_space_handle){.space = member->space}),
		      "%.*s", (int)member->peer.answer.fault.message.size,
		      member->peer.answer.fault.message.data);
	return (uint32_t)member->peer.answer.body.holder_opened.id;
}

static struct id_info id_of(struct member *member, uint32_t id)
{
	return id_word_unpack(atomic_load(&member->root->ids[id]));
}

static void wait_until_word(struct member *member, struct wire_extent_alloced extent,
			    uint32_t block, uint32_t expected)
{
	for (int i = 0;
	     i < WAIT_TRIES && atomic_load(word_of(member, extent, block)) != expected; i++)
		usleep(10000);
	ck_assert_uint_eq(atomic_load(word_of(member, extent, block)), expected);
}

/* A process that does something with a member of its own, and then waits to be killed. */
static pid_t fork_member(void (*live)(struct member *member, struct wire_extent_alloced extent),
			 struct wire_extent_alloced extent)
{
	struct member member;
	int done[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe2(done, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		open_member(&member, "a", false);
		live(&member, extent);
		ck_assert_int_eq(write(done[1], "x", 1), 1);
		for (;;)
			pause();
	}
	close(done[1]);
	ck_assert_int_eq(read(done[0], &byte, 1), 1); /* else it has failed */
	close(done[0]);
	return pid;
}

static void kill_member(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* What the statistics say of the space, brought up to date. */
static const struct stats_space *stats(void)
{
	static struct stats_copy copy;
	const struct stats_file *file;
	char path[128];
	int fd, r;

	peer_status(&watcher);
	snprintf(path, sizeof(path), "%s.stats", daemon_.socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	file = map_file(fd, sizeof(*file), PROT_READ);
	r = stats_file_read(file, &copy);
	munmap((void *)(uintptr_t)file, sizeof(*file));
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(copy.n_spaces, 1);
	return &copy.spaces[0];
}

START_TEST(an_id_is_given_once_and_the_root_file_says_to_whom)
{
	struct member one, two, reader;
	uint32_t first, second;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	open_member(&reader, "a", true);
	first = holder(&one);
	second = holder(&two);
	ck_assert(first && second && first != second && first < IDS_MAX && second < IDS_MAX);
	ck_assert_uint_eq(holder(&one), first);
	ck_assert_int_eq(id_of(&reader, first).kind, ID_PROCESS);
	ck_assert_uint_eq(id_of(&reader, first).pid, (uint32_t)getpid());
	ck_assert(!id_of(&reader, first).dead);
	ck_assert(!peer_call(&reader.peer, WIRE_HOLDER_OPEN,
			     &(struct wire_space_handle){.space = reader.space}));
	ck_assert_uint_eq(reader.peer.answer.fault.code, 12);
	close_member(&reader);
	close_member(&two);
	close_member(&one);
}
END_TEST

/* Many more than there are ids: each is free again once a sweep has passed. */
START_TEST(ids_are_given_again_when_their_words_have_been_swept)
{
	struct member one, other;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	for (uint32_t i = 0; i < IDS_MAX + IDS_MAX / 8; i++) {
		_Atomic uint32_t *at = word_of(&one, extent, i % SLICE_WORDS);
		uint32_t id;

		open_member(&other, "a", false);
		id = holder(&other);
		for (uint32_t k = 0; k < SLICE_WORDS; k++) {
			struct block_info info =
				block_word_unpack(atomic_load(word_of(&one, extent, k)));

			/* Who has an id finds no word that names it. */
			ck_assert(info.state == BLOCK_FREE || info.state == BLOCK_FREED ||
				  info.id != id);
		}
		atomic_store(at, word(i & 1 ? BLOCK_HELD : BLOCK_SENT, id, i + 1));
		close_member(&other);
	}
	close_member(&one);
}
END_TEST

static void hold_two(struct member *member, struct wire_extent_alloced extent)
{
	open_files(member, false);
	*child_id = holder(member);
	atomic_store(word_of(member, extent, 0), word(BLOCK_HELD, *child_id, 1));
	atomic_store(word_of(member, extent, 1), word(BLOCK_SENT, *child_id, 2));
}

START_TEST(blocks_of_a_process_that_is_killed_are_freed_and_their_owner_is_told)
{
	struct member one;
	struct wire_extent_alloced extent;
	uint32_t deaths, self;
	pid_t pid;

	open_member(&one, "a", false);
	self = holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	atomic_store(word_of(&one, extent, 2), word(BLOCK_HELD, self, 3));
	pid = fork_member(hold_two, extent);
	ck_assert_uint_eq(id_of(&one, *child_id).pid, (uint32_t)pid);
	deaths = atomic_load(&one.root->deaths);
	ck_assert_uint_eq(words_note(one.words, SLICES, slice_of(extent))->freed, 0);

	kill_member(pid);
	wait_until_word(&one, extent, 0, word(BLOCK_FREED, 0, 1));
	wait_until_word(&one, extent, 1, word(BLOCK_FREED, 0, 2));
	ck_assert_uint_eq(atomic_load(word_of(&one, extent, 2)), word(BLOCK_HELD, self, 3));
	ck_assert(id_of(&one, *child_id).dead);
	/* The hint comes after the words. */
	for (int i = 0;
	     i < WAIT_TRIES && !words_note(one.words, SLICES, slice_of(extent))->freed; i++)
		usleep(10000);
	ck_assert_uint_eq(words_note(one.words, SLICES, slice_of(extent))->freed, 1);
	ck_assert_uint_ne(atomic_load(&one.root->deaths), deaths);
	ck_assert_uint_eq(used(), 64 * KIB);
	ck_assert_uint_eq(stats()->swept, 2);
	ck_assert_uint_eq(stats()->ids, 1);
	close_member(&one);
}
END_TEST

static uint32_t deaths_before;

static void *wait_for_a_death(void *userdata)
{
	const struct root_file *root = userdata;

	while (atomic_load(&root->deaths) == deaths_before)
		if (syscall(SYS_futex, &root->deaths, FUTEX_WAIT, deaths_before,
			    &(struct timespec){.tv_sec = 10}, NULL, 0) &&
		    errno == ETIMEDOUT)
			return userdata; /* nobody woke it */
	return NULL;
}

static void hold_nothing(struct member *member, struct wire_extent_alloced extent)
{
	(void)extent;
	holder(member);
}

START_TEST(who_waits_for_somebody_is_woken_by_his_death)
{
	struct member one;
	pthread_t thread;
	void *why;
	pid_t pid;

	open_member(&one, "a", true); /* a reader may wait, too */
	pid = fork_member(hold_nothing, (struct wire_extent_alloced){});
	deaths_before = atomic_load(&one.root->deaths);
	ck_assert_int_eq(
		pthread_create(&thread, NULL, wait_for_a_death, (void *)(uintptr_t)one.root),
		0);
	usleep(50000); /* to let it sleep; awake it would see the same */
	kill_member(pid);
	ck_assert_int_eq(pthread_join(thread, &why), 0);
	ck_assert_ptr_null(why);
	close_member(&one);
}
END_TEST

/* More than the loop wakes itself. */
START_TEST(however_many_wait_for_somebody_all_are_woken_by_his_death)
{
	enum { MANY = 100 };
	pthread_t threads[MANY];
	struct member one;
	void *why;
	pid_t pid;

	open_member(&one, "a", true);
	pid = fork_member(hold_nothing, (struct wire_extent_alloced){});
	deaths_before = atomic_load(&one.root->deaths);
	for (uint32_t i = 0; i < MANY; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for_a_death,
						(void *)(uintptr_t)one.root),
				 0);
	usleep(100000); /* to let them sleep; awake they would see the same */
	kill_member(pid);
	for (uint32_t i = 0; i < MANY; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &why), 0);
		ck_assert_ptr_null(why);
	}
	close_member(&one);
}
END_TEST

START_TEST(adopted_blocks_go_with_the_last_who_held_any)
{
	struct member one, two, three;
	struct wire_extent_alloced extent, other;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	open_member(&three, "a", false);
	extent = alloc_blocks(&one, 128 * KIB);
	other = alloc_blocks(&one, 64 * KIB);
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 1500), word(BLOCK_HELD, holder(&two), 1));
	atomic_store(word_of(&two, other, 3), word(BLOCK_FREED, 0, 1));
	holder(&one);
	close_member(
		&one); /* the other extent holds nothing: the sweep that follows frees it */
	wait_until_used(128 * KIB);
	holder(&three);
	close_member(&three);
	usleep(50000);
	ck_assert_uint_eq(used(), 128 * KIB);
	close_member(&two);
	wait_until_used(0);
}
END_TEST

/* Until the sweep that follows somebody's death has ended. */
static void hold_and_go(struct member *watching)
{
	uint32_t deaths = atomic_load(&watching->root->deaths);
	struct member other;

	open_member(&other, "a", false);
	holder(&other);
	close_member(&other);
	/* It is given, it dies, and it is swept. */
	for (int i = 0; i < WAIT_TRIES && atomic_load(&watching->root->deaths) - deaths < 3;
	     i++)
		usleep(10000);
	ck_assert_uint_ge(atomic_load(&watching->root->deaths) - deaths, 3);
}

START_TEST(a_shared_extent_goes_with_its_holder_and_one_without_a_word_stays)
{
	struct member one, two;
	struct wire_extent_alloced held, bare;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	ck_assert(try_alloc(&one, 256 * KIB, false, true));
	held = one.peer.answer.body.extent_alloced;
	ck_assert(try_alloc(&one, 128 * KIB, false, true));
	bare = one.peer.answer.body.extent_alloced;
	open_files(&two, false);
	atomic_store(word_of(&two, held, 0),
		     word(BLOCK_HELD, holder(&two), (uint32_t)held.tag));
	/* Left by what was there before. */
	atomic_store(word_of(&two, bare, 0), word(BLOCK_FREED, 0, (uint32_t)bare.tag - 1));
	close_member(&one);
	ck_assert_uint_eq(used(), 384 * KIB);
	close_member(&two);
	wait_until_used(128 * KIB);
}
END_TEST

static bool try_channel(struct member *member, struct wire_channel_open open)
{
	open.space = member->space;
	return peer_call(&member->peer, WIRE_CHANNEL_OPEN, &open);
}

static struct wire_channel_opened channel(struct member *member, const char *name,
					  uint64_t roles)
{
	ck_assert_msg(try_channel(member, (struct wire_channel_open){.name = wire_str(name),
								     .roles = roles,
								     .capacity = 5}),
		      "%.*s", (int)member->peer.answer.fault.message.size,
		      member->peer.answer.fault.message.data);
	return member->peer.answer.body.channel_opened;
}

static bool has_closed(struct member *member, uint64_t id)
{
	return id_of(member, (uint32_t)id).dead;
}

/* Nobody waits for a note, so no number of them is too many: what no worker has time for is swept. */
START_TEST(who_frees_many_of_the_dead_at_once_is_not_refused)
{
	enum { MANY = 24, EACH = 8 }; /* slices: it takes a worker a while */
	struct wire_extent_alloced extents[MANY];
	struct wire_channel_opened opened;
	struct member one, two;
	uint32_t id;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	for (int i = 0; i < MANY; i++)
		extents[i] = alloc_blocks(&one, EACH * 64 * KIB);
	id = holder(&two);
	opened = channel(&two, "pipe", CHANNEL_SENDS);
	open_files(&two, false);
	for (int i = 0; i < MANY; i++) {
		for (uint32_t k = 1; k < EACH * SLICE_WORDS; k++)
			atomic_store(word_of(&two, extents[i], k), word(BLOCK_FREED, 0, 1));
		atomic_store(word_of(&two, extents[i], 0), word(BLOCK_HELD, id, 1));
	}
	close_member(&one);
	for (int i = 0; i < MANY; i++)
		atomic_store(word_of(&two, extents[i], 0), word(BLOCK_FREED, 0, 1));
	ck_assert_int_eq(kill(daemon_.pid, SIGSTOP), 0); /* so that it finds them all */
	for (int i = 0; i < MANY; i++)
		peer_note(&two.peer, WIRE_EXTENT_FREE,
			  &(struct wire_extent_free){.space = two.space,
						     .offset = extents[i].offset,
						     .tag = extents[i].tag,
						     .maybe = true});
	peer_note(&two.peer, WIRE_CHANNEL_CLOSE,
		  &(struct wire_channel_close){
			  .space = two.space, .id = opened.id, .roles = CHANNEL_SENDS});
	ck_assert_int_eq(kill(daemon_.pid, SIGCONT), 0);
	for (int i = 0; i < WAIT_TRIES && !has_closed(&two, opened.id); i++)
		usleep(10000);
	ck_assert(has_closed(&two, opened.id));
	wait_until_used(0);
	peer_send(&two.peer, WIRE_PING, &(struct wire_ping){});
	ck_assert(peer_receive(&two.peer));
	ck_assert_int_eq(two.peer.answer.kind, WIRE_RESPONSE); /* and no refusal before it */
	close_member(&two);
}
END_TEST

/* Each would be a job for a worker, and nobody counts a ring's records. */
START_TEST(nobodys_blocks_do_not_go_back_through_a_return_ring)
{
	struct wire_extent_alloced extent;
	struct return_ring *ring;
	struct member one, two;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_HELD, holder(&two), 1));
	close_member(&one);
	ck_assert(peer_call(&two.peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ring = map_file(TAKE_FD(two.peer.fds[0]), sizeof(*ring), PROT_READ | PROT_WRITE);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_FREED, 0, 1));
	ring->records[0].space = two.space;
	ring->records[0].ref = ref_make((uint32_t)extent.tag, extent.offset);
	atomic_store(&ring->records[0].turn, 1);
	peer_send(&two.peer, WIRE_PING, &(struct wire_ping){});
	ck_assert(peer_receive(&two.peer)); /* the refusal comes before the answer */
	ck_assert_int_eq(two.peer.answer.kind, WIRE_NOTE);
	ck_assert_uint_eq(two.peer.answer.body.extent_refused.code, 4);
	ck_assert(peer_receive(&two.peer));
	ck_assert_uint_eq(used(), 64 * KIB);
	ck_assert(try_free(&two, extent));
	ck_assert_uint_eq(used(), 0);
	munmap(ring, sizeof(*ring));
	close_member(&two);
}
END_TEST

/* Between the answer and the word: nobody could have heard of it. */
START_TEST(a_shared_extent_whose_holder_died_before_it_took_its_word_goes)
{
	struct member one, two;
	struct wire_extent_alloced taken;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	holder(&one);
	ck_assert(try_alloc(&one, 256 * KIB, false, true));
	ck_assert(try_alloc(&one, 128 * KIB, false, true));
	taken = one.peer.answer.body.extent_alloced;
	open_files(&two, false);
	/* What one sends to anyone stays. */
	atomic_store(word_of(&two, taken, 0),
		     word(BLOCK_SENT, BLOCK_ANYONE, (uint32_t)taken.tag));
	hold_and_go(&two);
	ck_assert_uint_eq(used(), 384 * KIB); /* a sweep has passed, and its holder lives */
	close_member(&one);
	wait_until_used(128 * KIB);
	hold_and_go(&two);
	ck_assert_uint_eq(used(), 128 * KIB);
	close_member(&two);
}
END_TEST

static void hold_no_words(struct member *member, struct wire_extent_alloced extent)
{
	(void)extent;
	ck_assert(try_alloc(member, 512 * KIB, false, true)); /* kept by its tag alone */
	holder(member);
	ck_assert(try_alloc(member, 256 * KIB, false, true));
}

START_TEST(what_was_allocated_without_an_id_outlives_who_is_killed_and_nothing_else_does)
{
	pid_t pid = fork_member(hold_no_words, (struct wire_extent_alloced){0});

	ck_assert_uint_eq(used(), 768 * KIB);
	kill_member(pid);
	wait_until_used(512 * KIB);
}
END_TEST

/* Freed by who could not say so: it died, or nobody was there to hear. */
START_TEST(before_memory_is_refused_what_is_empty_is_looked_for)
{
	struct member one, two;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 12 * MIB);
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_HELD, holder(&two), 1));
	close_member(&one);
	ck_assert(!try_alloc(&two, 6 * MIB, false, false));
	ck_assert(was_refused(&two.peer, 3, "space"));
	atomic_store(word_of(&two, extent, 0), word(BLOCK_FREED, 0, 1));
	ck_assert(try_alloc(&two, 6 * MIB, false, false));
	ck_assert_uint_eq(used(), 6 * MIB);
	close_member(&two);
}
END_TEST

/* The limit would do, but for one slice in the midst of what is free. */
START_TEST(before_a_long_run_is_refused_what_is_empty_in_it_is_looked_for)
{
	struct wire_extent_alloced first, extent;
	struct member one, two;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	ck_assert(try_alloc(&one, 7 * MIB, false, false));
	first = one.peer.answer.body.extent_alloced;
	extent = alloc_blocks(&one, 64 * KIB);
	ck_assert_uint_eq(extent.offset, first.offset + 7 * MIB);
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_HELD, holder(&two), 1));
	close_member(&one);
	ck_assert(!try_alloc(&two, 12 * MIB, false, false));
	ck_assert_uint_eq(two.peer.answer.fault.code, 1);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_FREED, 0, 1));
	ck_assert(try_alloc(&two, 12 * MIB, false, false));
	close_member(&two);
}
END_TEST

/* ---- whose is it? ---- */

static bool who(struct member *member, uint64_t ref)
{
	return peer_call(&member->peer, WIRE_BLOCK_WHO,
			 &(struct wire_block_who){.space = member->space, .ref = ref});
}

static void check_who(struct member *member, uint64_t ref, const char *state, uint64_t id,
		      uint64_t offset, uint64_t size)
{
	const struct wire_block_holder *holder = &member->peer.answer.body.block_holder;

	ck_assert(who(member, ref));
	ck_assert(wire_str_is(holder->state, state));
	ck_assert_uint_eq(holder->id, id);
	ck_assert_uint_eq(holder->offset, offset);
	ck_assert_uint_eq(holder->size, size);
}

START_TEST(whose_a_block_is_can_be_asked)
{
	enum { CLASS = 20 }; /* of which a run has more than one slice */
	const struct size_class *class = &size_classes[CLASS];
	const uint32_t block = class->blocks - 1U;
	struct wire_extent_alloced extent, large;
	struct member one, two;
	uint32_t first, second;
	uint64_t place;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	first = holder(&one);
	second = holder(&two);
	extent = alloc_blocks(&one, 8 * class->slices * 64 * KIB);
	open_files(&one, false);
	place = extent.offset + (uint64_t) class->slices * 64 * KIB; /* the second run */
	for (uint32_t i = 0; i < class->slices; i++)
		atomic_store(
			&words_note(one.words, SLICES, slice_of(extent) + class->slices + i)
				 ->info,
			slice_cut_pack((struct slice_cut){CLASS + 1, i}));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_HELD, first, 3));
	place += (uint64_t)block * class->size;

	check_who(&two, ref_make(3, place + 5), "held", first, place, class->size);
	ck_assert_uint_eq(two.peer.answer.body.block_holder.pid, (uint64_t)getpid());
	ck_assert(wire_str_is(two.peer.answer.body.block_holder.name, "peer"));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_SENT, second, 3));
	check_who(&two, ref_make(3, place), "sent", second, place, class->size);
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_SENT, BLOCK_ANYONE, 3));
	check_who(&two, ref_make(3, place), "sent", 0, place, class->size);
	ck_assert(!who(&two, ref_make(2, place)));
	ck_assert(was_refused(&two.peer, 4, "stale"));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_FREED, 0, 3));
	ck_assert(!who(&two, ref_make(3, place)));
	ck_assert(was_refused(&two.peer, 4, "freed"));
	ck_assert(!who(&two, ref_make(3, extent.offset))); /* not cut */
	ck_assert(was_refused(&two.peer, 4, "freed"));
	ck_assert(!who(&two, ref_make(3, offset_make(5, 0))));
	ck_assert(was_refused(&two.peer, 4, "foreign"));

	ck_assert(try_alloc(&one, MIB, false, true));
	large = one.peer.answer.body.extent_alloced;
	check_who(&two, ref_make((uint32_t)large.tag, large.offset + 70000), "leased", 0,
		  large.offset, MIB);
	atomic_store(word_of(&one, large, 0), word(BLOCK_HELD, first, (uint32_t)large.tag));
	check_who(&two, ref_make((uint32_t)large.tag, large.offset + 70000), "held", first,
		  large.offset, MIB);
	close_member(&two);
	close_member(&one);
}
END_TEST

/* What an owner says of his slices is not believed beyond the extent, whatever it is. */
START_TEST(who_has_not_opened_the_space_is_not_told_whose_a_block_is)
{
	struct wire_extent_alloced blocks, private;
	struct member one, reader, other;
	uint64_t own, offset;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	open_member(&reader, "a", true);
	open_member(&other, "b", false);
	blocks = alloc_blocks(&one, 64 * KIB);
	ck_assert(try_alloc(&one, 64 * KIB, false, false));
	private = one.peer.answer.body.extent_alloced;
	open_files(&one, false);
	atomic_store(&words_note(one.words, SLICES, slice_of(blocks))->info,
		     slice_cut_pack((struct slice_cut){.class_plus_1 = 1}));
	atomic_store(word_of(&one, blocks, 0), word(BLOCK_HELD, holder(&one), 1));
	check_who(&reader, ref_make(1, blocks.offset), "held", holder(&one), blocks.offset,
		  size_classes[0].size);
	own = other.space;
	other.space = one.space;
	for (int i = 0; i < 2; i++) {
		offset = i ? private.offset : blocks.offset;
		ck_assert(!who(&other, ref_make(i ? (uint32_t) private.tag : 1, offset)));
		ck_assert_uint_eq(other.peer.answer.fault.code, 10);
	}
	other.space = own;
	ck_assert(!who(&other, ref_make(1, blocks.offset)));
	ck_assert(was_refused(&other.peer, 4, "foreign"));
	close_member(&other);
	close_member(&reader);
	close_member(&one);
}
END_TEST

START_TEST(asked_about_garbage_the_daemon_answers_or_refuses)
{
	struct wire_extent_alloced extent;
	unsigned seed = 7, answered = 0;
	struct member one;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 256 * KIB);
	open_files(&one, false);
	for (unsigned i = 0; i < 500; i++) {
		uint64_t at = (unsigned)rand_r(&seed) % (256 * KIB);
		uint32_t slice = slice_of(extent) + (uint32_t)(at >> SLICE_SHIFT);
		const struct wire_block_holder *holder_of;

		atomic_store(&words_note(one.words, SLICES, slice)->info,
			     (uint32_t)rand_r(&seed) % CLASSES | (uint32_t)(rand_r(&seed) % 4)
									 << 8);
		for (uint32_t k = 0; k < 4 * SLICE_WORDS; k += 1 + (uint32_t)rand_r(&seed) % 8)
			atomic_store(word_of(&one, extent, k),
				     word((enum block_state)(rand_r(&seed) % 4),
					  (uint32_t)rand_r(&seed), 1));
		if (!who(&one, ref_make(1, extent.offset + at))) {
			ck_assert_uint_eq(one.peer.answer.fault.code, 4);
			continue;
		}
		answered++;
		holder_of = &one.peer.answer.body.block_holder;
		ck_assert_uint_ge(extent.offset + at, holder_of->offset);
		ck_assert_uint_lt(extent.offset + at, holder_of->offset + holder_of->size);
		ck_assert_uint_ge(holder_of->offset, extent.offset);
		ck_assert_uint_le(holder_of->offset + holder_of->size,
				  extent.offset + 256 * KIB);
	}
	ck_assert_uint_gt(answered, 0);
	close_member(&one);
}
END_TEST

/* ---- channels ---- */

static bool close_end(struct member *member, uint64_t id, uint64_t roles)
{
	return peer_call(
		&member->peer, WIRE_CHANNEL_CLOSE,
		&(struct wire_channel_close){.space = member->space, .id = id, .roles = roles});
}

START_TEST(a_channel_is_made_once_and_its_ends_are_counted)
{
	struct wire_channel_opened first, second;
	struct member one, two;
	struct id_info info;
	uint32_t deaths;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	holder(&one);
	holder(&two);
	first = channel(&one, "frames", CHANNEL_SENDS);
	ck_assert_uint_eq(first.capacity, 8);
	second = channel(&two, "frames", CHANNEL_SENDS | CHANNEL_RECEIVES);
	ck_assert_mem_eq(&first, &second, sizeof(first));
	open_files(&two, false);
	for (size_t i = 0; i < first.size; i++)
		ck_assert_int_eq(two.data[offset_position(first.offset) + i], 0);
	info = id_of(&two, (uint32_t)first.id);
	ck_assert_int_eq(info.kind, ID_CHANNEL);
	ck_assert_uint_eq(info.senders, 2);
	ck_assert_uint_eq(info.receivers, 1);

	deaths = atomic_load(&one.root->deaths);
	ck_assert(close_end(&two, first.id, CHANNEL_RECEIVES));
	info = id_of(&two, (uint32_t)first.id);
	ck_assert_uint_eq(info.senders, 2);
	ck_assert(!info.receivers && info.had_receivers && !info.died && !info.dead);
	ck_assert_uint_ne(atomic_load(&one.root->deaths), deaths);
	ck_assert(!close_end(&two, first.id, CHANNEL_RECEIVES));
	ck_assert(was_refused(&two.peer, 10, "channel"));

	ck_assert(close_end(&one, first.id, CHANNEL_SENDS));
	ck_assert(close_end(&two, first.id, CHANNEL_SENDS));
	ck_assert(id_of(&one, (uint32_t)first.id).dead);
	wait_until_used(0); /* its memory goes with the sweep */
	close_member(&two);
	close_member(&one);
}
END_TEST

START_TEST(what_is_no_channel_is_refused)
{
	struct member one, reader;

	open_member(&one, "a", false);
	open_member(&reader, "a", true);
	ck_assert(!try_channel(&one,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 1}));
	ck_assert(was_refused(&one.peer, 6, "holder"));
	holder(&one);
	ck_assert(!try_channel(
		&one, (struct wire_channel_open){.name = wire_str("a b"), .roles = 1}));
	ck_assert(was_refused(&one.peer, 6, "name"));
	ck_assert(!try_channel(&one,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 4}));
	ck_assert(was_refused(&one.peer, 6, "roles"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x")}));
	ck_assert(was_refused(&one.peer, 6, "roles"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 1,
								.capacity = 4097}));
	ck_assert(was_refused(&one.peer, 6, "capacity"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 1,
								.existing = true}));
	ck_assert(was_refused(&one.peer, 10, "channel"));
	channel(&one, "x", CHANNEL_SENDS);
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 2,
								.exclusive = true}));
	ck_assert(was_refused(&one.peer, 11, "channel"));
	ck_assert(try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
							       .roles = 2,
							       .existing = true}));
	ck_assert(!try_channel(&reader,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 2}));
	ck_assert_uint_eq(reader.peer.answer.fault.code, 12);
	close_member(&reader);
	close_member(&one);
	wait_until_used(0);
}
END_TEST

START_TEST(all_channels_of_a_space_are_listed)
{
	enum { CHANNELS = 100 };
	static bool seen[CHANNELS];
	struct wire_space_page page;
	struct member one, other;
	unsigned n = 0;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	open_member(&other, "b", false);
	holder(&one);
	holder(&other);
	channel(&other, "elsewhere", CHANNEL_SENDS);
	for (unsigned i = 0; i < CHANNELS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%u", i);
		channel(&one, name, CHANNEL_RECEIVES);
	}
	page = (struct wire_space_page){.space = one.space};
	do {
		const struct wire_channel_row *row;

		ck_assert(peer_call(&one.peer, WIRE_CHANNEL_LIST, &page));
		row = one.peer.answer.body.channel_rows.rows.rows;
		for (uint32_t i = 0; i < one.peer.answer.body.channel_rows.rows.count;
		     i++, row++, n++) {
			char name[16];
			unsigned number;

			wire_str_copy(name, sizeof(name), row->name);
			ck_assert_int_eq(sscanf(name, "c%u", &number), 1);
			ck_assert(number < CHANNELS && !seen[number]);
			seen[number] = true;
			ck_assert(row->receivers == 1 && !row->senders && row->capacity == 8);
		}
		page.after = one.peer.answer.body.channel_rows.next;
	} while (page.after);
	ck_assert_uint_eq(n, CHANNELS);
	page.space = other.space;
	page.after = 0;
	ck_assert(!peer_call(&one.peer, WIRE_CHANNEL_LIST, &page)); /* not open to it */
	close_member(&one);
	close_member(&other);
}
END_TEST

static struct ring *ring_of(struct member *member, struct wire_channel_opened opened)
{
	return (struct ring *)(void *)(member->data + offset_position(opened.offset));
}

/* It dies with both locks, one block sent and one held. */
static void hold_all(struct member *member, struct wire_extent_alloced extent)
{
	struct wire_channel_opened opened;

	*child_id = holder(member);
	opened = channel(member, "pipe", CHANNEL_SENDS);
	open_files(member, false);
	atomic_store(&ring_of(member, opened)->send.lock, *child_id | 5U << 11);
	atomic_store(&ring_of(member, opened)->receive.lock, *child_id);
	atomic_store(word_of(member, extent, 0), word(BLOCK_SENT, (uint32_t)opened.id, 1));
	atomic_store(word_of(member, extent, 1), word(BLOCK_HELD, *child_id, 1));
}

START_TEST(a_sender_that_is_killed_leaves_its_channel_what_it_sent_and_no_lock)
{
	struct wire_channel_opened opened;
	struct wire_extent_alloced extent;
	struct member one;
	struct id_info info;
	uint32_t id;
	pid_t pid;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	opened = channel(&one, "pipe", CHANNEL_RECEIVES);
	id = (uint32_t)opened.id;
	open_files(&one, false);
	pid = fork_member(hold_all, extent);
	ck_assert_uint_eq(id_of(&one, id).senders, 1);
	kill_member(pid);
	wait_until_word(&one, extent, 1, word(BLOCK_FREED, 0, 1));
	info = id_of(&one, id);
	ck_assert(!info.dead && !info.senders && info.had_senders && info.died);
	ck_assert_uint_eq(atomic_load(word_of(&one, extent, 0)), word(BLOCK_SENT, id, 1));
	for (int i = 0;
	     i < WAIT_TRIES && atomic_load(&ring_of(&one, opened)->receive.lock) != RING_ORPHAN;
	     i++)
		usleep(10000);
	ck_assert_uint_eq(atomic_load(&ring_of(&one, opened)->receive.lock), RING_ORPHAN);
	ck_assert_uint_eq(atomic_load(&ring_of(&one, opened)->send.lock),
			  RING_ORPHAN | 5U << 11);

	/* With the channel goes what was on its way to it. */
	ck_assert(who(&one, ref_make(1, extent.offset)) || one.peer.answer.failed);
	ck_assert(close_end(&one, id, CHANNEL_RECEIVES));
	wait_until_word(&one, extent, 0, word(BLOCK_FREED, 0, 1));
	close_member(&one);
	wait_until_used(0);
}
END_TEST

static void open_pipe(struct member *member, struct wire_extent_alloced extent)
{
	(void)extent;
	*child_id = holder(member);
	channel(member, "pipe", CHANNEL_SENDS); /* whose memory it has not mapped yet */
}

static bool lives(struct member *member, uint32_t id, uint32_t pid)
{
	struct id_info info = id_of(member, id);

	return info.kind == ID_PROCESS && info.pid == pid && !info.dead;
}

/* The daemon sees the death before the opening, or after it: either is one channel that lives. */
START_TEST(an_end_that_opens_while_the_last_one_dies_is_of_a_channel_that_lives)
{
	struct wire_channel_opened opened;
	struct member one;
	struct id_info info;

	open_member(&one, "a", false);
	holder(&one);
	for (unsigned i = 0; i < 40; i++) {
		pid_t pid = fork_member(open_pipe, (struct wire_extent_alloced){});

		kill(pid, SIGKILL);
		if (i % 4)
			usleep(i % 4 * 100);
		opened = channel(&one, "pipe", CHANNEL_RECEIVES);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		/* Its id may be another's by now. */
		for (int k = 0; k < WAIT_TRIES && (lives(&one, *child_id, (uint32_t)pid) ||
						   id_of(&one, (uint32_t)opened.id).senders);
		     k++)
			usleep(10000);
		info = id_of(&one, (uint32_t)opened.id);
		ck_assert_int_eq(info.kind, ID_CHANNEL);
		ck_assert(!info.dead);
		ck_assert_uint_eq(info.receivers, 1);
		ck_assert_uint_eq(info.senders, 0);
		ck_assert(info.had_senders == info.died); /* it has met him, or has not */
		ck_assert(close_end(&one, opened.id, CHANNEL_RECEIVES));
		wait_until_used(0);
	}
	close_member(&one);
}
END_TEST

START_TEST(a_ring_is_zeros_where_others_bytes_have_been)
{
	struct wire_channel_opened opened;
	struct wire_extent_alloced extent;
	struct member one;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	memset(one.data + offset_position(extent.offset), 0xa5, 64 * KIB);
	ck_assert(try_free(&one, extent));
	opened = channel(&one, "pipe", CHANNEL_SENDS);
	ck_assert_uint_eq(opened.offset, extent.offset);
	for (size_t i = 0; i < opened.size; i++)
		ck_assert_int_eq(one.data[offset_position(opened.offset) + i], 0);
	close_member(&one);
	wait_until_used(0);
}
END_TEST

/* A ring is its members' memory: whatever is in it, sweeps pass by. */
START_TEST(a_ring_of_garbage_stops_no_sweep)
{
	struct wire_channel_opened opened;
	struct member one, other;
	unsigned seed = 3;

	open_member(&one, "a", false);
	holder(&one);
	opened = channel(&one, "pipe", CHANNEL_RECEIVES);
	open_files(&one, false);
	for (unsigned i = 0; i < 50; i++) {
		for (size_t k = 0; k < sizeof(struct ring) / sizeof(uint32_t); k++)
			atomic_store((_Atomic uint32_t *)(void *)ring_of(&one, opened) + k,
				     (uint32_t)rand_r(&seed) << 4 ^ (uint32_t)rand_r(&seed));
		open_member(&other, "a", false);
		holder(&other);
		close_member(&other);
	}
	ck_assert(close_end(&one, opened.id, CHANNEL_RECEIVES));
	wait_until_used(0);
	close_member(&one);
}
END_TEST

/* ---- mischief ---- */

static void spoil(struct member *member, struct wire_extent_alloced extent)
{
	uint64_t size = words_file_size(SLICES) / sizeof(uint32_t);
	unsigned seed = (unsigned)extent.tag;

	open_files(member, false);
	holder(member);
	for (uint64_t i = 0; i < size; i++)
		atomic_store(words_at(member->words, i),
			     (uint32_t)rand_r(&seed) << 12 ^ (uint32_t)rand_r(&seed));
	for (unsigned i = 0; i < SLICES / 4; i++)
		ck_assert_int_eq(fallocate(member->words_fd,
					   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   rand_r(&seed) % SLICES * 4096, 4096),
				 0);
}

START_TEST(garbage_in_the_words_is_its_own_spaces_loss)
{
	struct member bystander, one;
	struct wire_extent_alloced theirs, extent;
	uint32_t id;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&bystander, "b", false);
	theirs = alloc_blocks(&bystander, 64 * KIB);
	open_files(&bystander, false);
	id = holder(&bystander);
	atomic_store(word_of(&bystander, theirs, 7), word(BLOCK_HELD, id, 1));

	for (unsigned round = 0; round < 20; round++) {
		pid_t pid;

		open_member(&one, "a", false);
		holder(&one);
		extent = alloc_blocks(&one, 512 * KIB);
		ck_assert(try_alloc(&one, 128 * KIB, false, true));
		extent.tag = round + 1;
		pid = fork_member(spoil, extent);
		close_member(&one);
		kill_member(pid);
		/* Whatever the words say, what is allocated stays within its limit. */
		ck_assert_uint_le(used(), WINDOW + 64 * KIB);
	}
	/* With them goes all that they spoiled. */
	for (int i = 0;
	     i < WAIT_TRIES && !peer_call(&watcher, WIRE_SPACE_REMOVE,
					  &(struct wire_space_remove){.name = wire_str("a")});
	     i++)
		usleep(10000);
	wait_until_used(64 * KIB);
	peer_create_space(&watcher, "a", WINDOW);
	open_member(&one, "a", false);
	alloc_blocks(&one, 8 * MIB);
	close_member(&one);
	ck_assert_uint_eq(atomic_load(word_of(&bystander, theirs, 7)), word(BLOCK_HELD, id, 1));
	close_member(&bystander);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blocks");
	TCase *tests = tcase_create("blocks");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, members_share_the_words_of_a_window);
	tcase_add_test(tests, a_words_file_keeps_its_size_and_its_writers);
	tcase_add_test(tests, who_opened_the_space_read_only_cannot_write_its_words);
	tcase_add_test(tests, words_of_a_space_that_is_not_open_are_refused);
	tcase_add_test(tests, blocks_are_their_sessions_and_then_the_spaces);
	tcase_add_test(tests, an_extent_is_one_block_or_of_blocks);
	tcase_add_test(tests, adopted_blocks_are_freed_when_nobody_has_any_and_not_before);
	tcase_add_test(tests, an_id_is_given_once_and_the_root_file_says_to_whom);
	tcase_add_test(tests, ids_are_given_again_when_their_words_have_been_swept);
	tcase_add_test(tests,
		       blocks_of_a_process_that_is_killed_are_freed_and_their_owner_is_told);
	tcase_add_test(tests, who_waits_for_somebody_is_woken_by_his_death);
	tcase_add_test(tests, however_many_wait_for_somebody_all_are_woken_by_his_death);
	tcase_add_test(tests, adopted_blocks_go_with_the_last_who_held_any);
	tcase_add_test(tests,
		       a_shared_extent_goes_with_its_holder_and_one_without_a_word_stays);
	tcase_add_test(tests, who_frees_many_of_the_dead_at_once_is_not_refused);
	tcase_add_test(tests, nobodys_blocks_do_not_go_back_through_a_return_ring);
	tcase_add_test(tests, a_shared_extent_whose_holder_died_before_it_took_its_word_goes);
	tcase_add_test(
		tests,
		what_was_allocated_without_an_id_outlives_who_is_killed_and_nothing_else_does);
	tcase_add_test(tests, before_memory_is_refused_what_is_empty_is_looked_for);
	tcase_add_test(tests, garbage_in_the_words_is_its_own_spaces_loss);
	tcase_add_test(tests, whose_a_block_is_can_be_asked);
	tcase_add_test(tests, who_has_not_opened_the_space_is_not_told_whose_a_block_is);
	tcase_add_test(tests, asked_about_garbage_the_daemon_answers_or_refuses);
	tcase_add_test(tests, a_channel_is_made_once_and_its_ends_are_counted);
	tcase_add_test(tests, what_is_no_channel_is_refused);
	tcase_add_test(tests, all_channels_of_a_space_are_listed);
	tcase_add_test(tests,
		       a_sender_that_is_killed_leaves_its_channel_what_it_sent_and_no_lock);
	tcase_add_test(tests,
		       an_end_that_opens_while_the_last_one_dies_is_of_a_channel_that_lives);
	tcase_add_test(tests, a_ring_is_zeros_where_others_bytes_have_been);
	tcase_add_test(tests, a_ring_of_garbage_stops_no_sweep);
	tcase_add_test(tests, before_a_long_run_is_refused_what_is_empty_in_it_is_looked_for);
	return suite_run(suite);
}
