/*
 * The statistics file: whatever the writer does, a reader gets one whole copy or is told no.
 *
 * A copy of sequence number n holds n in all its words in use, so that a mixture shows. Where a
 * writer dies or a reader is overtaken is not left to chance: a page that the copying will touch
 * is made inaccessible, and what happens there is done by the fault's handler.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/base.h"
#include "proto/stats_file.h"
#include "tests/sanitized.h"
#include "tests/suite.h"

enum { PAGE = 4096 };

static struct stats_file *file; /* shared with forked children */
static struct stats_copy *reading;
static struct stats_copy filled;

static void *pages_new(size_t size)
{
	void *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

static void setup(void)
{
	file = pages_new(sizeof(*file));
	reading = pages_new(sizeof(*reading));
}

static void teardown(void)
{
	munmap(file, sizeof(*file));
	munmap(reading, sizeof(*reading));
}

static void words_set(void *memory, size_t size, uint64_t value)
{
	uint64_t *words = memory;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = value;
}

static void publish(uint64_t n, uint32_t spaces, uint32_t clients)
{
	words_set(&filled, offsetof(struct stats_copy, n_nodes), n);
	filled.n_nodes = 1;
	filled.n_spaces = spaces;
	filled.n_clients = clients;
	filled.n_shares = filled.n_caches = spaces;
	filled.n_pins = (uint32_t)u64_min(spaces, STATS_PINS_MAX);
	filled.n_hot = spaces;
	words_set(filled.nodes, sizeof(filled.nodes[0]), n);
	words_set(filled.spaces, spaces * sizeof(filled.spaces[0]), n);
	words_set(filled.clients, clients * sizeof(filled.clients[0]), n);
	words_set(filled.shares, spaces * sizeof(filled.shares[0]), n);
	words_set(filled.caches, spaces * sizeof(filled.caches[0]), n);
	words_set(filled.pins, filled.n_pins * sizeof(filled.pins[0]), n);
	words_set(filled.hot, filled.n_hot * sizeof(filled.hot[0]), n);
	stats_file_publish(file, &filled);
}

/* Is all of it of the sequence number n? The ends of strings are the reader's own. */
static bool is_whole(const struct stats_copy *copy, uint64_t n)
{
	if (copy->now_ms != n || copy->requests != n || copy->failures.budget_client != n ||
	    copy->nodes[0].used != n)
		return false;
	for (uint32_t i = 0; i < copy->n_spaces; i++)
		if (*(const uint64_t *)(const void *)copy->spaces[i].name != n ||
		    copy->spaces[i].failures.budget_client != n)
			return false;
	for (uint32_t i = 0; i < copy->n_clients; i++)
		if (copy->clients[i].used != n || copy->clients[i].failed != n)
			return false;
	for (uint32_t i = 0; i < copy->n_shares; i++)
		if (copy->shares[i].committed != n || copy->shares[i].used != n)
			return false;
	for (uint32_t i = 0; i < copy->n_caches; i++)
		if (copy->caches[i].capacity != n || copy->caches[i].moved != n)
			return false;
	for (uint32_t i = 0; i < copy->n_pins; i++)
		if (copy->pins[i].bytes != n || copy->pins[i].since_ms != n)
			return false;
	for (uint32_t i = 0; i < copy->n_hot; i++)
		if (copy->hot[i].hash != n || copy->hot[i].over != n)
			return false;
	return true;
}

START_TEST(a_fresh_file_reads_as_empty)
{
	ck_assert_int_eq(stats_file_read(file, reading), 0);
	ck_assert_uint_eq(reading->n_spaces, 0);
	ck_assert_uint_eq(reading->used, 0);
}
END_TEST

START_TEST(what_was_published_last_is_read)
{
	for (uint64_t n = 1; n < 10; n++) {
		publish(n, (uint32_t)n, 2 * (uint32_t)n);
		ck_assert_int_eq(stats_file_read(file, reading), 0);
		ck_assert_uint_eq(reading->n_spaces, n);
		ck_assert_uint_eq(reading->n_clients, 2 * n);
		ck_assert(is_whole(reading, n));
	}
}
END_TEST

START_TEST(full_tables_fit_and_unused_rows_are_not_copied)
{
	publish(5, STATS_SPACES_MAX, STATS_CLIENTS_MAX);
	ck_assert_int_eq(stats_file_read(file, reading), 0);
	ck_assert(is_whole(reading, 5));
	publish(6, 1, 1);
	ck_assert_int_eq(stats_file_read(file, reading), 0);
	ck_assert_uint_eq(reading->spaces[0].limit, 6);
	ck_assert_uint_eq(reading->spaces[1].limit, 5);
	ck_assert_uint_eq(reading->clients[1].used, 5);
}
END_TEST

START_TEST(counts_and_strings_of_a_broken_file_are_confined)
{
	uint64_t turn;

	publish(0x4141414141414141, STATS_SPACES_MAX, STATS_CLIENTS_MAX);
	turn = atomic_load(&file->turn);
	file->copies[turn & 1].n_nodes = UINT32_MAX;
	file->copies[turn & 1].n_spaces = UINT32_MAX;
	file->copies[turn & 1].n_clients = UINT32_MAX;
	ck_assert_int_eq(stats_file_read(file, reading), 0);
	ck_assert_uint_eq(reading->n_nodes, STATS_NODES_MAX);
	ck_assert_uint_eq(reading->n_spaces, STATS_SPACES_MAX);
	ck_assert_uint_eq(reading->n_clients, STATS_CLIENTS_MAX);
	ck_assert_uint_eq(strlen(reading->spaces[7].name), SPACE_NAME_MAX);
	ck_assert_uint_eq(strlen(reading->spaces[7].placement), 15);
	ck_assert_uint_eq(strlen(reading->clients[7].name), 31);
}
END_TEST

/* ---- a writer that dies ---- */

static char *page_of(void *memory, size_t at)
{
	return (char *)((uintptr_t)memory + at - ((uintptr_t)memory + at) % PAGE);
}

static void die(int signal)
{
	(void)signal;
	raise(SIGKILL);
}

START_TEST(a_writer_that_dies_anywhere_leaves_the_copy_before)
{
	size_t first = offsetof(struct stats_file, copies), pages, died = 0;
	pid_t child;
	int status;

	publish(1, 200, 700);
	publish(2, 200, 700); /* now copies[0] is current, copies[1] the next to be filled */
	pages = sizeof(struct stats_copy) / PAGE + 1;

	for (size_t i = 0; i < pages; i++) {
		child = fork();
		ck_assert_int_ge(child, 0);
		if (!child) {
			size_t at = first + sizeof(struct stats_copy) + i * PAGE;

			if (at >= sizeof(*file))
				_exit(0);
			signal(SIGSEGV, die);
			/* The words before it arrive, those from it on do not. */
			mprotect(page_of(file, at), PAGE, PROT_READ);
			publish(3, 200, 700);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) { /* rows that are not in use */
			ck_assert_int_eq(stats_file_read(file, reading), 0);
			ck_assert(is_whole(reading, 3));
			publish(1, 200, 700);
			publish(2, 200, 700);
			if (atomic_load(&file->turn) & 1)
				publish(2, 200, 700);
			continue;
		}
		died++;
		ck_assert_int_eq(stats_file_read(file, reading), 0);
		ck_assert(is_whole(reading, 2));
	}
	ck_assert_uint_gt(died, 10);

	/* The next writer goes on as if nothing had been. */
	publish(4, 3, 3);
	ck_assert_int_eq(stats_file_read(file, reading), 0);
	ck_assert(is_whole(reading, 4));
}
END_TEST

/* ---- a reader that is overtaken ---- */

static struct {
	uint64_t published; /* the last sequence number */
	char *traps[2];     /* pages of `reading`; one or both are closed */
	unsigned sprung;
	bool again; /* close the other trap when one springs */
} overtaker;

static void overtake(int signal, siginfo_t *info, void *context)
{
	char *page = page_of(info->si_addr, 0);
	unsigned i = page == overtaker.traps[1];

	(void)signal;
	(void)context;
	if (page != overtaker.traps[i])
		abort();

	/* Twice: the second one fills the copy that is being read. */
	publish(++overtaker.published, 200, 700);
	publish(++overtaker.published, 200, 700);
	overtaker.sprung++;
	if (overtaker.again)
		mprotect(overtaker.traps[!i], PAGE, PROT_NONE);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static void overtaker_arm(size_t at, bool again)
{
	struct sigaction action = {.sa_sigaction = overtake, .sa_flags = SA_SIGINFO};

	overtaker.published = 1;
	overtaker.sprung = 0;
	overtaker.again = again;
	overtaker.traps[0] = page_of(reading, at);
	overtaker.traps[1] = page_of(reading, at) + PAGE;
	ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
	ck_assert_int_eq(mprotect(overtaker.traps[0], PAGE, PROT_NONE), 0);
}

START_TEST(a_reader_that_is_overtaken_anywhere_reads_again)
{
	size_t sprung = 0;

	for (size_t at = 0; at < sizeof(*reading); at += PAGE) {
		publish(1, 200, 700);
		overtaker_arm(at, false);
		ck_assert_int_eq(stats_file_read(file, reading), 0);
		ck_assert(is_whole(reading, overtaker.published));
		sprung += overtaker.sprung;
		mprotect(overtaker.traps[0], PAGE, PROT_READ | PROT_WRITE);
	}
	ck_assert_uint_gt(sprung, 10);
}
END_TEST

START_TEST(a_reader_that_is_overtaken_each_time_gives_up)
{
	publish(1, 200, 700);
	overtaker_arm(offsetof(struct stats_copy, spaces) + PAGE, true);
	ck_assert_int_eq(stats_file_read(file, reading), STATS_FILE_E_BUSY);
	ck_assert_uint_ge(overtaker.sprung, STATS_FILE_TRIES);
}
END_TEST

/* ---- threads ---- */

enum { ROUNDS = 3000, READERS = 2 };

static atomic_bool stop;

static void *reader(void *userdata)
{
	struct stats_copy *copy = calloc(1, sizeof(*copy));
	uint64_t last = 0;
	uint64_t *torn = userdata;

	if (!copy) {
		*torn = UINT64_MAX;
		return NULL;
	}
	while (!atomic_load(&stop)) {
		if (stats_file_read(file, copy))
			continue; /* bounded, and told */
		*torn += !is_whole(copy, copy->now_ms) || copy->now_ms < last;
		last = copy->now_ms;
	}
	free(copy);
	return NULL;
}

START_TEST(readers_beside_a_busy_writer_never_see_a_mixture)
{
	pthread_t threads[READERS];
	uint64_t torn[READERS] = {};

	publish(1, 5, 5);
	for (unsigned i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &torn[i]), 0);
	for (uint64_t n = 2; n < ROUNDS; n++)
		publish(n, (uint32_t)(n % 50), (uint32_t)(n % 70));
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_uint_eq(torn[i], 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stats_file");
	TCase *tests = tcase_create("stats_file");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_fresh_file_reads_as_empty);
	tcase_add_test(tests, what_was_published_last_is_read);
	tcase_add_test(tests, full_tables_fit_and_unused_rows_are_not_copied);
	tcase_add_test(tests, counts_and_strings_of_a_broken_file_are_confined);
	/* Its own atomics cannot be interrupted by a fault. */
	if (!UNDER_TSAN) {
		tcase_add_test(tests, a_writer_that_dies_anywhere_leaves_the_copy_before);
		tcase_add_test(tests, a_reader_that_is_overtaken_anywhere_reads_again);
		tcase_add_test(tests, a_reader_that_is_overtaken_each_time_gives_up);
	}
	tcase_add_test(tests, readers_beside_a_busy_writer_never_see_a_mixture);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
