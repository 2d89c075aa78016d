/*
 * Failing start - what the kernel refuses a daemon that is to take up what an earlier one left: each
 * call of the sys table that its start makes, each errno that it may give, the first time, the second,
 * and so on. It says why and ends, or goes on where nothing depends on it; all that is kept stays kept,
 * no descriptor and no mapping is left, and the next start serves all of it.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/failing_memory.h"
#include "tests/integration/hoarder.h"
#include "tests/integration/host.h"
#include "tests/unit/fake_store.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

#define LIMIT (24 * MIB) /* of the space */

enum {
	TIMES_MAX = 64,
	ALLOCATIONS_MAX = 5000,
	WAIT_TRIES = 2000, /* of 10 ms */
	LOOK_NS = 100000,
};

static const struct {
	enum fake_call call;
	const char *name;
	int errors[4];
} calls[] = {
#define ROW_IN_LIFE(...)
#define ROW_AT_START(name, CALL, ...) {FAKE_##CALL, #name, {__VA_ARGS__}},
#define REFUSED(where, ...) ROW_##where(__VA_ARGS__)
#define EXCUSED(...)
#include "tests/integration/refusals.def"
#undef REFUSED
#undef EXCUSED
};

static const char *failing; /* the call's name, for messages */
static uint64_t failing_nth;
static unsigned refused, went_on;

/* What outlives a daemon. */
static struct fake_store store;
static char kept[FAKE_STORE_MAX][KEPT_NAME_MAX]; /* what there was in it */
static uint32_t n_kept;
static char link_path[128];

/* Who has what is kept: a client of everything, and one that has just a space open. */
static struct hoarder one;
static struct peer other;
static uint64_t others_session;
static struct wire_extent_alloced mine;
static struct wire_daemon_status before;
static ino_t ring;

static bool is_full(void)
{
	const char *how = getenv("VARBOS_FAILING");

	return how && !strcmp(how, "full");
}

/* ---- allocations ---- */

static pthread_t test_thread;
static _Atomic int64_t allocations; /* of the server; the one that fails is told apart by 0 */

bool allocation_fails(void)
{
	pthread_t self = pthread_self();

	return !pthread_equal(self, test_thread) && !pthread_equal(self, store.thread) &&
	       atomic_fetch_sub(&allocations, 1) == 1;
}

/* ---- daemons ---- */

static uint64_t made(enum fake_call call)
{
	uint64_t n;

	pthread_mutex_lock(&host.fake.lock);
	n = host.fake.calls[call];
	pthread_mutex_unlock(&host.fake.lock);
	return n;
}

/* Bytes that are committed. */
static uint64_t committed(void)
{
	uint64_t bytes;

	pthread_mutex_lock(&host.fake.lock);
	bytes = host.fake.window_bytes;
	pthread_mutex_unlock(&host.fake.lock);
	return bytes;
}

/* Of this process, but for what the store holds. */
static unsigned descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n - fake_store_count(&store, NULL);
}

static void ended(void)
{
	left_deinit(&host.options.left);
	fake_sys_again(&host.fake);
	fake_store_count(&store, NULL); /* it has heard all */
}

/* One with what is in the store. False: it has ended, not having served. */
static bool start(void)
{
	uint32_t ready = store.ready;

	fake_store_leave(&store, &host.options.left);
	host.said[0] = '\0';
	host_run();
	while (store.ready == ready) {
		if (!pthread_tryjoin_np(host.thread, NULL)) {
			ended();
			return false;
		}
		usleep(200);
	}
	return true;
}

static int socket_kept(char name[KEPT_NAME_MAX])
{
	int fd = -1;

	pthread_mutex_lock(&store.mutex);
	for (uint32_t i = 0; i < store.n; i++)
		if (!strncmp(store.stored[i].name, "listen-", 7)) {
			strcpy(name, store.stored[i].name);
			fd = fcntl(store.stored[i].fd, F_DUPFD_CLOEXEC, 3);
		}
	pthread_mutex_unlock(&store.mutex);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* As one that is killed leaves it: with its socket, which one that is told to end takes away. */
static void end(void)
{
	const char *path = host.options.config.socket.path;
	char name[KEPT_NAME_MAX];
	int fd = socket_kept(name);

	ck_assert(!link(path, link_path));
	kill(getpid(), SIGTERM);
	ck_assert(!pthread_join(host.thread, NULL));
	ck_assert_int_eq(host.result, 0);
	ended();
	ck_assert(!rename(link_path, path));
	pthread_mutex_lock(&store.mutex);
	strcpy(store.stored[store.n].name, name);
	store.stored[store.n++].fd = fd;
	pthread_mutex_unlock(&store.mutex);
}

static void remember_kept(void)
{
	pthread_mutex_lock(&store.mutex);
	for (n_kept = 0; n_kept < store.n; n_kept++)
		strcpy(kept[n_kept], store.stored[n_kept].name);
	pthread_mutex_unlock(&store.mutex);
}

static void all_is_kept(void)
{
	ck_assert_msg(fake_store_count(&store, NULL) == n_kept,
		      "%s the %dth time: %u are kept, not %u", failing, (int)failing_nth,
		      fake_store_count(&store, NULL), n_kept);
	for (uint32_t i = 0; i < n_kept; i++)
		ck_assert_msg(fake_store_has(&store, kept[i]), "%s the %dth time: %s is lost",
			      failing, (int)failing_nth, kept[i]);
}

static void lose(const char *prefix)
{
	uint32_t n = 0;

	pthread_mutex_lock(&store.mutex);
	for (uint32_t i = 0; i < store.n; i++)
		if (strncmp(store.stored[i].name, prefix, strlen(prefix)))
			store.stored[n++] = store.stored[i];
		else
			close(store.stored[i].fd);
	ck_assert_uint_lt(n, store.n);
	store.n = n;
	pthread_mutex_unlock(&store.mutex);
}

/* ---- what they serve ---- */

static void must(const struct peer *peer, bool done)
{
	ck_assert_msg(done, "%llu: %.*s", (unsigned long long)peer->answer.fault.code,
		      (int)peer->answer.fault.message.size, peer->answer.fault.message.data);
}

static void put(const char *key, const char *value)
{
	struct lane_record record = lane_publish(&one, key, value);

	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
}

static ino_t returns_file(void)
{
	struct stat st;

	must(&one.peer, peer_call(&one.peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ck_assert(!fstat(one.peer.fds[0], &st));
	return st.st_ino;
}

static void fill(char *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (char)(i % 251);
}

/* The first life, which makes all that is kept. */
static void set_up(bool huge)
{
	fake_store_start(&store, 512);
	host_prepare(32 * MIB, huge ? CONFIG_PAGES_2M : CONFIG_PAGES_4K, huge);
	close(host.lifeline);
	close(host.options.lifeline);
	host.options.lifeline = -1;
	host.options.config.memory.lock = true;
	host.options.config.memory.thp = CONFIG_THP_ALWAYS;
	snprintf(link_path, sizeof(link_path), "%s/link", host.folder);
	look_ns = LOOK_NS;
	failing = "nothing";
	ck_assert_msg(start(), "%s", host.said);

	peer_open(&other, host.options.config.socket.path);
	others_session = other.answer.body.welcome.session;
	must(&other,
	     peer_call(&other, WIRE_SPACE_CREATE,
		       &(struct wire_space_create){
			       .name = wire_str("a"), .limit = LIMIT, .reserve = 8 * MIB}));
	peer_open_space(&other, "a");
	hoarder_open(&one, host.options.config.socket.path, "a", "c", 4 * MIB);
	hoarder_lanes(&one, 2);
	hoarder_lease(&one, 1 * MIB);
	put("key", "value");
	ring = returns_file();
	must(&one.peer,
	     peer_call(&one.peer, WIRE_EXTENT_ALLOC,
		       &(struct wire_extent_alloc){.space = one.space, .size = 64 * KIB}));
	mine = one.peer.answer.body.extent_alloced;
	fill((char *)hoarder_at(&one, mine.offset), 64 * KIB);
	before = peer_status(&one.peer);
	peer_close(&one.peer);
	peer_close(&other);
	end();
	remember_kept();
	ck_assert_uint_ge(n_kept, 9);
}

static bool is_filled(const char *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (at[i] != (char)(i % 251))
			return false;
	return true;
}

static void all_is_served(void)
{
	struct wire_daemon_status now;
	uint64_t offset;

	hoarder_resume(&one, host.options.config.socket.path);
	now = peer_status(&one.peer);
	ck_assert_uint_eq(now.spaces, before.spaces);
	ck_assert_uint_eq(now.used, before.used);
	ck_assert(is_filled((char *)hoarder_at(&one, mine.offset), 64 * KIB));
	ck_assert_uint_eq(returns_file(), ring);
	offset = hoarder_find(&one, "key");
	ck_assert_uint_ne(offset, 0);
	ck_assert(!memcmp(hoarder_at(&one, offset) + 1, "key", 3));
	atomic_store(&one.hazard, 0);
	put("again", "and again");
	ck_assert_uint_ne(hoarder_find(&one, "again"), 0);
	atomic_store(&one.hazard, 0);
	peer_close(&one.peer);
}

/* Nothing is left of a daemon that has ended, in whatever way, beside what is kept. */
static void nothing_is_left(unsigned descriptors_before)
{
	ck_assert_msg(descriptors() == descriptors_before,
		      "%s the %dth time: %d descriptors are left", failing, (int)failing_nth,
		      (int)descriptors() - (int)descriptors_before);
	ck_assert_msg(!host.fake.files, "%s the %dth time: %d mappings are left", failing,
		      (int)failing_nth, (int)host.fake.files);
}

static void the_next_serves_all(void)
{
	ck_assert_msg(start(), "%s the %dth time, and then not: %s", failing, (int)failing_nth,
		      host.said);
	all_is_served();
	end();
	all_is_kept();
}

static bool resumes(struct peer *peer, uint64_t session)
{
	peer_connect(peer, host.options.config.socket.path);
	return peer_call(
		peer, WIRE_HELLO,
		&(struct wire_hello){
			.protocol = 1, .layout_min = 1, .layout_max = 1, .resume = session});
}

/* All that is there goes, as it does from any daemon. */
static void tear_down(void)
{
	failing = "nothing";
	ck_assert_msg(start(), "%s", host.said);
	hoarder_resume(&one, host.options.config.socket.path);
	must(&one.peer,
	     peer_call(&one.peer, WIRE_SPACE_REMOVE,
		       &(struct wire_space_remove){.name = wire_str("a"), .force = true}));
	must(&one.peer, peer_call(&one.peer, WIRE_BYE, &(struct wire_empty){}));
	hoarder_close(&one);
	must(&other, resumes(&other, others_session));
	must(&other, peer_call(&other, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&other);
	for (int i = 0; i < WAIT_TRIES && committed(); i++)
		usleep(10000);
	ck_assert_uint_eq(committed(), 0);
	end();
	ck_assert_uint_eq(host.fake.files, 0);
	fake_store_stop(&store);
	fake_sys_deinit(&host.fake);
	unlink(host.options.config.socket.path);
	ck_assert(!rmdir(host.folder));
}

/* ---- one call that fails ---- */

/* It has said why. */
static void is_refused(int error)
{
	ck_assert_int_eq(host.result, -error);
	ck_assert_msg(strchr(host.said, ':') && strstr(host.said, strerror(error)),
		      "%s the %dth time: \"%s\"", failing, (int)failing_nth, host.said);
	refused++;
}

/* False: the start made fewer such calls. FAKE_CALLS: allocations. */
static bool start_failing(enum fake_call call, uint64_t nth, int error)
{
	bool allocates = call == FAKE_CALLS;
	uint64_t until = allocates ? 0 : made(call) + nth, bytes = host.fake.window_bytes;
	uint64_t destroyed = made(FAKE_WINDOW_DESTROY) + made(FAKE_WORDS_DESTROY);
	unsigned had = descriptors();
	bool reached = true;

	if (allocates)
		atomic_store(&allocations, (int64_t)nth);
	else
		fake_sys_fail(&host.fake, call, nth, error);
	if (start()) {
		reached =
			allocates ? atomic_exchange(&allocations, 0) <= 0 : made(call) >= until;
		all_is_served();
		end();
		went_on += reached;
	} else {
		is_refused(error);
	}
	atomic_store(&allocations, 0);
	if (!allocates)
		host.fake.fail[call].nth = 0;
	nothing_is_left(had);
	all_is_kept();
	ck_assert_uint_eq(host.fake.window_bytes, bytes);
	ck_assert_uint_eq(made(FAKE_WINDOW_DESTROY) + made(FAKE_WORDS_DESTROY), destroyed);
	return reached;
}

static unsigned fail_each(size_t which)
{
	unsigned n_errors = 0, starts = 0;

	while (n_errors < 4 && calls[which].errors[n_errors])
		n_errors++;
	ck_assert_uint_gt(n_errors, 0);
	for (failing_nth = 1; failing_nth < TIMES_MAX; failing_nth++) {
		unsigned errors = is_full() ? n_errors : 1;

		for (unsigned i = 0; i < errors; i++) {
			unsigned at = ((unsigned)failing_nth - 1 + i) % n_errors;

			if (!start_failing(calls[which].call, failing_nth,
					   calls[which].errors[at]))
				return starts;
			starts++;
			the_next_serves_all();
		}
	}
	return starts;
}

START_TEST(what_the_kernel_refuses_a_start_loses_nothing_that_is_kept)
{
	unsigned starts;

	set_up(calls[_i].call == FAKE_RESERVE_ADOPT);
	failing = calls[_i].name;
	starts = fail_each((size_t)_i);
	printf("%s: %u times, %u no start, %u went on\n", calls[_i].name, starts, refused,
	       went_on);
	ck_assert_uint_gt(starts, 0); /* it is called at least once */
	tear_down();
}
END_TEST

START_TEST(an_allocation_that_fails_a_start_loses_nothing_that_is_kept)
{
	test_thread = pthread_self();
	set_up(false);
	failing = "an allocation";
	for (failing_nth = 1; start_failing(FAKE_CALLS, failing_nth, ENOMEM); failing_nth++) {
		ck_assert_uint_lt(failing_nth, ALLOCATIONS_MAX);
		the_next_serves_all();
	}
	printf("allocations: %u times, %u no start, %u went on\n", (unsigned)failing_nth - 1,
	       refused, went_on);
	ck_assert_uint_gt(refused, 0);
	tear_down();
}
END_TEST

/* ---- what is lost, and what nobody can read ---- */

static uint32_t n_like(const char *prefix)
{
	uint32_t n = 0;

	fake_store_count(&store, NULL);
	pthread_mutex_lock(&store.mutex);
	for (uint32_t i = 0; i < store.n; i++)
		n += !strncmp(store.stored[i].name, prefix, strlen(prefix));
	pthread_mutex_unlock(&store.mutex);
	return n;
}

/* Readers of an index that is gone could be told nothing: their sessions end, at whichever start. */
START_TEST(a_loss_is_one_whatever_start_is_refused_afterwards)
{
	static const enum fake_call refusing[] = {FAKE_FILE_CREATE, FAKE_FILE_ADOPT};
	unsigned had;

	set_up(false);
	failing = "a loss, and a call";
	lose("index-");
	had = descriptors();
	for (size_t i = 0; i < ARRAY_SIZE(refusing); i++)
		for (failing_nth = 1;; failing_nth++) {
			uint64_t until = made(refusing[i]) + failing_nth;

			fake_sys_fail(&host.fake, refusing[i], failing_nth, ENOMEM);
			if (start()) {
				ck_assert_uint_eq(i + 1, ARRAY_SIZE(refusing));
				ck_assert_uint_lt(made(refusing[i]), until);
				break;
			}
			is_refused(ENOMEM);
			nothing_is_left(had);
			if (!i)
				break; /* there is one */
		}
	host.fake.fail[FAKE_FILE_ADOPT].nth = 0;
	ck_assert(!resumes(&one.peer, one.session));
	hoarder_close(&one);
	hoarder_open(&one, host.options.config.socket.path, "a", "c", 4 * MIB);
	ck_assert(hoarder_find(&one, "key"));
	atomic_store(&one.hazard, 0);
	hoarder_lanes(&one, 2);
	hoarder_lease(&one, 1 * MIB);
	put("again", "and again");
	ck_assert_uint_eq(n_like("index-"), 1);
	peer_close(&one.peer);
	end();
	tear_down();
}
END_TEST

/* 8 bytes of the ledger; what there was is returned. */
static uint64_t spoil(uint64_t at, uint64_t value)
{
	uint64_t was = 0;

	pthread_mutex_lock(&store.mutex);
	for (uint32_t i = 0; i < store.n; i++)
		if (!strcmp(store.stored[i].name, "ledger")) {
			ck_assert_int_eq(pread(store.stored[i].fd, &was, 8, (off_t)at), 8);
			ck_assert_int_eq(pwrite(store.stored[i].fd, &value, 8, (off_t)at), 8);
		}
	pthread_mutex_unlock(&store.mutex);
	return was;
}

/* Where the record of the space says how it is: three words before its limit. */
static uint64_t state_of_space(void)
{
	uint64_t at = 0, word;

	for (;; at += sizeof(word)) {
		word = spoil(at, 0);
		spoil(at, word);
		if (word == LIMIT)
			return at - 3 * sizeof(word);
	}
}

START_TEST(what_is_in_quarantine_stays_kept_whatever_is_refused)
{
	uint64_t at, was;
	unsigned had;

	set_up(false);
	failing = "ledger_create in quarantine";
	at = state_of_space();
	was = spoil(at, 99);
	had = descriptors();
	fake_sys_fail(&host.fake, FAKE_LEDGER_CREATE, 1, ENOMEM);
	ck_assert(!start());
	is_refused(ENOMEM);
	nothing_is_left(had);
	all_is_kept();
	fake_sys_fail(&host.fake, FAKE_LEDGER_ADOPT, 1, EBADFD);
	fake_sys_fail(&host.fake, FAKE_LEDGER_CREATE, 1, EMFILE);
	ck_assert(!start());
	is_refused(EMFILE);
	nothing_is_left(had);
	all_is_kept();

	ck_assert_msg(start(), "%s", host.said);
	ck_assert(!resumes(&one.peer, one.session));
	ck_assert(wire_str_is(one.peer.answer.fault.which, "quarantine"));
	peer_close(&one.peer);
	end();
	nothing_is_left(had);
	all_is_kept();
	spoil(at, was);
	the_next_serves_all();
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("failing_start");
	TCase *t = tcase_create("failing_start");

	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, what_the_kernel_refuses_a_start_loses_nothing_that_is_kept, 0,
			    ARRAY_SIZE(calls));
	tcase_add_test(t, an_allocation_that_fails_a_start_loses_nothing_that_is_kept);
	tcase_add_test(t, a_loss_is_one_whatever_start_is_refused_afterwards);
	tcase_add_test(t, what_is_in_quarantine_stays_kept_whatever_is_refused);
	suite_add_tcase(s, t);
	return host_suite_run(s);
}
