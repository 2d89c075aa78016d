/*
 * A storm of restarts: processes put, delete, read, hold views, fetch, allocate private and shared
 * blocks and hand them over at full speed while the daemon is killed at random moments, its own start
 * included. Nothing that was acknowledged is lost or another, no view changes, who reads reads on while
 * there is no daemon, no call fails; what is sent is received once, in order; one computes a value. Where
 * all pause a restart changes nobody's account; at the end nobody has left anything, the daemon has as
 * many descriptors as before the storm, and where its only space is removed, not one page is left. At
 * its beats it sums up all that it knows (audit.c), and here its ledger is summed up from outside
 * (accounts.h).
 *
 * Once with a store that is the test, once with `varbosd --keep`, which is killed too: but never within
 * the moment in which the daemon hands all to another, for when both have died nobody has it.
 *
 * $VARBOS_STORM_KILLS is how often it is killed (20, and 8).
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>
#include <varbos/channel.h>

#include "base/base.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/accounts.h"
#include "tests/integration/peer.h"
#include "tests/integration/storm.h"
#include "tests/integration/survivor.h"
#include "tests/suite.h"

enum {
	WRITERS = 2,
	READERS = 2,
	FETCHERS = 2,
	SENDER = WRITERS + READERS + FETCHERS,
	RECEIVER,
	PROCESSES,
	FETCHED = 16, /* keys that are computed, not put */
	BLOCKS = 24,  /* that a process holds, each its own */
	BLOCK_MOST = 600000,
	RESTS = 6,
	TURN_MS = 20, /* who waits for another looks around so often */
	KEYS = 500,   /* of each writer, who alone changes them */
	DELETED = 8,  /* each so-manieth change of a key deletes it */
	HELD = 8,
	VALUE = 1500,
	NEVER_MS = 120000,
	LEFT_TRIES = 1000,
	STRIKES_MORE = 300, /* at most, until enough has been done */
	WAIT_TRIES = 6000,  /* of 10 ms */
};

/* What is known of a key: how many changes were asked for, and how many of these are done. */
struct known {
	_Atomic uint64_t asked, done;
};

static struct board {
	_Atomic bool pause, over;
	_Atomic uint32_t paused;
	_Atomic uint64_t puts, deletions, hits, misses, handed, held;
	_Atomic uint64_t sent, received, blocks, fetched, computed;
	struct known keys[WRITERS * KEYS];
	_Atomic bool computing[FETCHED];
} * board;

static struct survivor daemon_;

struct self {
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos_channel *channel, *order;
	uint64_t seed, name;
	struct parcel *parcel; /* that is to be sent next */
	bool ended;
	struct {
		char *memory;
		size_t size;
		char of;
	} blocks[BLOCKS];
	struct {
		struct varbos_view view;
		uint64_t key, change;
	} held[HELD];
};

static void must(int r, const char *what)
{
	const struct varbos_error *error = varbos_error();

	if (r)
		complain("%s: %s (%s): %s", what, varbos_code_name((int)error->code),
			 error->which, error->message);
}

/* ---- what is in a value ---- */

static size_t size_of(uint64_t key, uint64_t change)
{
	return 32 + (key * 7 + change * 131) % VALUE;
}

static void text(char *to, uint64_t key, uint64_t change)
{
	size_t size = size_of(key, change);

	memcpy(to, &key, 8);
	memcpy(to + 8, &change, 8);
	memset(to + 16, (int)(key + change), size - 16);
}

/* Which change it is of. */
static uint64_t verify(const char *data, size_t size, uint64_t key, const char *when)
{
	uint64_t of = 0, change = 0;

	if (size >= 32) {
		memcpy(&of, data, 8);
		memcpy(&change, data + 8, 8);
	}
	if (of != key || size != size_of(key, change))
		complain("%s: a value of key %" PRIu64 " says key %" PRIu64 ", %zu bytes", when,
			 key, of, size);
	for (size_t i = 16; i < size; i++)
		if (data[i] != (char)(key + change))
			complain("%s: a value of key %" PRIu64 " is wrong at %zu", when, key,
				 i);
	return change;
}

/* ---- processes ---- */

static void enter(struct self *self)
{
	varbos_set_timeout(NULL, NEVER_MS);
	varbos_set_reconnect(NULL, NEVER_MS);
	for (int i = 0; varbos_connect(&self->vb, daemon_.socket); i++) {
		if (i == WAIT_TRIES)
			must(1, "connect");
		usleep(10000);
	}
	must(varbos_space_open(
		     &self->space, self->vb, "storm",
		     &(struct varbos_space_options){.limit = 64 << 20, .reserve = 64 << 20}),
	     "space_open");
	/* Far more than there is: nothing is evicted. */
	must(varbos_cache_open(&self->cache, self->space, "c",
			       &(struct varbos_cache_options){.capacity = 16 << 20}),
	     "cache_open");
}

static void change_one(struct self *self)
{
	uint64_t key = self->name * KEYS + sample_random(&self->seed) % KEYS;
	struct known *known = &board->keys[key];
	uint64_t change = known->asked + 1;
	char value[VALUE + 32];
	int r;

	known->asked = change;
	if (change % DELETED) {
		text(value, key, change);
		must(varbos_cache_put(self->cache, &key, sizeof(key), value,
				      size_of(key, change), NULL),
		     "put");
		atomic_fetch_add(&board->puts, 1);
	} else {
		r = varbos_cache_del(self->cache, &key, sizeof(key));
		must(r, "del"); /* it was put before */
		atomic_fetch_add(&board->deletions, 1);
	}
	known->done = change;
}

static void look_at(struct self *self, uint64_t key, const char *when)
{
	struct known *known = &board->keys[key];
	uint64_t done = known->done, asked, change = 0;
	uint64_t at = sample_random(&self->seed) % HELD;
	struct varbos_view view;
	bool may_miss = !done;
	int r;

	r = varbos_cache_get(self->cache, &key, sizeof(key), &view);
	asked = known->asked;
	for (uint64_t i = done; i <= asked; i++)
		may_miss |= i % DELETED == 0;
	if (r == VARBOS_E_NOT_FOUND) {
		if (!may_miss)
			complain("%s: key %" PRIu64 " is lost: %" PRIu64 " to %" PRIu64, when,
				 key, done, asked);
		atomic_fetch_add(&board->misses, 1);
		return;
	}
	must(r, "get");
	change = verify(view.data, view.size, key, when);
	if (change < done || change > asked || change % DELETED == 0)
		complain("%s: key %" PRIu64 " is of change %" PRIu64 ", not %" PRIu64
			 " to %" PRIu64,
			 when, key, change, done, asked);
	atomic_fetch_add(&board->hits, 1);
	if (sample_random(&self->seed) % 64) {
		varbos_view_release(&view);
		return;
	}
	/* For long, over deaths: nothing of it may change. */
	if (self->held[at].view.data) {
		if (verify(self->held[at].view.data, self->held[at].view.size,
			   self->held[at].key, "a view that was held") != self->held[at].change)
			complain("a view has changed");
		varbos_view_release(&self->held[at].view);
		atomic_fetch_add(&board->held, 1);
	}
	self->held[at].view = view;
	self->held[at].key = key;
	self->held[at].change = change;
}

static void hand_over(struct self *self)
{
	size_t size = 64 + sample_random(&self->seed) % 500;
	char *block = varbos_alloc_shared(self->space, size);

	must(!block, "alloc_shared");
	memcpy(block, &size, 8);
	memset(block + 8, (int)size, size - 8);
	must(varbos_channel_send(self->channel, block, NEVER_MS), "send");
	block = varbos_channel_receive(self->channel, NEVER_MS);
	must(!block, "receive");
	memcpy(&size, block, 8);
	for (size_t i = 8; i < size; i++)
		if (size > 600 || block[i] != (char)size)
			complain("what was handed over is wrong at %zu of %zu", i, size);
	must(varbos_free(self->space, block), "free");
	atomic_fetch_add(&board->handed, 1);
}

/* Memory of its own, from bytes to several slices: as it was written, however long it is held. */
static void change_block(struct self *self)
{
	uint64_t at = sample_random(&self->seed) % BLOCKS;
	size_t size = 1 + sample_random(&self->seed) %
				  (sample_random(&self->seed) % 8 ? 4000 : BLOCK_MOST);

	for (size_t i = 0; self->blocks[at].memory && i < self->blocks[at].size; i++)
		if (self->blocks[at].memory[i] != self->blocks[at].of)
			complain("a block is wrong at %zu of %zu", i, self->blocks[at].size);
	if (self->blocks[at].memory)
		must(varbos_free(self->space, self->blocks[at].memory), "free");
	self->blocks[at].memory = sample_random(&self->seed) % 2
					  ? varbos_alloc(self->space, size)
					  : varbos_alloc_shared(self->space, size);
	must(!self->blocks[at].memory, "alloc");
	self->blocks[at].size = size;
	self->blocks[at].of = (char)sample_random(&self->seed);
	memset(self->blocks[at].memory, self->blocks[at].of, size);
	atomic_fetch_add(&board->blocks, 1);
}

/* What is sent from one process to another, each once, in order; the last one says so. */
struct parcel {
	uint64_t number, size;
	bool last;
	char bytes[];
};

static bool timed_out(void)
{
	return varbos_error()->code == VARBOS_E_TIMEOUT;
}

static void send_one(struct self *self, bool last)
{
	size_t size = sizeof(struct parcel) + sample_random(&self->seed) % 2000;
	struct parcel *parcel = self->parcel;

	if (!parcel) {
		parcel = varbos_alloc_shared(self->space, size);
		must(!parcel, "alloc_shared");
		*parcel = (struct parcel){.number = board->sent + 1, .size = size};
		memset(parcel->bytes, (int)parcel->number, size - sizeof(*parcel));
	}
	parcel->last |= last;
	last = parcel->last;
	self->parcel = NULL;
	if (!varbos_channel_send(self->order, parcel, TURN_MS)) {
		atomic_fetch_add(&board->sent, 1);
		self->ended = last;
	} else if (timed_out()) {
		self->parcel = parcel;
	} else {
		must(1, "send in order");
	}
}

static void receive_one(struct self *self)
{
	const struct parcel *parcel = varbos_channel_receive(self->order, TURN_MS);

	if (!parcel && timed_out())
		return;
	must(!parcel, "receive in order");
	if (parcel->number != board->received + 1)
		complain("number %" PRIu64 " is received behind %" PRIu64, parcel->number,
			 board->received);
	for (size_t i = 0; i < parcel->size - sizeof(*parcel); i++)
		if (parcel->bytes[i] != (char)parcel->number)
			complain("what was sent is wrong at %zu of %" PRIu64, i, parcel->size);
	self->ended = parcel->last;
	must(varbos_free(self->space, (void *)(uintptr_t)parcel), "free what was received");
	atomic_fetch_add(&board->received, 1);
}

/* One at a time on the whole machine, whatever daemon there is. */
static int compute(struct varbos_fetch *fetch, void *context)
{
	uint64_t key, *change = context;
	char value[VALUE + 32];

	memcpy(&key, fetch->key, sizeof(key));
	if (atomic_exchange(&board->computing[key % FETCHED], true))
		complain("two compute key %" PRIu64, key);
	usleep(500);
	text(value, key, *change);
	must(varbos_fetch_give(fetch, value, size_of(key, *change)), "fetch_give");
	atomic_fetch_add(&board->computed, 1);
	atomic_store(&board->computing[key % FETCHED], false);
	return 0;
}

static void fetch_one(struct self *self)
{
	uint64_t number = sample_random(&self->seed) % FETCHED, key = WRITERS * KEYS + number,
		 change = sample_random(&self->seed) % 1000;
	const struct varbos_fetch_options options = {.compute_ms = NEVER_MS,
						     .wait_ms = NEVER_MS};
	struct varbos_view view;

	must(varbos_cache_fetch(self->cache, &key, sizeof(key), compute, &change, &options,
				&view),
	     "fetch");
	verify(view.data, view.size, key, "a fetch");
	varbos_view_release(&view);
	atomic_fetch_add(&board->fetched, 1);
	/*
	 * By one alone, so that it is there: what is deleted while it is computed may be computed
	 * by another at once.
	 */
	if (number % FETCHERS == self->name % FETCHERS && !(sample_random(&self->seed) % 4))
		must(varbos_cache_del(self->cache, &key, sizeof(key)),
		     "del of what was fetched");
}

/* Holding all that it has. */
static void rest(void)
{
	if (!board->pause)
		return;
	atomic_fetch_add(&board->paused, 1);
	while (board->pause)
		usleep(1000);
	atomic_fetch_sub(&board->paused, 1);
}

static void act_once(struct self *self)
{
	uint64_t dice = sample_random(&self->seed) % 8;

	if (self->name == RECEIVER)
		receive_one(self);
	else if (self->name == SENDER && dice)
		send_one(self, false);
	else if (self->name == SENDER || (self->name >= WRITERS + READERS && !dice))
		change_block(self);
	else if (self->name >= WRITERS + READERS)
		fetch_one(self);
	else if (self->name >= WRITERS)
		look_at(self, sample_random(&self->seed) % (WRITERS * KEYS), "a reader");
	else if (dice)
		change_one(self);
	else
		hand_over(self);
}

static void live(uint64_t name, uint64_t own_seed)
{
	struct self self = {.name = name, .seed = own_seed};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(&self);
	must(varbos_channel_open(&self.channel, self.space, "ch",
				 VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, NULL),
	     "channel_open");
	if (name == SENDER || name == RECEIVER)
		must(varbos_channel_open(&self.order, self.space, "order",
					 name == RECEIVER ? VARBOS_CHANNEL_RECEIVE
							  : VARBOS_CHANNEL_SEND,
					 NULL),
		     "channel_open");
	while (!board->over) {
		rest();
		act_once(&self);
	}
	while (name == SENDER && !self.ended)
		send_one(&self, true);
	while (name == RECEIVER && !self.ended)
		receive_one(&self);
	for (uint64_t i = 0; i < BLOCKS; i++)
		if (self.blocks[i].memory)
			must(varbos_free(self.space, self.blocks[i].memory), "free at the end");
	for (uint64_t i = 0; i < HELD; i++)
		if (self.held[i].view.data)
			varbos_view_release(&self.held[i].view);
	varbos_disconnect(self.vb);
	_exit(0);
}

static pid_t start(void (*act)(uint64_t, uint64_t), uint64_t name)
{
	uint64_t own = sample_random(&seed);
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		act(name, own);
	return pid;
}

static void expect_end(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	ck_assert_msg(!status, "a process ended with status 0x%x", (unsigned)status);
}

/* ---- before and after ---- */

/* Bytes that the region still has committed, as the statistics say. */
static uint64_t left(struct varbos *vb)
{
	uint64_t bytes;

	must(varbos_ping(vb, NULL), "ping"); /* it serves, so it has counted */
	bytes = statistics(daemon_.socket)->committed;
	return bytes;
}

/* Everything that was acknowledged, as nobody changes it any more. */
static void look_at_all(uint64_t name, uint64_t own_seed)
{
	struct self self = {.name = name, .seed = own_seed};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(&self);
	for (uint64_t key = 0; key < WRITERS * KEYS; key++)
		look_at(&self, key, "at the end");
	_exit(0);
}

/* What the region has committed is what its spaces have: with the last of them, all of it goes. */
static void remove_all(uint64_t name, uint64_t own_seed)
{
	struct self self = {.name = name, .seed = own_seed};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(&self);
	varbos_cache_close(self.cache);
	varbos_space_close(self.space);
	must(varbos_space_remove(self.vb, "storm", 1), "space_remove");
	for (int i = 0; left(self.vb); i++) {
		if (i == WAIT_TRIES)
			complain("%" PRIu64 " bytes are left", left(self.vb));
		usleep(10000);
	}
	_exit(0);
}

/* Now and then so soon that it has hardly begun. */
static useconds_t some_us(void)
{
	return (useconds_t)(sample_random(&seed) % (sample_random(&seed) % 3 ? 400000 : 20000));
}

/* ---- the keeper of varbosd itself ---- */

static int lifeline = -1; /* its end ends daemon and keepers */

static _Noreturn void become_keeper(int theirs)
{
	const char *program = getenv("VARBOSD");
	int log = open(daemon_.log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);

	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	dup2(theirs, STDIN_FILENO);
	execl(program, program, "--keep", "--lifeline", "0", "--socket", daemon_.socket,
	      "--size", "128M", "--pages", "4K", "--log.level=info", (char *)NULL);
	_exit(127);
}

/* The one that serves, another than the former one. */
static void wait_daemon(pid_t former)
{
	daemon_.pid = 0;
	for (int i = 0; i < WAIT_TRIES && (!daemon_.pid || daemon_.pid == former); i++) {
		usleep(10000);
		daemon_.pid = accounts_daemon(daemon_.socket);
	}
	ck_assert_int_ne(daemon_.pid, 0);
	ck_assert_int_ne(daemon_.pid, former);
}

static void keeper_start(void)
{
	int fds[2];
	pid_t pid;

	daemon_ = (struct survivor){.folder = "/tmp/varbos-test-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(daemon_.folder));
	snprintf(daemon_.socket, sizeof(daemon_.socket), "%s/varbos.sock", daemon_.folder);
	snprintf(daemon_.log, sizeof(daemon_.log), "%s/log", daemon_.folder);
	ck_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	lifeline = fds[0];
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		become_keeper(fds[1]);
	close(fds[1]);
	wait_daemon(0);
}

/* "pid (name) state parent ..." False: there is no such process. */
static bool process_is(pid_t pid, char ret_name[32], char *ret_state, pid_t *ret_parent)
{
	char path[64], line[256], *name, *end;
	FILE *file;
	bool there;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	there = file && fgets(line, sizeof(line), file);
	if (file)
		fclose(file);
	name = there ? strchr(line, '(') : NULL;
	end = name ? strrchr(name, ')') : NULL;
	if (!end || sscanf(end + 1, " %c %d", ret_state, ret_parent) != 2)
		return false;
	*end = '\0';
	snprintf(ret_name, 32, "%s", name + 1);
	return true;
}

static bool is_running(pid_t pid)
{
	char name[32], state;
	pid_t parent;

	return process_is(pid, name, &state, &parent) && state != 'Z';
}

/* The daemon's parent, or a child that it has started; 0: neither. */
static pid_t keeper_pid(void)
{
	DIR *all = opendir("/proc");
	pid_t found = 0, parent = 0, its;
	struct dirent *entry;
	char name[32], state;

	if (!process_is(daemon_.pid, name, &state, &parent))
		parent = 0;
	while (all && !found && (entry = readdir(all))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && process_is(pid, name, &state, &its) && state != 'Z' &&
		    !strncmp(name, "varbosd", 7) && strstr(name, "keep") &&
		    (pid == parent || its == daemon_.pid))
			found = pid;
	}
	if (all)
		closedir(all);
	return found;
}

static unsigned times_said(const char *what)
{
	FILE *log = fopen(daemon_.log, "re");
	char line[1024];
	unsigned n = 0;

	while (log && fgets(line, sizeof(line), log))
		n += !!strstr(line, what);
	if (log)
		fclose(log);
	return n;
}

/*
 * The daemon then has another, which holds all: not before that it may die itself, for with both all is
 * lost. That is so by design: there is nobody else who has the descriptors.
 */
static void keeper_strike(void)
{
	unsigned before = times_said("another keeper holds");
	pid_t keeper = keeper_pid();

	ck_assert_int_gt(keeper, 0);
	kill(keeper, SIGKILL);
	waitpid(keeper, NULL, 0); /* unless it is the daemon's */
	for (int i = 0; i < WAIT_TRIES && times_said("another keeper holds") == before; i++)
		usleep(10000);
	ck_assert_uint_gt(times_said("another keeper holds"), before);
}

static void keeper_stop(void)
{
	pid_t keeper = keeper_pid(), pid = daemon_.pid;

	close(lifeline);
	waitpid(keeper, NULL, 0);
	for (int i = 0; i < WAIT_TRIES && (is_running(pid) || is_running(keeper)); i++)
		usleep(10000);
	ck_assert(!is_running(pid) && !is_running(keeper));
	daemon_.pid = 0;
	survivor_folder_remove(&daemon_);
}

/* ---- the storm ---- */

static bool under_keeper;

static void kill_daemon(void)
{
	if (under_keeper)
		kill(daemon_.pid, SIGKILL);
	else
		survivor_kill(&daemon_);
}

static void have_another(void)
{
	pid_t former = daemon_.pid;

	if (under_keeper)
		wait_daemon(former);
	else
		survivor_again(&daemon_);
}

static void strike(void)
{
	uint64_t hits;

	usleep(some_us());
	if (under_keeper && !(sample_random(&seed) % 4))
		keeper_strike();
	kill_daemon();
	/* Who reads needs no daemon, once he has the cache open. */
	hits = board->hits;
	for (int i = 0; hits && i < WAIT_TRIES && !storm->failed && board->hits == hits; i++)
		usleep(10000);
	ck_assert_msg(!hits || storm->failed || board->hits > hits,
		      "nobody reads while the daemon is away");
	have_another();
}

static void restart(struct accounts *before, struct accounts *after)
{
	wait_daemon(0);
	accounts_settled(daemon_.socket, before);
	kill_daemon();
	have_another();
	wait_daemon(0); /* until then the file says what the former one said last */
	accounts_settled(daemon_.socket, after);
}

/*
 * A restart changes nobody's account: what each session has, how much it is, and where; and what is in
 * caches. (By how much the latter's memory exceeds their values may change: see below.)
 */
static void expect_same(const struct accounts *before, const struct accounts *after)
{
	ck_assert_uint_eq(after->n, before->n);
	for (uint32_t i = 0; i < before->n; i++) {
		ck_assert_uint_eq(after->of[i].session, before->of[i].session);
		ck_assert_uint_eq(after->of[i].pid, before->of[i].pid);
		ck_assert_uint_eq(after->of[i].used, before->of[i].used);
	}
	ck_assert_uint_eq(after->working, before->working);
	ck_assert_uint_eq(after->digest, before->digest);
	ck_assert_uint_eq(after->values, before->values);
	ck_assert_uint_eq(after->live, before->live);
	ck_assert_uint_eq(after->ids, before->ids);
}

/* All have given back what they had, and ended: no record of theirs is left. */
static void expect_nothing_left(void)
{
	static const enum record_kind kinds[] = {RECORD_SESSION, RECORD_MEMBER,  RECORD_CHANNEL,
						 RECORD_END,     RECORD_USER,    RECORD_RIGHT,
						 RECORD_LANES,   RECORD_RETURNS, RECORD_RESULT};
	struct accounts now;
	uint32_t n = 1;

	for (int i = 0; n && i < LEFT_TRIES; i++) {
		usleep(10000);
		accounts_read(daemon_.pid, &now);
		n = 0;
		for (size_t j = 0; j < ARRAY_SIZE(kinds); j++)
			n += now.records[kinds[j]];
		n += now.working > 0;
	}
	for (size_t j = 0; j < ARRAY_SIZE(kinds); j++)
		ck_assert_msg(!now.records[kinds[j]], "%u records of kind %u are left",
			      now.records[kinds[j]], kinds[j]);
	ck_assert_uint_eq(now.working, 0);
}

/*
 * With nobody there, what is used is what the caches have: their values, and what is dead between them.
 * The cleaner's segment is not dead while it fills it, but it is for the next daemon, who seals it; he
 * has the dead memory scanned at once, too. So the first restart may have him clean, or give back, what
 * the former one left for later: `used` moves by segments, either way, for it is his work, not his
 * books. When there is no such work any more, a restart moves not one byte.
 */
static void expect_fixed_point(void)
{
	struct accounts before, after;

	for (int i = 0; i < RESTS; i++) {
		restart(&before, &after);
		expect_same(&before, &after);
		if (after.used == before.used)
			return;
	}
	ck_abort_msg("%" PRIu64 " bytes are used, and %" PRIu64 " after another restart",
		     before.used, after.used);
}

/* On a busy machine it takes more deaths. */
static bool is_enough(void)
{
	return board->puts > 100 && board->hits > 1000 && board->computed > 10 &&
	       board->received > 100;
}

static void rage(uint64_t kills)
{
	struct accounts before, after;
	pid_t pids[PROCESSES];
	unsigned descriptors;
	uint64_t strikes = 0;

	memset(board, 0, sizeof(*board));
	expect_end(start(look_at_all, 0)); /* which makes the space and the cache */
	if (under_keeper)
		keeper_strike();
	kill_daemon();
	have_another();
	expect_end(start(look_at_all, 0));
	descriptors = survivor_descriptors_settled(&daemon_);

	for (uint64_t i = 0; i < PROCESSES; i++)
		pids[i] = start(live, i);
	for (; (strikes < kills || !is_enough()) && !storm->failed; strikes++) {
		ck_assert_msg(strikes < kills + STRIKES_MORE, "hardly anything is done");
		strike();
	}
	board->pause = true;
	for (int i = 0; i < WAIT_TRIES && !storm->failed && board->paused < PROCESSES; i++)
		usleep(10000);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	ck_assert_msg(board->paused == PROCESSES, "only %u of all processes go on",
		      board->paused);
	restart(&before, &after);
	expect_same(&before, &after);
	ck_assert_uint_eq(before.n, PROCESSES);
	board->pause = false;
	usleep(some_us());
	board->over = true;
	for (uint64_t i = 0; i < PROCESSES; i++)
		expect_end(pids[i]);
	printf("%" PRIu64 " kills; %" PRIu64 " puts, %" PRIu64 " deletions, %" PRIu64
	       " hits, %" PRIu64 " misses, %" PRIu64 " handed over, %" PRIu64 " views held, "
	       "%" PRIu64 " sent, %" PRIu64 " blocks, %" PRIu64 " fetches, %" PRIu64
	       " computed\n",
	       strikes, board->puts, board->deletions, board->hits, board->misses,
	       board->handed, board->held, board->sent, board->blocks, board->fetched,
	       board->computed);
	fflush(stdout);
	ck_assert_uint_eq(board->sent, board->received);

	expect_nothing_left();
	if (!under_keeper)
		expect_fixed_point();
	expect_end(start(look_at_all, 0));
	survivor_descriptors_are(&daemon_, descriptors); /* with nobody there */
	expect_end(start(remove_all, 0));
}

static uint64_t kills_or(uint64_t n)
{
	const char *given = getenv("VARBOS_STORM_KILLS");

	return given ? strtoull(given, NULL, 0) : n;
}

START_TEST(no_death_of_the_daemon_loses_or_changes_what_was_acknowledged)
{
	under_keeper = false;
	survivor_start(&daemon_, "--size", "128M", "--pages", "4K", NULL);
	rage(kills_or(20));
	survivor_stop(&daemon_);
}
END_TEST

START_TEST(no_death_of_the_daemon_or_of_its_keeper_does)
{
	under_keeper = true;
	keeper_start();
	rage(kills_or(8));
	keeper_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restart_storm");
	TCase *tests = tcase_create("storm");

	board = storm_begin(sizeof(*board));
	tcase_set_timeout(tests, 0);
	tcase_add_test(tests, no_death_of_the_daemon_loses_or_changes_what_was_acknowledged);
	tcase_add_test(tests, no_death_of_the_daemon_or_of_its_keeper_does);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
