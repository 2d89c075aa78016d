#include "tests/integration/member.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

struct test_daemon daemon_;
struct peer watcher;
uint32_t *child_id;

void set_up(void)
{
	test_daemon_start(&daemon_, "64M", "--pages", "4K", NULL);
	peer_open(&watcher, daemon_.socket);
	peer_create_space(&watcher, "a", WINDOW);
	child_id = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(child_id, MAP_FAILED);
}

void tear_down(void)
{
	munmap(child_id, 4096);
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

void *map_file(int fd, uint64_t size, int prot)
{
	void *memory = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	close(fd);
	return memory;
}

void open_member(struct member *member, const char *name, bool read_only)
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

void close_member(struct member *member)
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

bool try_alloc(struct member *member, uint64_t size, bool blocks, bool shared)
{
	return peer_call(&member->peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = member->space,
						     .size = size,
						     .blocks = blocks,
						     .shared = shared});
}

struct wire_extent_alloced alloc_blocks(struct member *member, uint64_t size)
{
	ck_assert(try_alloc(member, size, true, false));
	return member->peer.answer.body.extent_alloced;
}

bool try_words(struct member *member, uint64_t window)
{
	return peer_call(&member->peer, WIRE_WORDS_OPEN,
			 &(struct wire_window_open){.space = member->space, .window = window});
}

void open_files(struct member *member, bool read_only)
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

uint32_t slice_of(struct wire_extent_alloced extent)
{
	return (uint32_t)(offset_position(extent.offset) >> SLICE_SHIFT);
}

struct slice_info info_of(struct member *member, struct wire_extent_alloced extent)
{
	return slice_word_unpack(atomic_load(&member->map[slice_of(extent)]));
}

_Atomic uint32_t *word_of(struct member *member, struct wire_extent_alloced extent,
			  uint32_t block)
{
	return words_at(member->words, words_index(slice_of(extent), block));
}

uint32_t word(enum block_state state, uint32_t id, uint32_t generation)
{
	return block_word_pack((struct block_info){state, id, generation});
}

bool try_free(struct member *member, struct wire_extent_alloced extent)
{
	return peer_call(&member->peer, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){.space = member->space,
						    .offset = extent.offset,
						    .tag = extent.tag});
}

bool who(struct member *member, uint64_t ref)
{
	return peer_call(&member->peer, WIRE_BLOCK_WHO,
			 &(struct wire_block_who){.space = member->space, .ref = ref});
}

bool was_refused(const struct peer *peer, uint64_t code, const char *which)
{
	return peer->answer.failed && peer->answer.fault.code == code &&
	       wire_str_is(peer->answer.fault.which, which);
}

uint64_t used(void)
{
	return peer_status(&watcher).used;
}

void wait_until_used(uint64_t bytes)
{
	for (int i = 0; i < WAIT_TRIES && used() != bytes; i++)
		usleep(10000);
	ck_assert_uint_eq(used(), bytes);
}

uint32_t holder(struct member *member)
{
	ck_assert_msg(peer_call(&member->peer, WIRE_HOLDER_OPEN,
				&(struct wire_space_handle){.space = member->space}),
		      "%.*s", (int)member->peer.answer.fault.message.size,
		      member->peer.answer.fault.message.data);
	return (uint32_t)member->peer.answer.body.holder_opened.id;
}

struct id_info id_of(struct member *member, uint32_t id)
{
	return id_word_unpack(atomic_load(&member->root->ids[id]));
}

void wait_until_word(struct member *member, struct wire_extent_alloced extent, uint32_t block,
		     uint32_t expected)
{
	for (int i = 0;
	     i < WAIT_TRIES && atomic_load(word_of(member, extent, block)) != expected; i++)
		usleep(10000);
	ck_assert_uint_eq(atomic_load(word_of(member, extent, block)), expected);
}

pid_t fork_member(void (*live)(struct member *member, struct wire_extent_alloced extent),
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

void kill_member(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

bool try_channel(struct member *member, struct wire_channel_open open)
{
	open.space = member->space;
	return peer_call(&member->peer, WIRE_CHANNEL_OPEN, &open);
}

struct wire_channel_opened channel(struct member *member, const char *name, uint64_t roles)
{
	ck_assert_msg(try_channel(member, (struct wire_channel_open){.name = wire_str(name),
								     .roles = roles,
								     .capacity = 5}),
		      "%.*s", (int)member->peer.answer.fault.message.size,
		      member->peer.answer.fault.message.data);
	return member->peer.answer.body.channel_opened;
}

bool has_closed(struct member *member, uint64_t id)
{
	return id_of(member, (uint32_t)id).dead;
}
