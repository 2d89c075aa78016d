#include "daemon/core/record.h"

#include <assert.h>
#include <string.h>

#include "base/base.h"

#define RECORDS_MAGIC 0x3552444c52425256ULL /* "VRBRLDR5" */

/* The head of the table: everything is found by counting from it, so the table can be moved. */
struct records {
	uint64_t magic;
	uint64_t serial;
	struct record_capacity capacity;
	uint64_t offsets[RECORD_KINDS]; /* by the capacity; here, for every store needs one */
};

static const struct shape {
	uint32_t size, validity; /* bytes of a slot; where in it the validity word is */
} shapes[RECORD_KINDS] = {
	[RECORD_SPACE] = {sizeof(struct space_record), offsetof(struct space_record, state)},
	[RECORD_WINDOW] = {sizeof(struct window_record), offsetof(struct window_record, word)},
	[RECORD_PAGES] = {sizeof(struct pages_record), offsetof(struct pages_record, bits)},
	[RECORD_SESSION] = {sizeof(struct session_record),
			    offsetof(struct session_record, word)},
	[RECORD_MEMBER] = {sizeof(struct member_record), offsetof(struct member_record, word)},
	[RECORD_EXTENT] = {sizeof(struct extent_record), offsetof(struct extent_record, run)},
	[RECORD_CHANNEL] = {sizeof(struct channel_record),
			    offsetof(struct channel_record, word)},
	[RECORD_END] = {sizeof(struct end_record), offsetof(struct end_record, word)},
	[RECORD_CACHE] = {sizeof(struct cache_record), offsetof(struct cache_record, word)},
	[RECORD_USER] = {sizeof(struct user_record), offsetof(struct user_record, word)},
	[RECORD_RIGHT] = {sizeof(struct right_record), offsetof(struct right_record, word)},
	[RECORD_LANES] = {sizeof(struct lanes_record), offsetof(struct lanes_record, word)},
	[RECORD_RETURNS] = {sizeof(struct returns_record),
			    offsetof(struct returns_record, word)},
	[RECORD_INTENT] = {sizeof(struct intent_record), offsetof(struct intent_record, word)},
	[RECORD_RESULT] = {sizeof(struct result_record), offsetof(struct result_record, id)},
};

enum { HEAD_BYTES = 256, OWN_PAGES = 16384 };
static_assert(sizeof(struct records) <= HEAD_BYTES, "slots start on a cache line");

static uint64_t kind_bytes(const struct record_capacity *capacity, uint32_t kind)
{
	return kind < RECORD_KINDS ? (uint64_t)capacity->slots[kind] * shapes[kind].size : 0;
}

/*
 * A kind begins on a cache line, and one of many slots has pages of its own: what its neighbours store
 * says nothing about where its records end.
 */
static uint64_t kind_align(const struct record_capacity *capacity, uint32_t kind)
{
	return kind_bytes(capacity, kind) >= OWN_PAGES ? 4096 : 64;
}

/* Where the slots of a kind begin; RECORD_KINDS: where the table ends. */
static uint64_t kind_offset(const struct record_capacity *capacity, uint32_t kind)
{
	uint64_t offset = HEAD_BYTES, align = kind_align(capacity, 0);

	for (uint32_t i = 0;; ++i) {
		align = u64_max(align, kind_align(capacity, i));
		offset = (offset + align - 1) & ~(align - 1);
		if (i == kind)
			return offset;
		offset += kind_bytes(capacity, i);
		align = kind_align(capacity, i);
	}
}

static uint64_t *word_at(struct records *records, enum record_kind kind, uint32_t slot,
			 uint64_t word)
{
	assert(slot < records->capacity.slots[kind]);
	return (uint64_t *)(void *)((char *)records + records->offsets[kind] +
				    (uint64_t)slot * shapes[kind].size + word);
}

/*
 * Every store into the table. A release store stays behind all that precede it, so the stores
 * of one thread stand in program order: what R3 asks for.
 */
static void store(struct records *records, uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
#ifdef RECORD_TRACE
	record_trace(records, (uint64_t)((char *)word - (char *)records), value);
#else
	(void)records;
#endif
}

#define FIELD(records, kind, slot, type, field) \
	word_at(records, kind, slot, offsetof(struct type, field))

uint64_t records_size(const struct record_capacity *capacity)
{
	return kind_offset(capacity, RECORD_KINDS);
}

struct records *records_init(void *memory, const struct record_capacity *capacity)
{
	struct records *records = memory;

	records->capacity = *capacity;
	records->serial = 1;
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind)
		records->offsets[kind] = kind_offset(capacity, kind);
	__atomic_store_n(&records->magic, RECORDS_MAGIC, __ATOMIC_RELEASE);
	return records;
}

struct records *records_open(void *memory, uint64_t size)
{
	struct records *records = memory;

	if (size < sizeof(*records) || records->magic != RECORDS_MAGIC || !records->serial ||
	    records->serial > SERIAL_MASK)
		return NULL;
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind)
		if (records->offsets[kind] != kind_offset(&records->capacity, kind))
			return NULL;
	return records_size(&records->capacity) == size ? records : NULL;
}

const struct record_capacity *records_capacity(const struct records *records)
{
	return &records->capacity;
}

uint32_t records_serial(const struct records *records)
{
	return (uint32_t)records->serial;
}

void records_span(const struct records *records, enum record_kind kind, uint64_t *ret_from,
		  uint64_t *ret_to)
{
	*ret_from = records->offsets[kind];
	*ret_to = *ret_from + (uint64_t)records->capacity.slots[kind] * shapes[kind].size;
}

uint32_t records_slots_before(const struct records *records, enum record_kind kind,
			      uint64_t end)
{
	uint64_t from = records->offsets[kind];

	if (end <= from)
		return 0;
	return (uint32_t)u64_min((end - from) / shapes[kind].size,
				 records->capacity.slots[kind]);
}

const void *records_at(const struct records *records, enum record_kind kind, uint32_t slot)
{
	if (slot >= records->capacity.slots[kind])
		return NULL;
	return (const char *)records + records->offsets[kind] +
	       (uint64_t)slot * shapes[kind].size;
}

bool records_valid(const struct records *records, enum record_kind kind, uint32_t slot)
{
	const char *at = records_at(records, kind, slot);

	return at && *(const uint64_t *)(const void *)(at + shapes[kind].validity);
}

uint32_t record_words(enum record_kind kind)
{
	return shapes[kind].size / 8;
}

uint64_t record_word(const struct records *records, enum record_kind kind, uint32_t slot,
		     uint32_t word)
{
	return ((const uint64_t *)records_at(records, kind, slot))[word];
}

void record_clear(struct records *records, enum record_kind kind, uint32_t slot)
{
	store(records, word_at(records, kind, slot, shapes[kind].validity), 0);
}

/* The words of one slot in order, but its validity word last. */
static void put(struct records *records, enum record_kind kind, uint32_t slot,
		const uint64_t *words)
{
	uint64_t *to = word_at(records, kind, slot, 0);
	uint32_t validity = shapes[kind].validity / 8;

	if (mutant(record_valid_first))
		store(records, to + validity, words[validity]);
	for (uint32_t i = 0; i < shapes[kind].size / 8; ++i)
		if (i != validity)
			store(records, to + i, words[i]);
	store(records, to + validity, words[validity]);
}

void record_space_put(struct records *records, uint32_t slot, const struct space_record *space)
{
	put(records, RECORD_SPACE, slot, (const uint64_t *)(const void *)space);
}

void record_session_put(struct records *records, uint32_t slot,
			const struct session_record *session)
{
	put(records, RECORD_SESSION, slot, (const uint64_t *)(const void *)session);
}

void record_extent_put(struct records *records, uint32_t slot, struct extent_owner owner,
		       struct extent_run run)
{
	struct extent_record extent = {extent_owner_pack(owner), extent_run_pack(run)};

	put(records, RECORD_EXTENT, slot, (const uint64_t *)(const void *)&extent);
}

void record_channel_put(struct records *records, uint32_t slot,
			const struct channel_record *channel)
{
	put(records, RECORD_CHANNEL, slot, (const uint64_t *)(const void *)channel);
}

void record_pages_put(struct records *records, uint32_t slot, uint32_t window, uint32_t group,
		      uint64_t bits)
{
	struct pages_record pages = {pages_where_pack(window, group), bits};

	put(records, RECORD_PAGES, slot, (const uint64_t *)(const void *)&pages);
}

void record_cache_put(struct records *records, uint32_t slot, const struct cache_record *cache)
{
	put(records, RECORD_CACHE, slot, (const uint64_t *)(const void *)cache);
}

void record_right_put(struct records *records, uint32_t slot, const struct right_record *right)
{
	put(records, RECORD_RIGHT, slot, (const uint64_t *)(const void *)right);
}

void record_serial(struct records *records, uint32_t next)
{
	store(records, &records->serial, next);
}

void record_lanes_put(struct records *records, uint32_t slot, struct lanes_word word)
{
	struct lanes_record lanes = {.word = lanes_word_pack(word)};

	put(records, RECORD_LANES, slot, (const uint64_t *)(const void *)&lanes);
}

void record_returns_put(struct records *records, uint32_t slot)
{
	struct returns_record returns = {.word = RECORD_VALID};

	put(records, RECORD_RETURNS, slot, (const uint64_t *)(const void *)&returns);
}

void record_intent_put(struct records *records, const struct intent_record *intent)
{
	if (records_valid(records, RECORD_INTENT, 0))
		record_clear(records, RECORD_INTENT, 0);
	put(records, RECORD_INTENT, 0, (const uint64_t *)(const void *)intent);
}

uint64_t record_lanes_place(const struct records *records, uint32_t slot)
{
	const struct lanes_record *lanes = records_at(records, RECORD_LANES, slot);

	return (uint64_t)((const char *)lanes->taken - (const char *)records);
}

void record_result_put(struct records *records, uint32_t slot,
		       const struct result_record *result)
{
	put(records, RECORD_RESULT, slot, (const uint64_t *)(const void *)result);
}

void record_space_state(struct records *records, uint32_t slot, struct space_word state)
{
	store(records, FIELD(records, RECORD_SPACE, slot, space_record, state),
	      space_word_pack(state));
}

void record_space_tag(struct records *records, uint32_t slot, uint32_t tag_next)
{
	store(records, FIELD(records, RECORD_SPACE, slot, space_record, tag_next), tag_next);
}

void record_space_window(struct records *records, uint32_t slot, uint32_t window_next)
{
	store(records, FIELD(records, RECORD_SPACE, slot, space_record, window_next),
	      window_next);
}

void record_space_ceiling(struct records *records, uint32_t slot, uint64_t ceiling)
{
	store(records, FIELD(records, RECORD_SPACE, slot, space_record, ceiling), ceiling);
}

void record_space_terms(struct records *records, uint32_t slot, const struct space_record *to)
{
	uint64_t *now = word_at(records, RECORD_SPACE, slot, 0);
	const uint64_t *then = (const uint64_t *)(const void *)to;
	const uint32_t limit = offsetof(struct space_record, limit) / 8;
	const uint32_t words[] = {
		limit, /* before what has to be within it */
		offsetof(struct space_record, client_limit) / 8,
		offsetof(struct space_record, reserve) / 8,
		offsetof(struct space_record, mode) / 8,
		offsetof(struct space_record, owner) / 8,
		offsetof(struct space_record, state) / 8,
		limit, /* after it */
	};
	bool rises = then[limit] > now[limit];

	for (uint32_t i = 0; i < ARRAY_SIZE(words); ++i) {
		if (!i && (!rises || mutant(terms_limit_late)))
			continue;
		if (now[words[i]] != then[words[i]])
			store(records, now + words[i], then[words[i]]);
	}
}

void record_window_put(struct records *records, uint32_t slot, struct window_place place)
{
	store(records, FIELD(records, RECORD_WINDOW, slot, window_record, word),
	      window_place_pack(place));
}

void record_pages_bits(struct records *records, uint32_t slot, uint64_t bits)
{
	store(records, FIELD(records, RECORD_PAGES, slot, pages_record, bits), bits);
}

void record_member_put(struct records *records, uint32_t slot, struct member_word member)
{
	store(records, FIELD(records, RECORD_MEMBER, slot, member_record, word),
	      member_word_pack(member));
}

void record_extent_owner(struct records *records, uint32_t slot, struct extent_owner owner)
{
	store(records, FIELD(records, RECORD_EXTENT, slot, extent_record, owner),
	      extent_owner_pack(owner));
}

void record_extent_run(struct records *records, uint32_t slot, struct extent_run run)
{
	store(records, FIELD(records, RECORD_EXTENT, slot, extent_record, run),
	      extent_run_pack(run));
}

void record_channel_word(struct records *records, uint32_t slot, struct channel_word word)
{
	store(records, FIELD(records, RECORD_CHANNEL, slot, channel_record, word),
	      channel_word_pack(word));
}

void record_end_put(struct records *records, uint32_t slot, struct end_word end)
{
	store(records, FIELD(records, RECORD_END, slot, end_record, word), end_word_pack(end));
}

void record_cache_word(struct records *records, uint32_t slot, struct cache_word word)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, word),
	      cache_word_pack(word));
}

void record_cache_capacity(struct records *records, uint32_t slot, uint64_t capacity)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, capacity), capacity);
}

void record_cache_ttl(struct records *records, uint32_t slot, uint64_t ttl_ms)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, ttl_ms), ttl_ms);
}

void record_cache_token(struct records *records, uint32_t slot, uint64_t token_next)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, token_next),
	      token_next);
}

void record_user_put(struct records *records, uint32_t slot, struct user_word user)
{
	store(records, FIELD(records, RECORD_USER, slot, user_record, word),
	      user_word_pack(user));
}

void record_cache_cleared(struct records *records, uint32_t slot, uint64_t cleared)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, cleared), cleared);
}

void record_cache_index(struct records *records, uint32_t slot, uint64_t generation)
{
	store(records, FIELD(records, RECORD_CACHE, slot, cache_record, index), generation);
}

void record_lane_taken(struct records *records, uint64_t place, uint32_t lane, uint64_t taken)
{
	store(records, (uint64_t *)(void *)((char *)records + place) + lane, taken);
}

void record_returns_taken(struct records *records, uint32_t slot, uint64_t taken)
{
	store(records, FIELD(records, RECORD_RETURNS, slot, returns_record, taken), taken);
}

void record_result_word(struct records *records, uint32_t slot, struct result_word what)
{
	store(records, FIELD(records, RECORD_RESULT, slot, result_record, what),
	      result_word_pack(what));
}
