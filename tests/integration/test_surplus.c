/*
 * Surplus: on small pages any touch of a hole makes a page. What nobody granted goes when its
 * maker has ended, and nothing else does.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/stats_file.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define SHORT (4 * MIB) /* that the kernel may count too little */

enum { WINDOW = 32 << 20, EXTENT = 64 << 10, SECONDS = 10 };

static struct test_daemon daemon_;
static struct peer owner;
static uint64_t space;
static struct wire_extent_alloced extent;
static unsigned char *memory; /* the owner's mapping of the window */

/* The data file of the space's first window; its owner's space stays open. */
static int open_window(struct peer *peer, uint64_t in)
{
	ck_assert(peer_call(peer, WIRE_WINDOW_OPEN,
			    &(struct wire_window_open){.space = in, .window = 0}));
	ck_assert_uint_eq(peer->answer.body.window_opened.size, WINDOW);
	ck_assert_int_ge(peer->fds[0], 0);
	return TAKE_FD(peer->fds[0]);
}

static void *map(int fd, int prot)
{
	void *at = mmap(NULL, WINDOW, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	return at;
}

static void set_up(void)
{
	int fd;

	test_daemon_start(&daemon_, "64M", "--pages", "4K", NULL);
	peer_open(&owner, daemon_.socket);
	peer_create_space(&owner, "a", WINDOW);
	space = peer_open_space(&owner, "a");
	ck_assert(peer_call(&owner, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = EXTENT}));
	extent = owner.answer.body.extent_alloced;
	fd = open_window(&owner, space);
	memory = map(fd, PROT_READ | PROT_WRITE);
	close(fd);
	memset(memory + extent.offset, 'x', EXTENT);
}

static void tear_down(void)
{
	munmap(memory, WINDOW);
	peer_close(&owner);
	test_daemon_stop(&daemon_);
}

/* What the daemon's windows really hold. */
static uint64_t held(void)
{
	char path[64], name[64];
	struct dirent *entry;
	uint64_t bytes = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon_.pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder))) {
		ssize_t n = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name) - 1);
		struct stat st;

		name[n > 0 ? n : 0] = '\0';
		/* A look has a descriptor of its own for a moment: the window counts once. */
		if (strstr(name, "varbos-data") &&
		    !fstatat(dirfd(folder), entry->d_name, &st, 0))
			bytes = u64_max(bytes, (uint64_t)st.st_blocks * 512);
	}
	closedir(folder);
	return bytes;
}

static void wait_until_held(uint64_t bytes)
{
	for (int i = 0; i < SECONDS * 100 && held() != bytes; i++)
		usleep(10000);
	ck_assert_uint_eq(held(), bytes);
}

static void owner_has_its_data(void)
{
	for (size_t i = 0; i < EXTENT; i++)
		ck_assert_int_eq(memory[extent.offset + i], 'x');
}

/*
 * A second session, which maps the window and is not content with what it was given. `alone`:
 * nobody gives or takes back anything meanwhile.
 */
static void intrude(bool read_only, void (*act)(int fd), bool alone)
{
	struct peer peer;
	int fd;

	peer_open(&peer, daemon_.socket);
	ck_assert(peer_call(
		&peer, WIRE_SPACE_OPEN,
		&(struct wire_space_open){.name = wire_str("a"), .read_only = read_only}));
	fd = open_window(&peer, peer.answer.body.space_opened.space);
	act(fd);
	close(fd);
	if (alone) {
		ck_assert_uint_eq(held(), WINDOW);
		ck_assert_uint_eq(peer_status(&peer).committed, 2 * MIB);
	}
	ck_assert(peer_call(&peer, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&peer);
}

static void read_all(int fd)
{
	volatile const unsigned char *at = map(fd, PROT_READ);
	unsigned sum = 0;

	for (size_t i = 0; i < WINDOW; i += 4096)
		sum += at[i] == 'x';
	ck_assert_uint_eq(sum, EXTENT / 4096);
	munmap((void *)(uintptr_t)at, WINDOW);
}

static void write_holes(int fd)
{
	unsigned char *at = map(fd, PROT_READ | PROT_WRITE);

	ck_assert_uint_eq(extent.offset, 0);
	memset(at + EXTENT, 'y', WINDOW - EXTENT);
	munmap(at, WINDOW);
}

static void fill_holes(int fd)
{
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, WINDOW), 0);
}

static uint64_t surplus(void)
{
	_cleanup_(freep) struct stats_copy *copy = malloc(sizeof(*copy));
	_cleanup_(closep) int fd = -1;
	struct stats_file *file;
	char path[128];
	int r;

	snprintf(path, sizeof(path), "%s.stats", daemon_.socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	file = mmap(NULL, sizeof(*file), PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(file, MAP_FAILED);
	r = stats_file_read(file, copy);
	munmap(file, sizeof(*file));
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(copy->n_spaces, 1);
	return copy->spaces[0].surplus;
}

/*
 * The counter follows the kernel's count of blocks, which was seen hundreds of pages short of what was
 * taken back; that all of it is gone is what wait_until_held() shows.
 */
static void surplus_is(uint64_t bytes)
{
	for (int i = 0; i < SECONDS * 100 && surplus() + SHORT < bytes; i++)
		usleep(10000);
	ck_assert_uint_ge(surplus() + SHORT, bytes);
	ck_assert_uint_le(surplus(), bytes);
}

START_TEST(what_a_reader_made_by_reading_goes_with_it)
{
	intrude(true, read_all, true);
	wait_until_held(2 * MIB);
	owner_has_its_data();
	surplus_is(30 * MIB);
}
END_TEST

START_TEST(what_a_writer_wrote_where_nothing_was_granted_goes_with_it)
{
	intrude(false, write_holes, true);
	wait_until_held(2 * MIB);
	owner_has_its_data();
	for (size_t i = 2 * MIB; i < WINDOW; i += MIB / 2)
		ck_assert_int_eq(memory[i], 0); /* and makes a page again */
	surplus_is(30 * MIB);
}
END_TEST

START_TEST(what_a_writer_filled_goes_with_it_and_can_be_granted)
{
	intrude(false, fill_holes, true);
	wait_until_held(2 * MIB);
	owner_has_its_data();
	ck_assert(peer_call(&owner, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = 4 * MIB}));
	memset(memory + owner.answer.body.extent_alloced.offset, 'z', 4 * MIB);
	ck_assert_uint_eq(peer_status(&owner).committed, held());
	owner_has_its_data();
}
END_TEST

/* Grants and what nobody granted, at the same time: neither takes the other's. */
START_TEST(what_is_granted_meanwhile_stays)
{
	struct wire_extent_alloced more[6];

	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		intrude(i % 2, i % 2 ? read_all : fill_holes, false);
		for (int j = 0; j < 50; j++) {
			ck_assert(peer_call(
				&owner, WIRE_EXTENT_ALLOC,
				&(struct wire_extent_alloc){.space = space, .size = 4 * MIB}));
			more[i] = owner.answer.body.extent_alloced;
			memset(memory + more[i].offset, 'a' + (int)i, 4 * MIB);
			usleep(2000 * (useconds_t)(j % 8));
			for (size_t at = 0; at < 4 * MIB; at += 4096)
				ck_assert_int_eq(memory[more[i].offset + at], 'a' + (int)i);
			ck_assert(peer_call(&owner, WIRE_EXTENT_FREE,
					    &(struct wire_extent_free){.space = space,
								       .offset = more[i].offset,
								       .tag = more[i].tag}));
		}
	}
	owner_has_its_data();
	wait_until_held(2 * MIB); /* what is idle is given back, too, whenever that is */
	ck_assert_uint_eq(peer_status(&owner).committed, 2 * MIB);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("surplus");
	TCase *t = tcase_create("surplus");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_a_reader_made_by_reading_goes_with_it);
	tcase_add_test(t, what_a_writer_wrote_where_nothing_was_granted_goes_with_it);
	tcase_add_test(t, what_a_writer_filled_goes_with_it_and_can_be_granted);
	tcase_add_test(t, what_is_granted_meanwhile_stays);
	suite_add_tcase(s, t);
	return suite_run(s);
}
