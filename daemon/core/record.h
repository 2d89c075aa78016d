/*
 * Record - what the daemon must not forget, in slots of fixed size.
 *
 * R1  Everything authoritative is here; all else (trees, lists, sums) is derived from it.
 * R2  A slot is valid, changed or gone by one aligned 8-byte store; a slot whose validity word
 *     is 0 is free, whatever its other words say.
 * R3  The other words of a slot are stored before its validity word; program order counts (a
 *     process that dies loses no store it made).
 * R4  Memory is committed before a pages record says so, and no longer recorded before it is
 *     punched: a death in between leaves surplus pages, never a record of pages that are not.
 *
 * The table is one block of memory that the caller owns: anonymous in tests, a memfd where it
 * has to outlive the daemon. Only record.c stores into it.
 *
 *   slot     validity word   changed by one store                    freed by
 *   space    state           limit, reserve, client_limit, mode,     state = 0
 *                            tag_next, state (removed)
 *   window   word            word (born, granted)                    word = 0
 *   pages    bits            bits (one for each unit, 1: committed)  bits = 0
 *   session  word            -                                       word = 0
 *   member   word            -                                       word = 0
 *   extent   run             owner (adopted), run (tail returned)    run = 0
 */
#pragma once

#include <stdint.h>

#include "proto/layout.h"

/*
 *   state: valid:1  removed:1  placement:6  numa:4  page_shift:6  weight:14  0:32
 */
struct space_record {
	uint64_t state;
	uint64_t owner; /* uid:32 gid:32 */
	uint64_t mode;
	uint64_t limit;
	uint64_t reserve;
	uint64_t client_limit;
	uint64_t tag_next; /* stored before the extent that takes a tag, so no tag comes back */
	uint64_t window_next; /* generation of the next window, likewise */
	char name[SPACE_NAME_MAX + 1];
};

/*
 *   word: window word of proto/layout.h (37 bits)  number:10  space slot:16  1:1
 */
struct window_record {
	uint64_t word;
};

/* 64 units (a chunk, or a 1 GiB page) of one window. */
struct pages_record {
	uint64_t where; /* window slot:32  group:32 */
	uint64_t bits;
};

/*
 *   word: pid:32  0:31  1:1
 */
struct session_record {
	uint64_t word;
	uint64_t birth; /* tells a pid's next life from this one: the pidfd's inode */
	uint64_t owner; /* uid:32 gid:32 */
	uint64_t image; /* tells an exec from its former self */
};

/*
 *   word: space slot:16  session slot:24  read_only:1  0:22  1:1
 */
struct member_record {
	uint64_t word;
};

/*
 *   owner: session slot + 1:24 (0: none)  tag:20  kind:3  0:17
 *   run:   window slot:24  first slice:20  count:20        (a count is never 0)
 */
struct extent_record {
	uint64_t owner;
	uint64_t run;
};

enum record_kind {
	RECORD_SPACE,
	RECORD_WINDOW,
	RECORD_PAGES,
	RECORD_SESSION,
	RECORD_MEMBER,
	RECORD_EXTENT,
	RECORD_KINDS
};

/* How many slots of each kind; fixed at birth. */
struct record_capacity {
	uint32_t slots[RECORD_KINDS];
};

struct records;

/* Bytes that a table of this capacity takes. */
uint64_t records_size(const struct record_capacity *capacity);

/* Make `memory` (zeroed, 64-byte aligned, records_size() bytes) an empty table. */
struct records *records_init(void *memory, const struct record_capacity *capacity);

const struct record_capacity *records_capacity(const struct records *records);

/* The slot, valid or not; NULL beyond the capacity. */
const void *records_at(const struct records *records, enum record_kind kind, uint32_t slot);
bool records_valid(const struct records *records, enum record_kind kind, uint32_t slot);
