#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/copy.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/crew.h"
#include "tests/suite.h"
#include "tests/unfenced.h"

#define MIB ((size_t)1 << 20)

enum { ALIGNMENTS = 64, GUARD = 64, SMALL = 4096, BEFORE = 0xa5 };

static uint64_t state = 88172645463325252;

static uint64_t below(uint64_t bound)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % bound;
}

/* ---- what is copied, and what is not ---- */

struct memory {
	unsigned char *bytes;
	size_t size;
};

static struct memory memory_new(size_t size)
{
	struct memory memory = {
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		size};

	ck_assert(memory.bytes != MAP_FAILED);
	return memory;
}

static void memory_free(struct memory *memory)
{
	if (memory->bytes)
		munmap(memory->bytes, memory->size);
}

static void fill(unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)((i * 131 + (i >> 8) * 17 + (i >> 16)) | 1);
}

static bool all_are(const unsigned char *bytes, size_t size, unsigned char value)
{
	return !size || (bytes[0] == value && !memcmp(bytes, bytes + 1, size - 1));
}

typedef void copy_function(void *to, const void *from, size_t size);
typedef void zero_function(void *to, size_t size);

/* `to` has GUARD bytes on either side. */
static void try_copy(copy_function *copy, unsigned char *to, const unsigned char *from,
		     size_t size, const char *name)
{
	memset(to - GUARD, BEFORE, size + 2 * (size_t)GUARD);
	copy(to, from, size);
	ck_assert_msg(!memcmp(to, from, size), "%s: %zu bytes from %p to %p", name, size,
		      (const void *)from, (void *)to);
	ck_assert_msg(all_are(to - GUARD, GUARD, BEFORE) && all_are(to + size, GUARD, BEFORE),
		      "%s: more than %zu bytes from %p to %p", name, size, (const void *)from,
		      (void *)to);
}

static void try_zero(zero_function *zero, unsigned char *to, size_t size, const char *name)
{
	memset(to - GUARD, BEFORE, size + 2 * (size_t)GUARD);
	zero(to, size);
	ck_assert_msg(all_are(to, size, 0), "%s: %zu zeros to %p", name, size, (void *)to);
	ck_assert_msg(all_are(to - GUARD, GUARD, BEFORE) && all_are(to + size, GUARD, BEFORE),
		      "%s: more than %zu zeros to %p", name, size, (void *)to);
}

/* As programs do, in part without a call. */
static void inline_copy(void *to, const void *from, size_t size)
{
	varbos_copy(to, from, size);
}

static void inline_zero(void *to, size_t size)
{
	varbos_zero(to, size);
}

static void try_all(unsigned char *to, const unsigned char *from, size_t size)
{
	for (size_t i = 0; i < copy_ways_n; i++) {
		const struct copy_way *way = &copy_ways[i];

		if (!way->is_here())
			continue;
		try_copy(way->copy, to, from, size, way->name);
		try_copy(way->copy_streamed, to, from, size, way->name);
		try_zero(way->zero, to, size, way->name);
		try_zero(way->zero_streamed, to, size, way->name);
	}
	try_copy(varbos_copy, to, from, size, "varbos_copy");
	try_zero(varbos_zero, to, size, "varbos_zero");
	try_copy(inline_copy, to, from, size, "varbos_copy, inline");
	try_zero(inline_zero, to, size, "varbos_zero, inline");
}

START_TEST(small_copies_of_every_size_are_exact_at_any_alignment)
{
	static unsigned char from[SMALL + ALIGNMENTS], to[SMALL + ALIGNMENTS + 2 * GUARD];

	fill(from, sizeof(from));
	for (size_t size = 0; size <= SMALL; size++)
		for (unsigned i = 0; i < 2; i++)
			try_all(to + GUARD + below(ALIGNMENTS), from + below(ALIGNMENTS), size);
}
END_TEST

START_TEST(every_alignment_of_both_sides_is_exact)
{
	/* About where one loop ends and another begins. */
	static const size_t sizes[] = {257, 2049};
	static unsigned char from[SMALL], to[SMALL];

	fill(from, sizeof(from));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (unsigned at = 0; at < ALIGNMENTS * ALIGNMENTS; at++)
			try_all(to + GUARD + at % ALIGNMENTS, from + at / ALIGNMENTS, sizes[i]);
}
END_TEST

START_TEST(sizes_about_each_threshold_are_exact)
{
	const size_t at[] = {14 << 10, 18 << 10,          64 << 10,         512 << 10,
			     MIB,      copy_cached_max(), zero_cached_max()};
	_cleanup_(memory_free) struct memory to = memory_new(17 * MIB);
	_cleanup_(memory_free) struct memory from = memory_new(17 * MIB);

	ck_assert_uint_le(copy_cached_max(), zero_cached_max());
	ck_assert_uint_le(zero_cached_max(), 16 * MIB);
	fill(from.bytes, from.size);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		size_t sizes[] = {at[i] - 1 - below(200), at[i] - 1, at[i], at[i] + 1,
				  at[i] + 1 + below(200)};

		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
			unsigned char *place = to.bytes + GUARD + below(ALIGNMENTS);

			try_copy(copy_bytes, place, from.bytes + below(ALIGNMENTS), sizes[j],
				 "copy_bytes");
			try_zero(zero_bytes, place, sizes[j], "zero_bytes");
		}
	}
}
END_TEST

START_TEST(what_lies_beyond_either_end_is_not_touched)
{
	enum { PAGES = 8 };
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = PAGES * page;
	_cleanup_(memory_free) struct memory to = memory_new(size + 2 * page);
	_cleanup_(memory_free) struct memory from = memory_new(size + 2 * page);
	struct memory *both[] = {&to, &from};

	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		fill(both[i]->bytes, both[i]->size);
		ck_assert_int_eq(mprotect(both[i]->bytes, page, PROT_NONE), 0);
		ck_assert_int_eq(mprotect(both[i]->bytes + page + size, page, PROT_NONE), 0);
	}
	for (size_t n = 1; n <= size; n += n < 300 ? 1 : 1 + below(400)) {
		unsigned char *firsts[] = {to.bytes + page, to.bytes + page + size - n};
		const unsigned char *sources[] = {from.bytes + page,
						  from.bytes + page + size - n};

		for (size_t i = 0; i < copy_ways_n; i++) {
			const struct copy_way *way = &copy_ways[i];

			if (!way->is_here())
				continue;
			for (unsigned ends = 0; ends < 4; ends++) {
				way->copy(firsts[ends & 1], sources[ends >> 1], n);
				way->copy_streamed(firsts[ends & 1], sources[ends >> 1], n);
				ck_assert(!memcmp(firsts[ends & 1], sources[ends >> 1], n));
			}
			for (unsigned end = 0; end < 2; end++) {
				way->zero(firsts[end], n);
				way->zero_streamed(firsts[end], n);
				ck_assert(all_are(firsts[end], n, 0));
			}
		}
	}
}
END_TEST

START_TEST(nothing_may_be_copied_from_and_to_nowhere)
{
	/* Where the compiler does not see it. */
	void *volatile nowhere = NULL;

	varbos_copy(nowhere, nowhere, 0);
	varbos_zero(nowhere, 0);
	copy_bytes(nowhere, nowhere, 0);
	zero_bytes(nowhere, 0);
	copy_streamed(nowhere, nowhere, 0);
	zero_streamed(nowhere, 0);
}
END_TEST

/* ---- streaming stores are fenced: step by step ---- */

#if UNFENCED_SEEN
START_TEST(what_was_streamed_is_fenced_when_the_call_returns)
{
	static unsigned char from[1024], to[1024];
	unsigned any = 0;

	for (size_t i = 0; i < copy_ways_n; i++) {
		const struct copy_way *way = &copy_ways[i];

		if (!way->is_here())
			continue;
		unfenced_begin();
		way->copy_streamed(to, from, sizeof(to));
		ck_assert_msg(!unfenced_end(&any), "%s: a copy", way->name);
		unfenced_begin();
		way->zero_streamed(to, sizeof(to));
		ck_assert_msg(!unfenced_end(&any), "%s: zeros", way->name);
	}
	/* Else nothing was looked at. */
	ck_assert_int_eq(any > 0, __builtin_cpu_supports("avx2") != 0);
}
END_TEST
#endif

/* ---- crews ---- */

START_TEST(a_crew_copies_all_whoever_takes_which_step)
{
	_cleanup_(memory_free) struct memory to = memory_new(10 * MIB);
	_cleanup_(memory_free) struct memory from = memory_new(10 * MIB);
	const size_t sizes[] = {1, CREW_STEP - 1, CREW_STEP, CREW_STEP + 1, 9 * MIB + 12345};

	fill(from.bytes, from.size);
	for (unsigned members = 1; members <= CREW_MAX; members++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct crew_work work = {(char *)to.bytes + GUARD,
						 (const char *)from.bytes + 7, sizes[i]};

			memset(to.bytes, BEFORE, to.size);
			crew_run(&work, members);
			ck_assert(!memcmp(work.to, work.from, sizes[i]));
			ck_assert(all_are(to.bytes, GUARD, BEFORE));
			ck_assert(all_are(to.bytes + GUARD + sizes[i], GUARD, BEFORE));
			work.from = NULL;
			crew_run(&work, members);
			ck_assert(all_are(to.bytes + GUARD, sizes[i], 0));
			ck_assert(all_are(to.bytes, GUARD, BEFORE));
			ck_assert(all_are(to.bytes + GUARD + sizes[i], GUARD, BEFORE));
		}
}
END_TEST

/* As many turns as it takes until it is no trial; how many were? */
static unsigned trials(uint32_t *word, uint64_t alone_ns, uint64_t together_ns,
		       enum crew_plan expected)
{
	unsigned n = 0;
	enum crew_plan plan;

	while ((plan = crew_plan(word)) == CREW_TRIAL) {
		crew_vote(word, alone_ns, together_ns);
		ck_assert_uint_le(++n, 2 * CREW_SCORE_MAX);
	}
	ck_assert_int_eq(plan, expected);
	return n;
}

START_TEST(a_crew_is_tried_until_it_is_known_whether_it_pays)
{
	uint32_t word = 0;

	ck_assert_uint_eq(trials(&word, 200, 100, CREW_TOGETHER), CREW_SURE);
	word = 0;
	/* faster by less than a fifth */
	ck_assert_uint_eq(trials(&word, 119, 100, CREW_ALONE), CREW_SURE);
	word = 0;
	ck_assert_uint_eq(trials(&word, 120, 100, CREW_TOGETHER), CREW_SURE);
}
END_TEST

START_TEST(no_verdict_about_crews_is_for_ever)
{
	uint32_t word = 0;
	unsigned asked = 0;

	trials(&word, 200, 100, CREW_TOGETHER);
	/* A moment that was as it never is: one more trial, and no other plan. */
	while (crew_plan(&word) != CREW_TRIAL)
		ck_assert_uint_le(++asked, CREW_AGAIN);
	crew_vote(&word, 100, 1000);
	ck_assert_uint_ge(trials(&word, 200, 100, CREW_TOGETHER), 1);

	/* What stays otherwise is found out, whatever was sure before. */
	for (unsigned i = 0; i < 100 * CREW_AGAIN; i++)
		if (crew_plan(&word) == CREW_TRIAL)
			crew_vote(&word, 200, 100);
	asked = 0;
	for (unsigned i = 0; i < 4 * CREW_AGAIN; i++)
		if (crew_plan(&word) == CREW_TRIAL)
			crew_vote(&word, 100, 100);
	trials(&word, 100, 100, CREW_ALONE);
	/* The count of turns wraps. */
	word = (word & 255) | ~(uint32_t)255;
	ck_assert_int_ne(crew_plan(&word), CREW_TOGETHER);
	ck_assert_int_ne(crew_plan(&word), CREW_TOGETHER);
}
END_TEST

struct watch {
	_Atomic bool done;
	uint64_t blocked; /* by a member that was seen at work */
};

static bool has(uint64_t set, int number)
{
	return set >> (number - 1) & 1;
}

/* False: it is none, or not at work. */
static bool blocked_by_member(const char *thread, uint64_t *ret)
{
	char path[64], line[256], name[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", thread);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Name: %63s", name) != 1)
			sscanf(line, "SigBlk: %" SCNx64, ret);
	if (file)
		fclose(file);
	/* A thread that ends blocks all, SIGBUS too. */
	return !strcmp(name, "varbos-copy") && !has(*ret, SIGBUS);
}

static void *watch_run(void *userdata)
{
	struct watch *watch = userdata;
	struct dirent *entry;
	bool seen = false;
	DIR *threads;

	while (!seen) {
		threads = opendir("/proc/self/task");
		while (threads && !seen && (entry = readdir(threads)))
			seen = blocked_by_member(entry->d_name, &watch->blocked);
		if (threads)
			closedir(threads);
	}
	atomic_store(&watch->done, true);
	return NULL;
}

START_TEST(a_crew_takes_no_signals_but_those_of_faults_of_its_own)
{
	_cleanup_(memory_free) struct memory to = memory_new(32 * MIB);
	const struct crew_work work = {(char *)to.bytes, NULL, to.size};
	struct watch watch = {0};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, watch_run, &watch), 0);
	while (!atomic_load(&watch.done))
		crew_run(&work, CREW_MAX);
	pthread_join(thread, NULL);
	ck_assert(has(watch.blocked, SIGTERM) && has(watch.blocked, SIGUSR1) &&
		  has(watch.blocked, SIGCHLD));
	ck_assert(!has(watch.blocked, SIGSEGV));
}
END_TEST

START_TEST(who_may_use_one_processor_copies_alone)
{
	_cleanup_(memory_free) struct memory to = memory_new(33 * MIB);
	_cleanup_(memory_free) struct memory from = memory_new(33 * MIB);
	cpu_set_t allowed, one;

	fill(from.bytes, from.size);
	ck_assert_int_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	ck_assert_uint_eq(crew_members(), u64_min(CREW_MAX, (uint64_t)CPU_COUNT(&allowed)));
	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &allowed))
			CPU_SET(cpu, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_uint_eq(crew_members(), 1);
	try_copy(varbos_copy, to.bytes + GUARD, from.bytes, 32 * MIB + 1, "on one processor");
	try_zero(varbos_zero, to.bytes + GUARD, 32 * MIB + 1, "on one processor");
	ck_assert_int_eq(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}
END_TEST

static const unsigned char *common;

static void *caller(void *userdata)
{
	_cleanup_(memory_free) struct memory to = memory_new(33 * MIB);

	for (unsigned i = 0; i < 3; i++) {
		try_copy(varbos_copy, to.bytes + GUARD, common + i, CREW_LEAST + i,
			 "of several");
		try_zero(varbos_zero, to.bytes + GUARD, CREW_LEAST - i, "of several");
	}
	return NULL;
}

START_TEST(several_may_copy_at_once)
{
	_cleanup_(memory_free) struct memory from = memory_new(33 * MIB);
	pthread_t threads[3];

	fill(from.bytes, from.size);
	common = from.bytes;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, caller, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_forked_child_copies_as_its_parent_does)
{
	_cleanup_(memory_free) struct memory to = memory_new(33 * MIB);
	_cleanup_(memory_free) struct memory from = memory_new(33 * MIB);
	int status;
	pid_t child;

	fill(from.bytes, from.size);
	try_copy(varbos_copy, to.bytes + GUARD, from.bytes, CREW_LEAST, "the parent");
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		struct crew_work work = {(char *)to.bytes, (const char *)from.bytes + 1,
					 CREW_LEAST};

		varbos_zero(to.bytes, to.size);
		for (unsigned i = 0; i < 3; i++)
			varbos_copy(to.bytes, from.bytes, CREW_LEAST);
		if (memcmp(to.bytes, from.bytes, CREW_LEAST))
			_exit(1);
		crew_run(&work, CREW_MAX);
		_exit(memcmp(to.bytes, from.bytes + 1, CREW_LEAST) ? 2 : 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status %x", (unsigned)status);
}
END_TEST

/* Cancelled while the others copy: that is heard when they are done, and not before. */
static void *cancelled(void *userdata)
{
	const struct crew_work *work = userdata;

	pthread_cancel(pthread_self());
	crew_run(work, CREW_MAX);
	((char *)work->to)[0] = 1;
	pthread_testcancel();
	return NULL;
}

START_TEST(a_caller_is_cancelled_after_its_copy)
{
	_cleanup_(memory_free) struct memory to = memory_new(16 * MIB);
	struct crew_work work = {(char *)to.bytes, NULL, to.size};
	pthread_t thread;
	void *result;

	for (unsigned i = 0; i < 5; i++) {
		memset(to.bytes, BEFORE, to.size);
		ck_assert_int_eq(pthread_create(&thread, NULL, cancelled, &work), 0);
		ck_assert_int_eq(pthread_join(thread, &result), 0);
		ck_assert_ptr_eq(result, PTHREAD_CANCELED);
		ck_assert_int_eq(to.bytes[0], 1);
		ck_assert(all_are(to.bytes + 1, to.size - 1, 0));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("copy");
	TCase *tcase = tcase_create("copy");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, small_copies_of_every_size_are_exact_at_any_alignment);
	tcase_add_test(tcase, every_alignment_of_both_sides_is_exact);
	tcase_add_test(tcase, sizes_about_each_threshold_are_exact);
	tcase_add_test(tcase, what_lies_beyond_either_end_is_not_touched);
	tcase_add_test(tcase, nothing_may_be_copied_from_and_to_nowhere);
#if UNFENCED_SEEN
	tcase_add_test(tcase, what_was_streamed_is_fenced_when_the_call_returns);
#endif
	tcase_add_test(tcase, a_crew_copies_all_whoever_takes_which_step);
	tcase_add_test(tcase, a_crew_is_tried_until_it_is_known_whether_it_pays);
	tcase_add_test(tcase, no_verdict_about_crews_is_for_ever);
	tcase_add_test(tcase, a_crew_takes_no_signals_but_those_of_faults_of_its_own);
	tcase_add_test(tcase, who_may_use_one_processor_copies_alone);
	tcase_add_test(tcase, several_may_copy_at_once);
	tcase_add_test(tcase, a_forked_child_copies_as_its_parent_does);
	tcase_add_test(tcase, a_caller_is_cancelled_after_its_copy);
	return suite_run(suite);
}
