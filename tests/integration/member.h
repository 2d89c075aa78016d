/*
 * Member - a session that has a space open, without the library: what it was given, and asks for. And a
 * daemon of the test's own, with the space "a" of one window.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/block_word.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum {
	WINDOW = 16 << 20,
	SLICES = WINDOW >> SLICE_SHIFT,
	WAIT_TRIES = 1000, /* of 10 ms */
};

extern struct test_daemon daemon_;
extern struct peer watcher;
extern uint32_t *child_id; /* shared with children */

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

void set_up(void);
void tear_down(void);

void *map_file(int fd, uint64_t size, int prot);
void open_member(struct member *member, const char *name, bool read_only);
void close_member(struct member *member);
/* Its window and the words. Once there is a window: it comes with the first extent. */
void open_files(struct member *member, bool read_only);

/* True: the answer has it. */
bool try_alloc(struct member *member, uint64_t size, bool blocks, bool shared);
bool try_words(struct member *member, uint64_t window);
bool try_free(struct member *member, struct wire_extent_alloced extent);
bool try_channel(struct member *member, struct wire_channel_open open);
bool who(struct member *member, uint64_t ref);
bool was_refused(const struct peer *peer, uint64_t code, const char *which);

struct wire_extent_alloced alloc_blocks(struct member *member, uint64_t size);
struct wire_channel_opened channel(struct member *member, const char *name, uint64_t roles);
uint32_t holder(struct member *member);

/* What the daemon says of it in files. */
uint32_t slice_of(struct wire_extent_alloced extent);
struct slice_info info_of(struct member *member, struct wire_extent_alloced extent);
struct id_info id_of(struct member *member, uint32_t id);
bool has_closed(struct member *member, uint64_t id);

_Atomic uint32_t *word_of(struct member *member, struct wire_extent_alloced extent,
			  uint32_t block);
uint32_t word(enum block_state state, uint32_t id, uint32_t generation);
void wait_until_word(struct member *member, struct wire_extent_alloced extent, uint32_t block,
		     uint32_t expected);

uint64_t used(void);
void wait_until_used(uint64_t bytes);

/* A process that does something with a member of its own, and then waits to be killed. */
pid_t fork_member(void (*live)(struct member *member, struct wire_extent_alloced extent),
		  struct wire_extent_alloced extent);
void kill_member(pid_t pid);
