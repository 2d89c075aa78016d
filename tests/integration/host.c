#include "tests/integration/host.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/log.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

struct host host;
struct noted noted;
static void note(enum fake_call call)
{
	noted.calls[call]++;
	if (pthread_equal(pthread_self(), noted.loop))
		noted.on_loop[call] = true;
}

_Atomic bool gate_shut, gate_elsewhere_shut;
_Atomic uint64_t commits_refused;
_Atomic uint64_t look_ns;

static int note_commit(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		       uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	int r;

	note(FAKE_COMMIT);
	while (gate_shut || (gate_elsewhere_shut && node))
		usleep(1000);
	r = noted.fake->commit(sys, fd, page_shift, node, offset, size, ret);
	commits_refused += r != 0;
	return r;
}

static int note_punch(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		      uint64_t size)
{
	note(FAKE_PUNCH);
	return noted.fake->punch(sys, fd, page_shift, offset, size);
}

static int note_window_create(struct sys *sys, const char *name, uint64_t size,
			      uint32_t page_shift, int *ret_fd)
{
	note(FAKE_WINDOW_CREATE);
	return noted.fake->window_create(sys, name, size, page_shift, ret_fd);
}

static void note_window_destroy(struct sys *sys, int fd, uint32_t page_shift)
{
	note(FAKE_WINDOW_DESTROY);
	noted.fake->window_destroy(sys, fd, page_shift);
}

static int note_file_create(struct sys *sys, const char *name, uint64_t size,
			    enum sys_access clients, int *ret_fd, void **ret_memory)
{
	note(FAKE_FILE_CREATE);
	return noted.fake->file_create(sys, name, size, clients, ret_fd, ret_memory);
}

static int note_words_create(struct sys *sys, const char *name, uint32_t n_slices, int *ret_fd)
{
	note(FAKE_WORDS_CREATE);
	return noted.fake->words_create(sys, name, n_slices, ret_fd);
}

static void note_words_destroy(struct sys *sys, int fd)
{
	note(FAKE_WORDS_DESTROY);
	noted.fake->words_destroy(sys, fd);
}

static int note_words_sweep(struct sys *sys, int fd, uint32_t n_slices,
			    const struct words_run *run, const struct block_ids *dead,
			    struct words_found *ret)
{
	note(FAKE_WORDS_SWEEP);
	return noted.fake->words_sweep(sys, fd, n_slices, run, dead, ret);
}

static int note_words_read(struct sys *sys, int fd, uint64_t offset, uint32_t *ret)
{
	note(FAKE_WORDS_READ);
	return noted.fake->words_read(sys, fd, offset, ret);
}

static int note_orphan_locks(struct sys *sys, int fd, uint32_t page_shift, uint64_t position,
			     const struct block_ids *dead)
{
	note(FAKE_ORPHAN_LOCKS);
	return noted.fake->orphan_locks(sys, fd, page_shift, position, dead);
}

static int note_zero(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size)
{
	note(FAKE_ZERO);
	return noted.fake->zero(sys, fd, page_shift, offset, size);
}

static int note_reopen(struct sys *sys, int fd, enum sys_access access, int *ret_fd)
{
	note(FAKE_REOPEN);
	return noted.fake->reopen(sys, fd, access, ret_fd);
}

static uint64_t note_now_ns(struct sys *sys)
{
	if (look_ns && pthread_equal(pthread_self(), noted.loop))
		fake_sys_advance(&host.fake, look_ns);
	return noted.fake->now_ns(sys);
}

/* The log has it by thread. */
static void remember_error(void)
{
	int pair[2];
	ssize_t n;

	if (pipe(pair))
		return;
	log_tell(pair[1], 0);
	n = read(pair[0], host.said, sizeof(host.said) - 1);
	host.said[n > 0 ? n : 0] = '\0';
	close(pair[0]);
	close(pair[1]);
}

static void *serve(void *unused)
{
	(void)unused;
	noted.loop = pthread_self();
	host.result = server_run(&host.options, &host.fake.sys);
	if (host.result)
		remember_error();
	return NULL;
}

void host_prepare(uint64_t size, enum config_pages pages, bool hugepages)
{
	struct settings settings;
	int pair[2];

	fake_sys_init(&host.fake, 1024 * MIB);
	if (!hugepages)
		host.fake.host.huge_total = host.fake.host.huge_free = 0;
	noted.fake = host.fake.sys.table;
	noted.noting = *noted.fake;
	noted.noting.commit = note_commit;
	noted.noting.punch = note_punch;
	noted.noting.window_create = note_window_create;
	noted.noting.window_destroy = note_window_destroy;
	noted.noting.file_create = note_file_create;
	noted.noting.words_create = note_words_create;
	noted.noting.words_destroy = note_words_destroy;
	noted.noting.words_sweep = note_words_sweep;
	noted.noting.words_read = note_words_read;
	noted.noting.orphan_locks = note_orphan_locks;
	noted.noting.zero = note_zero;
	noted.noting.reopen = note_reopen;
	noted.noting.now_ns = note_now_ns;
	host.fake.sys.table = &noted.noting;

	strcpy(host.folder, "/tmp/varbos-test-XXXXXX");
	ck_assert(mkdtemp(host.folder));
	ck_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	host.options = (struct options){.lifeline = pair[1]};
	settings_init(&settings);
	host.options.config = settings.config;
	settings_deinit(&settings);
	host.options.config.memory.size = size;
	host.options.config.memory.pages = pages;
	snprintf(host.options.config.socket.path, sizeof(host.options.config.socket.path),
		 "%s/sock", host.folder);
	host.lifeline = pair[0];
}

void host_run(void)
{
	ck_assert(!pthread_create(&host.thread, NULL, serve, NULL));
}

void host_start(uint64_t size, enum config_pages pages, bool hugepages)
{
	host_prepare(size, pages, hugepages);
	host_run();
}

void host_stop(void)
{
	close(host.lifeline);
	pthread_join(host.thread, NULL);
	close(host.options.lifeline);
	ck_assert_int_eq(host.result, 0);
	ck_assert_uint_eq(host.fake.windows, 0);
	ck_assert_uint_eq(host.fake.window_bytes, 0);
	ck_assert_uint_eq(host.fake.files, 0);
	ck_assert_uint_eq(host.fake.words, 0);
	fake_sys_deinit(&host.fake);
	ck_assert_int_ne(access(host.folder, F_OK), 0); /* it went with the lifeline */
}

bool alloc(struct peer *peer, uint64_t space, uint64_t size)
{
	return peer_call(peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = space, .size = size});
}

bool free_last(struct peer *peer, uint64_t space)
{
	struct wire_extent_alloced got = peer->answer.body.extent_alloced;

	return peer_call(peer, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){
				 .space = space, .offset = got.offset, .tag = got.tag});
}

uint64_t ask_memory(struct peer *peer, uint64_t space, uint64_t size)
{
	peer_send(peer, WIRE_EXTENT_ALLOC,
		  &(struct wire_extent_alloc){.space = space, .size = size});
	return peer->id;
}

bool got_memory(struct peer *peer, uint64_t id)
{
	peer->id = id;
	peer->method = WIRE_EXTENT_ALLOC;
	ck_assert(peer_receive(peer));
	return !peer->answer.failed;
}

int host_suite_run(Suite *suite)
{
	log_open();
	return suite_run(suite);
}
