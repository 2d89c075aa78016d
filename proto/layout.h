/*
 * Layout - every byte that two processes share by mapping it.
 *
 * L1  Shared memory never holds a pointer: places are 44-bit offsets within a space.
 * L2  Each word has one writer: the daemon, and clients map read-only; but for return rings
 *     and reports, which a client writes, and words files, which all writers of a space and the daemon
 *     write by compare-and-swap. Of either the daemon reads guarded, and believes nothing.
 * L3  Layouts only grow, at the end; LAYOUT_VERSION is agreed on by HELLO.
 * L4  Each word is meaningful alone (root file, slice map) or stands in one of two copies that
 *     a counter picks (statistics): no reader ever waits for a writer, alive or dead.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would not cross processes");

enum {
	LAYOUT_VERSION = 1,
	SLICE_SHIFT = 16, /* 64 KiB: what placement hands out */
	CHUNK_SHIFT = 21, /* 2 MiB: the least that is committed */
	CHUNK_SLICES = 1 << (CHUNK_SHIFT - SLICE_SHIFT),
	POSITION_BITS = 34, /* of an offset: inside the window, 16 GiB */
	WINDOW_BITS = 10,
	OFFSET_BITS = POSITION_BITS + WINDOW_BITS,
	TAG_BITS = 20,
	WINDOWS_MAX = 1 << WINDOW_BITS,
	SPACE_NAME_MAX = 63,
	CHANNEL_NAME_MAX = 63,
	CACHE_NAME_MAX = 63,
	CACHES_MAX =
		4096, /* handles, 0 is none's: an access names one in 12 bits (proto/lane.h) */
	CHANNEL_CAPACITY_MAX = 4096, /* so that its memory is one slice */
	BLOCK_SHIFT = 6,             /* 64 bytes: the smallest block that has a word */
	SLICE_WORDS = 1 << (SLICE_SHIFT - BLOCK_SHIFT),
	ID_BITS = 10,
	IDS_MAX = 1 << ID_BITS, /* 0 is nobody's, or anyone's */
};

#define SLICE_BYTES ((uint64_t)1 << SLICE_SHIFT)
#define CHUNK_BYTES ((uint64_t)1 << CHUNK_SHIFT)
#define WINDOW_BYTES_MAX ((uint64_t)1 << POSITION_BITS)
#define TAG_MASK (((uint32_t)1 << TAG_BITS) - 1)
#define ID_MASK (((uint32_t)1 << ID_BITS) - 1)

static inline uint64_t offset_make(uint32_t window, uint64_t position)
{
	return (uint64_t)window << POSITION_BITS | position;
}

static inline uint32_t offset_window(uint64_t offset)
{
	return (uint32_t)(offset >> POSITION_BITS) & (WINDOWS_MAX - 1);
}

static inline uint64_t offset_position(uint64_t offset)
{
	return offset & (WINDOW_BYTES_MAX - 1);
}

/* A reference: tag:20 | offset:44. Tags are never 0, so neither is a reference. */
static inline uint64_t ref_make(uint32_t tag, uint64_t offset)
{
	return (uint64_t)tag << OFFSET_BITS | offset;
}

static inline uint32_t ref_tag(uint64_t ref)
{
	return (uint32_t)(ref >> OFFSET_BITS);
}

static inline uint64_t ref_offset(uint64_t ref)
{
	return ref & (((uint64_t)1 << OFFSET_BITS) - 1);
}

/* Which of its fields a space.change is about. */
enum space_set {
	SPACE_SET_LIMIT = 1 << 0,
	SPACE_SET_RESERVE = 1 << 1,
	SPACE_SET_CLIENT_LIMIT = 1 << 2,
	SPACE_SET_WEIGHT = 1 << 3,
	SPACE_SET_MODE = 1 << 4,
	SPACE_SET_UID = 1 << 5,
	SPACE_SET_GID = 1 << 6,
	SPACE_SET_ALL = (1 << 7) - 1,
};

/* And a cache.change. */
enum cache_set {
	CACHE_SET_CAPACITY = 1 << 0,
	CACHE_SET_POLICY = 1 << 1,
	CACHE_SET_TTL = 1 << 2,
	CACHE_SET_ALL = (1 << 3) - 1,
};

/*
 * Window word - what a window is, in one word.
 *
 *   state:3  node:6  page_shift:6  size_shift:6  generation:16  0:27     written by the daemon
 *
 * The low 37 bits of a window record (daemon/core/record.h) are the same word.
 */
enum window_state {
	WINDOW_NONE = 0,
	WINDOW_BORN = 1,    /* recorded; no client has it: may vanish with its descriptors */
	WINDOW_GRANTED = 2, /* its descriptors may be with clients */
	WINDOW_RETIRED = 3, /* and no more memory of it is: in the daemon's records alone */
};

struct window_info {
	enum window_state state;
	uint32_t node, page_shift, size_shift, generation;
};

static inline uint64_t window_word_pack(struct window_info info)
{
	return (uint64_t)info.state | (uint64_t)info.node << 3 |
	       (uint64_t)info.page_shift << 9 | (uint64_t)info.size_shift << 15 |
	       (uint64_t)info.generation << 21;
}

static inline struct window_info window_word_unpack(uint64_t word)
{
	return (struct window_info){
		.state = (enum window_state)(word & 7),
		.node = (uint32_t)(word >> 3) & 63,
		.page_shift = (uint32_t)(word >> 9) & 63,
		.size_shift = (uint32_t)(word >> 15) & 63,
		.generation = (uint32_t)(word >> 21) & 0xffff,
	};
}

/*
 * Id word - who an id of a space is.
 *
 *   kind:2  dead:1  senders:10  receivers:10  had_senders:1  had_receivers:1  died:1  0:6  pid:32
 *                                                                         written by the daemon
 *
 * A process (its `pid`) is given its id at its first shared use of the space; a channel when it
 * is made. A process that has ended is `dead`, and so is a channel whose last end has gone. They
 * stay so until the id is given again: after a sweep has freed all that it held, or was sent, and
 * while none runs that frees what is sent to it meanwhile (proto/block_word.h).
 *
 * `senders` and `receivers` count a channel's open ends, `had_` says that there ever was one of
 * that role, `died`, where one of them is 0 again, that the last end of that role went by its
 * process's death.
 */
enum id_kind {
	ID_NONE = 0,
	ID_PROCESS = 1,
	ID_CHANNEL = 2,
};

/* What an end of a channel is for. */
enum channel_role {
	CHANNEL_SENDS = 1 << 0,
	CHANNEL_RECEIVES = 1 << 1,
};

struct id_info {
	enum id_kind kind;
	bool dead;
	uint32_t pid;                /* of a process */
	uint32_t senders, receivers; /* of a channel, and: */
	bool had_senders, had_receivers, died;
};

static inline uint64_t id_word_pack(struct id_info info)
{
	return (uint64_t)info.kind | (uint64_t)info.dead << 2 | (uint64_t)info.senders << 3 |
	       (uint64_t)info.receivers << 13 | (uint64_t)info.had_senders << 23 |
	       (uint64_t)info.had_receivers << 24 | (uint64_t)info.died << 25 |
	       (uint64_t)info.pid << 32;
}

static inline struct id_info id_word_unpack(uint64_t word)
{
	return (struct id_info){
		.kind = (enum id_kind)(word & 3),
		.dead = word >> 2 & 1,
		.senders = (uint32_t)(word >> 3) & ID_MASK,
		.receivers = (uint32_t)(word >> 13) & ID_MASK,
		.had_senders = word >> 23 & 1,
		.had_receivers = word >> 24 & 1,
		.died = word >> 25 & 1,
		.pid = (uint32_t)(word >> 32),
	};
}

/*
 * Root file - one for each space, read-only to clients: which windows the space has, and whose
 * its ids are.
 *
 *   field        written                      read
 *   magic..space, hash_seed
 *                at creation                  once, after mapping
 *   epoch        when a daemon takes over     before a call that needs the daemon
 *   windows[n]   when window n comes or goes  before window n is fetched
 *   ids[n]       when id n is given, or dies;  by who waits for somebody, or finds a lock of
 *                a channel's ends change       his
 *   deaths       after words of `ids`, and     by who is about to wait: first this, then `ids`,
 *                after each sweep              then FUTEX_WAIT for the value that was read
 *
 * The daemon adds 1 to `deaths` (release) after each such change and wakes all who wait on it: so
 * nobody sleeps past a death. It is a shared futex, on a file that the waiter maps read-only.
 *
 * The daemon dying between two stores leaves words that are each true; one that takes over adds
 * to `deaths` and wakes, in case the last one did not.
 */
#define ROOT_MAGIC 0x31544f4f52425256ULL /* "VRBROOT1" */

struct root_file {
	uint64_t magic;
	uint32_t layout;
	uint32_t space; /* handle */
	_Atomic uint64_t epoch;
	uint64_t
		hash_seed; /* random, the space's for good: of the hashes of its caches' keys */
	uint64_t reserved[508];
	_Atomic uint64_t windows[WINDOWS_MAX]; /* window words */
	_Atomic uint64_t ids[IDS_MAX];         /* id words */
	_Atomic uint32_t deaths;
	uint32_t reserved_deaths[1023];
};

static_assert(offsetof(struct root_file, windows) == 4096, "the window table is page two");
static_assert(offsetof(struct root_file, ids) == 4096 + 8 * WINDOWS_MAX, "then the ids");
static_assert(offsetof(struct root_file, deaths) == 4096 + 8 * WINDOWS_MAX + 8 * IDS_MAX,
	      "then the futex, in a page of its own");
static_assert(sizeof(struct root_file) == 6 * 4096, "six pages");

/*
 * Slice map - one for each window, read-only to clients: a word for each slice.
 *
 *   tag:20  kind:3  head:1  count:20  session:20                       written by the daemon
 *
 * kind and tag stand in every slice of an extent, so that a reference into it can be checked;
 * head and count (slices) in its first. Free slices are 0. `session` is 0 for what is no
 * session's: shared, a channel's, of blocks whose session has ended, or of a cache and sealed.
 * A sealed segment's slices may go one by one, its head among them.
 * Order: an extent's words are stored (interior first, head last) before its offset is given
 * out, and cleared (head first) before its slices may be given out again.
 */
enum extent_kind {
	EXTENT_NONE = 0,
	EXTENT_PRIVATE = 1, /* dies with its session */
	EXTENT_SHARED = 2,  /* outlives it: a block of its own */
	EXTENT_BLOCKS = 3,  /* cut into shared blocks by its session, adopted when that ends */
	EXTENT_CHANNEL = 4, /* the memory of a channel (proto/ring.h) */
	EXTENT_SEGMENT = 5, /* of a cache: objects, one after the other, within one chunk */
	EXTENT_OBJECT = 6,  /* of a cache: a large object of its own */
};

struct slice_info {
	enum extent_kind kind;
	uint32_t tag;
	bool head;
	uint32_t count;
	uint32_t session;
};

static inline uint64_t slice_word_pack(struct slice_info info)
{
	return (uint64_t)info.tag | (uint64_t)info.kind << 20 | (uint64_t)info.head << 23 |
	       (uint64_t)info.count << 24 | (uint64_t)info.session << 44;
}

static inline struct slice_info slice_word_unpack(uint64_t word)
{
	return (struct slice_info){
		.kind = (enum extent_kind)(word >> 20 & 7),
		.tag = (uint32_t)word & TAG_MASK,
		.head = word >> 23 & 1,
		.count = (uint32_t)(word >> 24) & 0xfffff,
		.session = (uint32_t)(word >> 44),
	};
}

/*
 * Words file - one for each window, writable for the writers of its space: who holds its shared
 * blocks. Holes throughout at first: bounded by a sixteenth of its window (and 8 bytes a slice),
 * committed by who uses it, page by page.
 *
 *   what            where                          written
 *   words           1024 of 4 bytes for each       by compare-and-swap alone, as
 *                   slice: word i of the run that  proto/block_word.h says: by whom the word
 *                   begins in slice s is s*1024+i  itself allows to; by the daemon's sweeps
 *   notes           behind all words, one for      info: by the slice's owner, before any word
 *                   each slice                     of it is HELD. freed: set to 1 by who frees
 *                                                  a block that is not its own slice's, and by
 *                                                  sweeps; exchanged for 0 by the owner
 *
 * Words are never reset: what comes to a slice later goes on with the generation that it finds.
 * The only block of a shared extent has word 0 of its first slice, and the extent's tag for a
 * generation, whatever stood there: so one that was freed in this life, and may go, is told from
 * one that nobody has taken yet. A session that has an id writes it before it tells anyone of the
 * extent, which goes if the session ends before that. Others may care for no word at all: then
 * it is any writer's to free, by its tag.
 *
 * `freed` is a hint: a death may lose it, so an owner that is about to lease more looks at the
 * words. What is in this file is worth what the space's writers make of it: the daemon, and
 * readers that care, load a word once and check it.
 */
struct slice_note {
	_Atomic uint32_t
		info; /* size class + 1:8  slices back to the run's first:8; 0: not cut */
	_Atomic uint32_t freed;
};

static_assert(sizeof(struct slice_note) == 8, "two words");
static_assert(ATOMIC_INT_LOCK_FREE == 2, "a lock would not cross processes");
#define SLICE_WORDS_BYTES ((uint64_t)SLICE_WORDS * 4)

struct slice_cut {
	uint32_t class_plus_1; /* 0: not cut yet */
	uint32_t back;         /* so many slices before this one its run begins */
};

static inline uint32_t slice_cut_pack(struct slice_cut cut)
{
	return cut.class_plus_1 | cut.back << 8;
}

static inline struct slice_cut slice_cut_unpack(uint32_t info)
{
	return (struct slice_cut){.class_plus_1 = info & 255, .back = info >> 8 & 255};
}

/* Where the notes begin. */
static inline uint64_t words_notes(uint32_t n_slices)
{
	return n_slices * SLICE_WORDS_BYTES;
}

static inline uint64_t words_file_size(uint32_t n_slices)
{
	return words_notes(n_slices) +
	       (n_slices * (uint64_t)sizeof(struct slice_note) + 4095) / 4096 * 4096;
}

/* Which word of the file is that of block `block` of the run that begins in slice `first`. */
static inline uint64_t words_index(uint32_t first, uint32_t block)
{
	return (uint64_t)first * SLICE_WORDS + block;
}

static inline _Atomic uint32_t *words_at(void *file, uint64_t index)
{
	return (_Atomic uint32_t *)file + index;
}

static inline struct slice_note *words_note(void *file, uint32_t n_slices, uint32_t slice)
{
	return (struct slice_note *)((char *)file + words_notes(n_slices)) + slice;
}

/*
 * Return ring - private extents that a session gives back without sending anything. One for each
 * session that asked (returns.open); written by the client, read by the daemon.
 *
 *   field  written                                read
 *   space  } by the client, before `turn`         after `turn`
 *   ref    }
 *   turn   last: n for the n-th record, n = 1,    until it is the one that comes next
 *          2, ..., at index (n - 1) % RETURNS_MAX
 *
 * Nobody is woken: the daemon looks before each message of the session, before it refuses
 * memory to anyone, and at least every second, and takes records in order. So when an answer
 * comes, the records from before its request have been taken: that is how the client knows
 * which of them it may overwrite. Where there is no room it sends extent.free.
 *
 * The daemon believes none of it: a record is an extent.free like any other (but of what is this
 * session's, or shared: nobody's blocks are refused), and one whose turn is wrong is not there. A client that dies inside a record has not written its turn.
 */
enum { RETURNS_MAX = 128 };

struct return_record {
	_Atomic uint64_t turn;
	uint64_t space; /* handle */
	uint64_t ref;
	uint64_t reserved;
};

/*
 * Report - what of a session's memory its blocks are in, which only the session knows. Behind the
 * records of its return ring; written by the client, read by the daemon.
 *
 *   field   written                                 read
 *   turn    last, after any change of what follows  at each beat: has anything changed?
 *   used    as many rows have been in use           when it has: rows[0..used)
 *   key     when a class of a space is first used;  each word once, in any order
 *           0 once the space is closed: the row
 *           may then become another's
 *   slices  } whenever the class has changed by
 *   live    } more than a little (client/heap.h)
 *
 * One thread of the client writes at a time. Each word is what it was at some moment; together
 * they may be of moments that differ a little. What a client says of its memory, it says of
 * itself alone: the daemon takes no figure beyond what it knows the session to lease, and a client
 * that dies or is stopped anywhere leaves words that were true.
 */
enum { REPORT_ROWS = 340 };

struct report_row {
	_Atomic uint64_t key;    /* report_key_pack(); 0: in no use */
	_Atomic uint64_t slices; /* cut into blocks of the class; of spare ones: not cut yet */
	_Atomic uint64_t live;   /* blocks that are in use, or at a thread's hand */
};

struct report {
	_Atomic uint64_t turn;
	_Atomic uint64_t used;
	uint64_t reserved[2];
	struct report_row rows[REPORT_ROWS];
};

static_assert(sizeof(struct report) == 8192, "two pages");

/* space:32  0:15  shared:1  class_plus_1:16 */
struct report_key {
	uint32_t space; /* handle */
	bool shared;
	uint32_t class_plus_1; /* 0: spare slices */
};

static inline uint64_t report_key_pack(struct report_key key)
{
	return (uint64_t)key.space << 32 | (uint64_t)key.shared << 16 | key.class_plus_1;
}

static inline struct report_key report_key_unpack(uint64_t word)
{
	return (struct report_key){
		.space = (uint32_t)(word >> 32),
		.shared = word >> 16 & 1,
		.class_plus_1 = (uint32_t)word & 0xffff,
	};
}

struct return_ring {
	struct return_record records[RETURNS_MAX];
	struct report report;
};

static_assert(offsetof(struct return_ring, report) == 4096, "a page of records");
static_assert(sizeof(struct return_ring) == 3 * 4096, "three pages");

/*
 * Statistics file - beside the socket (PATH.stats), readable by the group: what `varbosctl
 * stats` shows, also while the daemon is stopped.
 *
 *   field      written                              read
 *   header     once, before rename puts the file    once
 *              in place
 *   beat_ns    at least every second                any time: CLOCK_MONOTONIC of the last beat
 *   turn       after a copy is complete             before and after a copy is read
 *   copies     the one that `turn & 1` does not     the one that it does
 *              pick
 *
 * Writer: fill copy (turn + 1) & 1 by release stores of its words, release-store turn + 1.
 * Reader: acquire-load turn, acquire-load the words of that copy, load turn again; if it moved,
 * take it again. A writer that stopped or died anywhere leaves `turn` on a complete copy.
 * proto/stats_file.h is both sides.
 */
#define STATS_MAGIC 0x3154415453425256ULL /* "VRBSTAT1" */

enum {
	STATS_SPACES_MAX = 256, /* rows; totals go on beyond */
	STATS_CLIENTS_MAX = 1024,
	STATS_NODES_MAX = 64,
	STATS_SHARES_MAX = 1024,
	STATS_CACHES_MAX = 256,
	STATS_PINS_MAX = 128,
	STATS_HOT_MAX = 256,
	STATS_HOT_EACH = 8, /* of a cache */
};

/* Why requests for memory failed. */
struct stats_failures {
	uint64_t memory, too_large, budget_region, budget_space, budget_client;
};

struct stats_space {
	char name[SPACE_NAME_MAX + 1];
	uint32_t space, uid, gid, mode;
	uint32_t sessions, windows, removed, ids; /* of holders and channels */
	char placement[16];
	uint64_t limit, reserve, used, peak, committed, largest;
	uint64_t extents, allocs, frees, refused;
	struct stats_failures failures;
	uint64_t surplus; /* bytes taken back that stood where nothing was committed */
	uint64_t swept;   /* shared blocks freed that their holders had left when they ended */
	uint64_t cached;  /* of what is used, not in use by any block, as its clients say */
	uint64_t nodes;   /* that it named, bit by bit, with its policy */
	uint32_t numa;    /* enum numa_kind of base/numa.h */
	uint32_t page_shift;
};

struct stats_node {
	uint64_t node, capacity, committed, used;
};

/* What a space has on a node; no row of a space that has nothing. */
struct stats_share {
	uint32_t space, node;
	uint64_t committed, used;
};

struct stats_client {
	uint32_t session, pid, uid, spaces;
	uint64_t used, peak, allocs, frees, failed;
	uint32_t absent, reserved;
	char name[32];
	uint64_t cached; /* as in struct stats_space */
	uint64_t pinned; /* bytes that its views keep, as of the last scans */
};

struct stats_cache {
	char name[CACHE_NAME_MAX + 1];
	uint32_t cache, space, sessions, removed;
	char policy[16];
	uint64_t capacity, ttl_ms, memory, segments,
		objects; /* that have memory of their own */
	uint64_t values, live, dead, limbo, pinned, metadata;
	uint64_t hits, misses, published;
	uint64_t evicted, expired, deleted, replaced, cleared, dropped, spoiled, crowded;
	uint64_t moved; /* bytes, by the cleaner */
};

/* Whose views kept how much of a cache's memory from coming back, as of the last scan. */
struct stats_pin {
	uint32_t cache, session, pid, uid; /* pid 0: it has ended */
	uint64_t bytes, since_ms;          /* as now_ms: when a scan found the first of them */
	char name[32];
};

/* Accesses that were noted; no key, for who may read the file need not be a member of the space. */
struct stats_hot {
	uint32_t cache, reserved;
	uint64_t hash, count, over; /* over: by so much it may be too high */
};

struct stats_copy {
	uint64_t now_ms;
	uint64_t region, committed, used, peak;
	uint64_t spaces_total, sessions_total; /* may exceed the rows below */
	uint64_t allocs, frees, refused, requests;
	struct stats_failures failures;
	uint64_t caches_total;
	uint32_t n_nodes, n_spaces, n_clients, n_shares, n_caches, n_pins, n_hot, reserved;
	struct stats_node nodes[STATS_NODES_MAX];
	struct stats_space spaces[STATS_SPACES_MAX];
	struct stats_client clients[STATS_CLIENTS_MAX];
	struct stats_share shares[STATS_SHARES_MAX];
	struct stats_cache caches[STATS_CACHES_MAX];
	struct stats_pin pins[STATS_PINS_MAX];
	struct stats_hot hot[STATS_HOT_MAX];
};

struct stats_file {
	uint64_t magic;
	uint32_t layout, size;
	uint32_t pid, page_shift;
	uint64_t epoch, start_ms;
	char version[32];
	char socket[108];
	uint32_t isolates;
	_Atomic uint64_t beat_ns;
	_Atomic uint64_t turn;
	struct stats_copy copies[2];
	/* Where `size` has them: */
	char quarantine[256]; /* "", or why nobody is served; set at creation */
	_Atomic uint64_t
		losses; /* spaces, or more, that were not found as an earlier daemon left
				    them */
};
