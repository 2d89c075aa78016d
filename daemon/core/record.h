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
 * R5  The head's serial is one that no session and no cache has: it is stored before the record that
 *     takes the one it was. What is kept for either is named by slot and serial, so that nothing
 *     is taken for its successor's.
 *
 * The table is one block of memory that the caller owns: anonymous in tests, a memfd where it
 * has to outlive the daemon. Only record.c stores into it.
 *
 *   slot     validity word   changed by one store                    freed by
 *   space    state           limit, reserve, client_limit, mode,     state = 0
 *                            owner, ceiling, tag_next,
 *                            state (removed, weight)
 *   window   word            word (born, granted, retired)           word = 0
 *   pages    bits            bits (one for each unit, 1: committed)  bits = 0
 *   session  word            -                                       word = 0
 *   member   word            word (has an id, no more; barred, not)  word = 0
 *   extent   run             owner (adopted), run (slices returned)  run = 0
 *   channel  word            word (had_, died)                       word = 0
 *   end      word            word (roles)                            word = 0
 *   cache    word            word (policy, removed), capacity, ttl,  word = 0
 *                            token_next, cleared, index
 *   user     word            -                                       word = 0
 *   right    word            -                                       word = 0
 *   lanes    word            taken, of each                          word = 0
 *   returns  word            taken                                   word = 0
 *   intent   word            -                                       word = 0
 *   result   id              what (kept)                             id = 0
 *
 * Which record is stored first, where a change takes several (so that each prefix of its stores
 * is a state that core_recover() takes):
 *
 *   a space is created    its windows (born), their pages, the space    else: windows of no space
 *   a window is added     window, pages, extent                         else: empty pages
 *   memory is taken       tag_next, extent                              else: a tag is skipped
 *   a space changes       ceiling; pages; windows (retired), members   else: part of it has
 *                         (barred); limit if it rises; client_limit,
 *                         reserve, mode, owner, weight; limit if it
 *                         falls
 *   a session is opened   the serial, the session                       else: a serial is skipped
 *   a session ends        each member's ends, its id, its extents, its  else: it ends again
 *                         caches' users, the member; the intent, if it
 *                         is its, its lanes, returns, results; the
 *                         session
 *   a record of a lane    the intent, if it makes nothing by which it   else: it is done again, or
 *   is done               is known again; all that it does; taken       found to be done (position.h)
 *   a ring's is done      what it does; taken                           else: it is refused
 *   a channel is made     extent, channel, end                          else: an extent of no
 *                                                                       channel, or a dead one
 *   an end is opened      the end, the channel (had_)                   else: had_ follows from it
 *   an end is closed      the channel (died), the end                   else: it is closed again
 *   a channel is reaped   the channel, its extent                       else: an extent of none
 *   a cache is opened     the serial, if it is made; the user; the      else: a user of no cache
 *                         cache, if it is made
 *   a cache is closed     its user's extents (adopted), its rights,     else: it is closed again
 *                         the user
 *   a right is taken      token_next, the right                         else: a token is skipped
 *   a cache changes       policy, capacity, ttl                         else: part of it has
 *   a cache goes          removed, its users, extents, the cache        else: it goes on going
 *   a space goes          removed, channels, extents, users, caches,    else: it goes on going
 *                         members, pages, windows from the last to the
 *                         first, the space
 *   what a request asks   what stood in its result's slot, cleared; the else: a promise, of which
 *   for comes or goes     result, a promise; the one store of the       the word tells whether it
 *                         above that makes it so; the promise kept      was kept (result.h)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/lane.h"
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
	uint64_t nodes;       /* of its NUMA policy (`numa` of the state), base/numa.h */
	uint64_t ceiling;     /* the highest limit it ever had: no use, no window goes beyond */
	uint64_t hash_seed;   /* of its caches' keys */
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
 *   word: pid:32  serial:31  1:1
 */
struct session_record {
	uint64_t word;
	uint64_t birth; /* tells a pid's next life from this one: the pidfd's inode */
	uint64_t owner; /* uid:32 gid:32 */
	uint64_t image; /* tells an exec from its former self */
};

/*
 *   word: space slot:16  session slot:24  read_only:1  id:10  barred:1  via:2  0:9  1:1
 */
struct member_record {
	uint64_t word;
};

/*
 *   owner: session slot + 1:24 (0: none)  tag:20  kind:3  worded:1  cache slot:16 (0: none)
 *   run:   window slot:24  first slice:20  count:20        (a count is never 0)
 *          of a segment: window slot:19  chunk:13  slices of the chunk:32        (never 0)
 *
 * So that any slices of a segment go by one store, which needs no other record: giving back
 * cannot fail.
 */
struct extent_record {
	uint64_t owner;
	uint64_t run;
};

/*
 *   word: space slot:16  id:10  extent slot:29  had_senders:1  had_receivers:1  died:1
 *         capacity shift:4  0:1  1:1
 */
struct channel_record {
	uint64_t word;
	char name[CHANNEL_NAME_MAX + 1];
};

/*
 *   word: channel slot:24  session slot:24  roles:2  0:13  1:1
 */
struct end_record {
	uint64_t word;
};

/*
 *   word: space slot:16  policy:8  removed:1  serial:31  0:7  1:1
 */
struct cache_record {
	uint64_t word;
	uint64_t capacity; /* bytes of objects */
	uint64_t ttl_ms;   /* of objects that come without one; 0: for ever */
	uint64_t
		token_next; /* stored before the right that takes a token, so none comes back */
	uint64_t cleared;   /* rights with lower tokens are of before a clear */
	uint64_t index;     /* generation of the one that is in use; 0: it has no files yet */
	char name[CACHE_NAME_MAX + 1];
};

/*
 * A session has a cache open.
 *
 *   word: cache slot:16  session slot:24  0:23  1:1
 */
struct user_record {
	uint64_t word;
};

/*
 * A user alone may compute the value of a key.
 *
 *   word: cache slot:16  session slot:24  0:23  1:1        (as of the user)
 */
struct right_record {
	uint64_t word;
	uint64_t hash;
	uint64_t token;
	uint64_t until; /* ms of the machine's time: from then on others may have it */
};

/*
 * The lanes of the session at the same slot, and how far their records are done.
 *
 *   word: lanes:7  pins:6  barrier:1  0:49  1:1
 */
struct lanes_record {
	uint64_t word;
	uint64_t taken[LANES_A_SESSION];
};

/*
 * The same of its return ring.
 *
 *   word: 0:63  1:1
 */
struct returns_record {
	uint64_t word;
	uint64_t taken;
};

/*
 * What the loop is about to do for the record at this position of a lane (there is one slot, for it
 * does one thing at a time). Once `taken` is beyond the position it says nothing more.
 *
 *   word: session slot:24  lane:7  kind:3  cache slot:16  0:13  1:1
 */
struct intent_record {
	uint64_t word;
	uint64_t position;
	uint64_t hash;
	uint64_t what; /* a reference: offset:44 tag:20 */
};

enum { RESULTS_A_SESSION = 16 }; /* as many requests as it may have unanswered */

/*
 * What became of a request: the word of a record that is stored with `value` by what it asks for,
 * and what its answer says. Its slot is its session's, times RESULTS_A_SESSION, and its id's, modulo
 * that.
 *
 *   what: slot:32  kind:8  word:8  verb:8  kept:1  0:7
 */
enum { RESULT_OBJECT = 0xff }; /* no record: an object of the cache, which the shell knows */

struct result_record {
	uint64_t id; /* of the request */
	uint64_t what;
	uint64_t value;
	uint64_t answer[2];
};

enum record_kind {
	RECORD_SPACE,
	RECORD_WINDOW,
	RECORD_PAGES,
	RECORD_SESSION,
	RECORD_MEMBER,
	RECORD_EXTENT,
	RECORD_CHANNEL,
	RECORD_END,
	RECORD_CACHE,
	RECORD_USER,
	RECORD_RIGHT,
	RECORD_LANES,
	RECORD_RETURNS,
	RECORD_INTENT,
	RECORD_RESULT,
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

/* The table that an earlier process left in `memory`; NULL if its head is not one of `size` bytes. */
struct records *records_open(void *memory, uint64_t size);

const struct record_capacity *records_capacity(const struct records *records);
/* The next one: 1 to SERIAL_MASK. */
uint32_t records_serial(const struct records *records);

/*
 * Where in the table the slots of a kind lie, [*ret_from, *ret_to); and how many of them end before
 * byte `end`: if nothing was ever stored behind it, no other is valid (R3).
 */
void records_span(const struct records *records, enum record_kind kind, uint64_t *ret_from,
		  uint64_t *ret_to);
uint32_t records_slots_before(const struct records *records, enum record_kind kind,
			      uint64_t end);

/* The slot, valid or not; NULL beyond the capacity. */
const void *records_at(const struct records *records, enum record_kind kind, uint32_t slot);
bool records_valid(const struct records *records, enum record_kind kind, uint32_t slot);
/* How many words a slot of this kind has, and one of them; by bytes from its start, over 8. */
uint32_t record_words(enum record_kind kind);
uint64_t record_word(const struct records *records, enum record_kind kind, uint32_t slot,
		     uint32_t word);
/* By its name, which is in the struct. */
#define RECORD_WORD(type, field) ((uint32_t)(offsetof(struct type, field) / 8))

/*
 * The words, taken apart. Packing what a word was unpacked into gives that word, unless it holds
 * bits that no record has: so recovery tells garbage.
 */
struct space_word {
	bool removed;
	uint32_t placement, numa, page_shift, weight;
};

static inline uint64_t space_word_pack(struct space_word space)
{
	return (uint64_t)1 | (uint64_t)space.removed << 1 | (uint64_t)space.placement << 2 |
	       (uint64_t)space.numa << 8 | (uint64_t)space.page_shift << 12 |
	       (uint64_t)space.weight << 18;
}

static inline struct space_word space_word_unpack(uint64_t word)
{
	return (struct space_word){
		.removed = word >> 1 & 1,
		.placement = (uint32_t)(word >> 2) & 63,
		.numa = (uint32_t)(word >> 8) & 15,
		.page_shift = (uint32_t)(word >> 12) & 63,
		.weight = (uint32_t)(word >> 18) & 0x3fff,
	};
}

struct window_place {
	struct window_info info;
	uint32_t number, space;
};

#define RECORD_VALID ((uint64_t)1 << 63)
#define SERIAL_MASK (((uint32_t)1 << 31) - 1)
#define WINDOW_WORD_MASK (((uint64_t)1 << 37) - 1)

static inline uint64_t window_place_pack(struct window_place place)
{
	return window_word_pack(place.info) | (uint64_t)place.number << 37 |
	       (uint64_t)place.space << 47 | RECORD_VALID;
}

static inline struct window_place window_place_unpack(uint64_t word)
{
	return (struct window_place){
		.info = window_word_unpack(word & WINDOW_WORD_MASK),
		.number = (uint32_t)(word >> 37) & (WINDOWS_MAX - 1),
		.space = (uint32_t)(word >> 47) & 0xffff,
	};
}

struct session_word {
	uint32_t pid, serial;
};

static inline uint64_t session_word_pack(struct session_word session)
{
	return (uint64_t)session.pid | (uint64_t)session.serial << 32 | RECORD_VALID;
}

static inline struct session_word session_word_unpack(uint64_t word)
{
	return (struct session_word){
		.pid = (uint32_t)word,
		.serial = (uint32_t)(word >> 32) & SERIAL_MASK,
	};
}

static inline uint64_t pages_where_pack(uint32_t window, uint32_t group)
{
	return (uint64_t)window | (uint64_t)group << 32;
}

/* By what right a member was let in: the first class of the space's mode that fitted. */
enum member_via { VIA_OVERRIDE, VIA_OWNER, VIA_GROUP, VIA_OTHER };

struct member_word {
	uint32_t space, session;
	bool read_only;
	uint32_t id; /* 0: none */
	bool barred; /* has lost the right by which it was opened */
	enum member_via via;
};

static inline uint64_t member_word_pack(struct member_word member)
{
	return (uint64_t)member.space | (uint64_t)member.session << 16 |
	       (uint64_t)member.read_only << 40 | (uint64_t)member.id << 41 |
	       (uint64_t)member.barred << 51 | (uint64_t)member.via << 52 | RECORD_VALID;
}

static inline struct member_word member_word_unpack(uint64_t word)
{
	return (struct member_word){
		.space = (uint32_t)word & 0xffff,
		.session = (uint32_t)(word >> 16) & 0xffffff,
		.read_only = word >> 40 & 1,
		.id = (uint32_t)(word >> 41) & ID_MASK,
		.barred = word >> 51 & 1,
		.via = (enum member_via)(word >> 52 & 3),
	};
}

struct extent_owner {
	uint32_t holder; /* session slot + 1; 0: none */
	uint32_t tag;
	enum extent_kind kind;
	bool worded;    /* a shared one: its holder takes its word before anyone hears of it */
	uint32_t cache; /* slot; 0: none */
};

static inline uint64_t extent_owner_pack(struct extent_owner owner)
{
	return (uint64_t)owner.holder | (uint64_t)owner.tag << 24 | (uint64_t)owner.kind << 44 |
	       (uint64_t)owner.worded << 47 | (uint64_t)owner.cache << 48;
}

static inline struct extent_owner extent_owner_unpack(uint64_t word)
{
	return (struct extent_owner){
		.holder = (uint32_t)word & 0xffffff,
		.tag = (uint32_t)(word >> 24) & TAG_MASK,
		.kind = (enum extent_kind)(word >> 44 & 7),
		.worded = word >> 47 & 1,
		.cache = (uint32_t)(word >> 48),
	};
}

struct extent_run {
	uint32_t window, first, count;
	uint32_t
		slices; /* of a segment: which of its chunk it has, `first` to the last; else 0 */
};

static inline uint64_t extent_run_pack(struct extent_run run)
{
	if (run.slices)
		return (uint64_t)run.window | (uint64_t)(run.first / CHUNK_SLICES) << 19 |
		       (uint64_t)run.slices << 32;
	return (uint64_t)run.window | (uint64_t)run.first << 24 | (uint64_t)run.count << 44;
}

static inline struct extent_run run_of_slices(uint32_t window, uint32_t chunk, uint32_t slices)
{
	uint32_t first = (uint32_t)__builtin_ctz(slices);

	return (struct extent_run){
		.window = window,
		.first = chunk * CHUNK_SLICES + first,
		.count = CHUNK_SLICES - (uint32_t)__builtin_clz(slices) - first,
		.slices = slices,
	};
}

/* Of an extent of that kind. A segment's word that has no slices is none. */
static inline struct extent_run extent_run_unpack(uint64_t word, enum extent_kind kind)
{
	if (kind == EXTENT_SEGMENT)
		return word >> 32 ? run_of_slices((uint32_t)word & 0x7ffff,
						  (uint32_t)(word >> 19) & 0x1fff,
						  (uint32_t)(word >> 32))
				  : (struct extent_run){0};
	return (struct extent_run){
		.window = (uint32_t)word & 0xffffff,
		.first = (uint32_t)(word >> 24) & 0xfffff,
		.count = (uint32_t)(word >> 44),
	};
}

struct channel_word {
	uint32_t space, id, extent;
	bool had_senders, had_receivers, died;
	uint32_t capacity_shift;
};

static inline uint64_t channel_word_pack(struct channel_word channel)
{
	return (uint64_t)channel.space | (uint64_t)channel.id << 16 |
	       (uint64_t)channel.extent << 26 | (uint64_t)channel.had_senders << 55 |
	       (uint64_t)channel.had_receivers << 56 | (uint64_t)channel.died << 57 |
	       (uint64_t)channel.capacity_shift << 58 | RECORD_VALID;
}

static inline struct channel_word channel_word_unpack(uint64_t word)
{
	return (struct channel_word){
		.space = (uint32_t)word & 0xffff,
		.id = (uint32_t)(word >> 16) & ID_MASK,
		.extent = (uint32_t)(word >> 26) & 0x1fffffff,
		.had_senders = word >> 55 & 1,
		.had_receivers = word >> 56 & 1,
		.died = word >> 57 & 1,
		.capacity_shift = (uint32_t)(word >> 58) & 15,
	};
}

struct end_word {
	uint32_t channel, session;
	uint32_t roles; /* enum channel_role */
};

static inline uint64_t end_word_pack(struct end_word end)
{
	return (uint64_t)end.channel | (uint64_t)end.session << 24 | (uint64_t)end.roles << 48 |
	       RECORD_VALID;
}

static inline struct end_word end_word_unpack(uint64_t word)
{
	return (struct end_word){
		.channel = (uint32_t)word & 0xffffff,
		.session = (uint32_t)(word >> 24) & 0xffffff,
		.roles = (uint32_t)(word >> 48) & 3,
	};
}

struct cache_word {
	uint32_t space, policy; /* enum policy_id */
	bool removed;
	uint32_t serial;
};

static inline uint64_t cache_word_pack(struct cache_word cache)
{
	return (uint64_t)cache.space | (uint64_t)cache.policy << 16 |
	       (uint64_t)cache.removed << 24 | (uint64_t)cache.serial << 25 | RECORD_VALID;
}

static inline struct cache_word cache_word_unpack(uint64_t word)
{
	return (struct cache_word){
		.space = (uint32_t)word & 0xffff,
		.policy = (uint32_t)(word >> 16) & 0xff,
		.removed = word >> 24 & 1,
		.serial = (uint32_t)(word >> 25) & SERIAL_MASK,
	};
}

struct user_word {
	uint32_t cache, session;
};

static inline uint64_t user_word_pack(struct user_word user)
{
	return (uint64_t)user.cache | (uint64_t)user.session << 16 | RECORD_VALID;
}

static inline struct user_word user_word_unpack(uint64_t word)
{
	return (struct user_word){
		.cache = (uint32_t)word & 0xffff,
		.session = (uint32_t)(word >> 16) & 0xffffff,
	};
}

struct lanes_word {
	uint32_t lanes; /* 1 to LANES_A_SESSION */
	uint32_t pins;
	bool barrier; /* they are read without fences */
};

static inline uint64_t lanes_word_pack(struct lanes_word lanes)
{
	return (uint64_t)lanes.lanes | (uint64_t)lanes.pins << 7 |
	       (uint64_t)lanes.barrier << 13 | RECORD_VALID;
}

static inline struct lanes_word lanes_word_unpack(uint64_t word)
{
	return (struct lanes_word){
		.lanes = (uint32_t)word & 0x7f,
		.pins = (uint32_t)(word >> 7) & 0x3f,
		.barrier = word >> 13 & 1,
	};
}

struct intent_word {
	uint32_t session, lane;
	uint32_t kind; /* enum lane_kind */
	uint32_t cache;
};

static inline uint64_t intent_word_pack(struct intent_word intent)
{
	return (uint64_t)intent.session | (uint64_t)intent.lane << 24 |
	       (uint64_t)intent.kind << 31 | (uint64_t)intent.cache << 34 | RECORD_VALID;
}

static inline struct intent_word intent_word_unpack(uint64_t word)
{
	return (struct intent_word){
		.session = (uint32_t)word & 0xffffff,
		.lane = (uint32_t)(word >> 24) & 0x7f,
		.kind = (uint32_t)(word >> 31) & 7,
		.cache = (uint32_t)(word >> 34) & 0xffff,
	};
}

struct result_word {
	uint32_t slot; /* of the record that is stored, */
	uint32_t kind; /* which it is, enum record_kind or RESULT_OBJECT, */
	uint32_t word; /* and which of its words; of an object, 1: it goes */
	uint32_t verb; /* what was asked, as the shell counts */
	bool kept;     /* else: a promise */
};

static inline uint64_t result_word_pack(struct result_word result)
{
	return (uint64_t)result.slot | (uint64_t)result.kind << 32 |
	       (uint64_t)result.word << 40 | (uint64_t)result.verb << 48 |
	       (uint64_t)result.kept << 56;
}

static inline struct result_word result_word_unpack(uint64_t word)
{
	return (struct result_word){
		.slot = (uint32_t)word,
		.kind = (uint32_t)(word >> 32) & 0xff,
		.word = (uint32_t)(word >> 40) & 0xff,
		.verb = (uint32_t)(word >> 48) & 0xff,
		.kept = word >> 56 & 1,
	};
}

/* ---- stores ---- */

/* One store: the slot is free. */
void record_clear(struct records *records, enum record_kind kind, uint32_t slot);

/* All words, the validity word last. */
void record_space_put(struct records *records, uint32_t slot, const struct space_record *space);
void record_session_put(struct records *records, uint32_t slot,
			const struct session_record *session);
void record_extent_put(struct records *records, uint32_t slot, struct extent_owner owner,
		       struct extent_run run);
void record_channel_put(struct records *records, uint32_t slot,
			const struct channel_record *channel);
void record_pages_put(struct records *records, uint32_t slot, uint32_t window, uint32_t group,
		      uint64_t bits);
void record_cache_put(struct records *records, uint32_t slot, const struct cache_record *cache);
void record_right_put(struct records *records, uint32_t slot, const struct right_record *right);
/* Nothing is taken yet. */
void record_lanes_put(struct records *records, uint32_t slot, struct lanes_word lanes);
void record_returns_put(struct records *records, uint32_t slot);
/* Of the former one, if there is one, nothing stands beside it. */
void record_intent_put(struct records *records, const struct intent_record *intent);

/* Where `taken` of the slot's first lane is: for record_lane_taken(), which is called often. */
uint64_t record_lanes_place(const struct records *records, uint32_t slot);
/* Of a slot that is free. */
void record_result_put(struct records *records, uint32_t slot,
		       const struct result_record *result);

/* One store each. */
void record_serial(struct records *records, uint32_t next);
void record_space_state(struct records *records, uint32_t slot, struct space_word state);
void record_space_tag(struct records *records, uint32_t slot, uint32_t tag_next);
void record_space_window(struct records *records, uint32_t slot, uint32_t window_next);
/* Raise the ceiling. */
void record_space_ceiling(struct records *records, uint32_t slot, uint64_t ceiling);
void record_window_put(struct records *records, uint32_t slot, struct window_place place);
void record_pages_bits(struct records *records, uint32_t slot, uint64_t bits); /* 0: freed */
void record_member_put(struct records *records, uint32_t slot, struct member_word member);
void record_extent_owner(struct records *records, uint32_t slot, struct extent_owner owner);
void record_extent_run(struct records *records, uint32_t slot, struct extent_run run);
void record_channel_word(struct records *records, uint32_t slot, struct channel_word word);
void record_end_put(struct records *records, uint32_t slot, struct end_word end);
void record_cache_word(struct records *records, uint32_t slot, struct cache_word word);
void record_cache_capacity(struct records *records, uint32_t slot, uint64_t capacity);
void record_cache_ttl(struct records *records, uint32_t slot, uint64_t ttl_ms);
void record_cache_token(struct records *records, uint32_t slot, uint64_t token_next);
void record_cache_cleared(struct records *records, uint32_t slot, uint64_t cleared);
void record_cache_index(struct records *records, uint32_t slot, uint64_t generation);
void record_user_put(struct records *records, uint32_t slot, struct user_word user);
void record_lane_taken(struct records *records, uint64_t place, uint32_t lane, uint64_t taken);
void record_returns_taken(struct records *records, uint32_t slot, uint64_t taken);
void record_result_word(struct records *records, uint32_t slot, struct result_word what);

/*
 * Limits, mode, owner and weight: one store for each word that differs, in an order of which each
 * prefix is a space that can be. (Of a change that a death interrupts, part may have happened.)
 */
void record_space_terms(struct records *records, uint32_t slot, const struct space_record *to);

#ifdef RECORD_TRACE
/* In the build that tests crashes: sees each store, after it was made. */
void record_trace(const struct records *records, uint64_t byte, uint64_t value);
#endif
