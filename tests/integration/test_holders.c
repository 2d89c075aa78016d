/*
 * Ids of who holds shared blocks, spoken raw: given once, swept, given again; and what becomes of what the dead
 * held, or might have.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/stats_file.h"
#include "tests/integration/member.h"
#include "tests/suite.h"

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
	/* And the loop hears of that from its worker. */
	for (int i = 0; i < WAIT_TRIES && stats()->swept < 2; i++)
		usleep(10000);
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

/* Of this process's threads. */
static uint32_t asleep(void)
{
	DIR *threads = opendir("/proc/self/task");
	struct dirent *entry;
	uint32_t n = 0;

	ck_assert_ptr_nonnull(threads);
	while ((entry = readdir(threads))) {
		char path[64], line[128] = "";
		const char *state;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%.20s/stat", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(line, sizeof(line), file) && (state = strrchr(line, ')')))
			n += state[1] && state[2] == 'S';
		if (file)
			fclose(file);
	}
	closedir(threads);
	return n;
}

/* Who is not asleep yet needs nobody to wake him. */
static void wait_until_asleep(uint32_t n)
{
	for (int i = 0; i < WAIT_TRIES && asleep() < n; i++)
		usleep(10000);
	ck_assert_uint_ge(asleep(), n);
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
	wait_until_asleep(1);
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
	wait_until_asleep(MANY);
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

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/*
 * What is empty was looked for, in vain. Who looks rests three times as long as that took: on a busy machine
 * longer than anybody waits for him, who is refused then.
 */
static void refused_and_rested(struct member *member, uint64_t size)
{
	uint64_t since_us = now_us();

	ck_assert(!try_alloc(member, size, false, false));
	usleep((useconds_t)(3 * (now_us() - since_us)));
}

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
	refused_and_rested(&two, 6 * MIB);
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
	refused_and_rested(&two, 12 * MIB);
	ck_assert_uint_eq(two.peer.answer.fault.code, 1);
	atomic_store(word_of(&two, extent, 0), word(BLOCK_FREED, 0, 1));
	ck_assert(try_alloc(&two, 12 * MIB, false, false));
	close_member(&two);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holders");
	TCase *tests = tcase_create("holders");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
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
	tcase_add_test(tests, before_a_long_run_is_refused_what_is_empty_in_it_is_looked_for);
	return suite_run(suite);
}
