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
 *                            owner, ceiling, tag_next,
 *                            state (removed, weight)
 *   window   word            word (born, granted)                    word = 0
 *   pages    bits            bits (one for each unit, 1: committed)  bits = 0
 *   session  word            -                                       word = 0
 *   member   word            word (has an id, no more)               word = 0
 *   extent   run             owner (adopted), run (slices returned)  run = 0
 *   channel  word            word (had_, died)                       word = 0
 *   end      word            word (roles)                            word = 0
 *   cache    word            word (policy, removed), capacity, ttl,  word = 0
 *                            token_next
 *   user     word            -                                       word = 0
 *   right    word            -                                       word = 0
 *
 * Which record is stored first, where a change takes several (so that each prefix of its stores
 * is a state that core_recover() takes):
 *
 *   a space is created    its windows (born), their pages, the space    else: windows of no space
 *   a window is added     window, pages, extent                         else: empty pages
 *   memory is taken       tag_next, extent                              else: a tag is skipped
 *   a space changes       ceiling; pages; limit if it rises; client_limit, reserve, mode,
 *                         owner, weight; limit if it falls              else: part of it has
 *   a session ends        each member's ends, its id, its extents, its  else: it ends again
 *                         caches' users, the member; the session
 *   a channel is made     extent, channel, end                          else: an extent of no
 *                                                                       channel, or a dead one
 *   an end is opened      the end, the channel (had_)                   else: had_ follows from it
 *   an end is closed      the channel (died), the end                   else: it is closed again
 *   a channel is reaped   the channel, its extent                       else: an extent of none
 *   a cache is opened     the cache, if it is made; the user            else: nobody has it open
 *   a cache is closed     its user's extents (adopted), its rights,     else: it is closed again
 *                         the user
 *   a right is taken      token_next, the right                         else: a token is skipped
 *   a cache changes       policy, capacity, ttl                         else: part of it has
 *   a cache goes          removed, its users, extents, the cache        else: it goes on going
 *   a space goes          removed, channels, extents, users, caches,    else: it goes on going
 *                         members, pages, windows from the last to the
 *                         first, the space
 */
#pragma once

#include <stdbool.h>
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
 *   word: pid:32  0:31  1:1
 */
struct session_record {
	uint64_t word;
	uint64_t birth; /* tells a pid's next life from this one: the pidfd's inode */
	uint64_t owner; /* uid:32 gid:32 */
	uint64_t image; /* tells an exec from its former self */
};

/*
 *   word: space slot:16  session slot:24  read_only:1  id:10  0:12  1:1
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
 *   word: space slot:16  policy:8  removed:1  0:38  1:1
 */
struct cache_record {
	uint64_t word;
	uint64_t capacity; /* bytes of objects */
	uint64_t ttl_ms;   /* of objects that come without one; 0: for ever */
	uint64_t
		token_next; /* stored before the right that takes a token, so none comes back */
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

/* The slot, valid or not; NULL beyond the capacity. */
const void *records_at(const struct records *records, enum record_kind kind, uint32_t slot);
bool records_valid(const struct records *records, enum record_kind kind, uint32_t slot);

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

static inline uint64_t pages_where_pack(uint32_t window, uint32_t group)
{
	return (uint64_t)window | (uint64_t)group << 32;
}

struct member_word {
	uint32_t space, session;
	bool read_only;
	uint32_t id; /* 0: none */
};

static inline uint64_t member_word_pack(struct member_word member)
{
	return (uint64_t)member.space | (uint64_t)member.session << 16 |
	       (uint64_t)member.read_only << 40 | (uint64_t)member.id << 41 | RECORD_VALID;
}

static inline struct member_word member_word_unpack(uint64_t word)
{
	return (struct member_word){
		.space = (uint32_t)word & 0xffff,
		.session = (uint32_t)(word >> 16) & 0xffffff,
		.read_only = word >> 40 & 1,
		.id = (uint32_t)(word >> 41) & ID_MASK,
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
};

static inline uint64_t cache_word_pack(struct cache_word cache)
{
	return (uint64_t)cache.space | (uint64_t)cache.policy << 16 |
	       (uint64_t)cache.removed << 24 | RECORD_VALID;
}

static inline struct cache_word cache_word_unpack(uint64_t word)
{
	return (struct cache_word){
		.space = (uint32_t)word & 0xffff,
		.policy = (uint32_t)(word >> 16) & 0xff,
		.removed = word >> 24 & 1,
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

/* One store each. */
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
void record_user_put(struct records *records, uint32_t slot, struct user_word user);

/*
 * Limits, mode, owner and weight: one store for each word that differs, in an order of which each
 * prefix is a space that can be. (Of a change that a death interrupts, part may have happened.)
 */
void record_space_terms(struct records *records, uint32_t slot, const struct space_record *to);

#ifdef RECORD_TRACE
/* In the build that tests crashes: sees each store, after it was made. */
void record_trace(const struct records *records, uint64_t byte, uint64_t value);
#endif
