/*
 * caches - which there are; make one, change what it may hold, remove it.
 */
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct cache_line {
	char name[CACHE_NAME_MAX + 1], space[SPACE_NAME_MAX + 1], policy[16];
	uint64_t cache, capacity, memory, segments, objects, sessions, ttl_ms;
	uint64_t values, live, dead, limbo, pinned, hits, misses, published, evicted, expired,
		deleted, replaced, cleared, dropped, spoiled, crowded, moved, metadata;
	bool removed;
};

static const struct table_column columns[] = {
#define CACHE(field, title, show) TABLE_COLUMN(struct cache_line, field, title, #field, show)
	CACHE(name, "NAME", SHOW_TEXT),          CACHE(space, "SPACE", SHOW_TEXT),
	CACHE(cache, NULL, SHOW_COUNT),          CACHE(policy, "POLICY", SHOW_TEXT),
	CACHE(capacity, "CAPACITY", SHOW_BYTES), CACHE(memory, "MEMORY", SHOW_BYTES),
	CACHE(segments, "SEGMENTS", SHOW_COUNT), CACHE(objects, NULL, SHOW_COUNT),
	CACHE(ttl_ms, "TTL", SHOW_MS),           CACHE(sessions, "SESSIONS", SHOW_COUNT),
	CACHE(removed, "REMOVED", SHOW_YES_NO),  CACHE(values, "VALUES", SHOW_COUNT),
	CACHE(live, "LIVE", SHOW_BYTES),         CACHE(dead, "DEAD", SHOW_BYTES),
	CACHE(limbo, NULL, SHOW_BYTES),          CACHE(pinned, NULL, SHOW_BYTES),
	CACHE(hits, "HITS", SHOW_COUNT),         CACHE(misses, "MISSES", SHOW_COUNT),
	CACHE(published, NULL, SHOW_COUNT),      CACHE(evicted, "EVICTED", SHOW_COUNT),
	CACHE(expired, NULL, SHOW_COUNT),        CACHE(deleted, NULL, SHOW_COUNT),
	CACHE(replaced, NULL, SHOW_COUNT),       CACHE(cleared, NULL, SHOW_COUNT),
	CACHE(dropped, NULL, SHOW_COUNT),        CACHE(spoiled, NULL, SHOW_COUNT),
	CACHE(crowded, NULL, SHOW_COUNT),        CACHE(moved, NULL, SHOW_BYTES),
	CACHE(metadata, NULL, SHOW_BYTES),
#undef CACHE
};

static void line_fill(void *to, const void *from)
{
	const struct wire_cache_row *row = from;
	struct cache_line *line = to;

	*line = (struct cache_line){
		.cache = row->cache,
		.capacity = row->capacity,
		.memory = row->memory,
		.segments = row->segments,
		.objects = row->objects,
		.sessions = row->sessions,
		.ttl_ms = row->ttl_ms,
		.removed = row->removed,
		.values = row->values,
		.live = row->live,
		.dead = row->dead,
		.limbo = row->limbo,
		.pinned = row->pinned,
		.hits = row->hits,
		.misses = row->misses,
		.published = row->published,
		.evicted = row->evicted,
		.expired = row->expired,
		.deleted = row->deleted,
		.replaced = row->replaced,
		.cleared = row->cleared,
		.dropped = row->dropped,
		.spoiled = row->spoiled,
		.crowded = row->crowded,
		.moved = row->moved,
		.metadata = row->metadata,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
	wire_str_copy(line->space, sizeof(line->space), row->space_name);
	wire_str_copy(line->policy, sizeof(line->policy), row->policy);
}

struct space_name {
	char name[SPACE_NAME_MAX + 1];
};

static void name_fill(void *to, const void *from)
{
	struct space_name *line = to;

	wire_str_copy(line->name, sizeof(line->name),
		      ((const struct wire_space_row *)from)->name);
}

/* One without caches is not one that is not there. */
static enum answer space_check(struct link *link, const char *name)
{
	_cleanup_(freep) void *lines = NULL;
	const struct space_name *spaces;
	enum answer answer;
	size_t n;

	if (strlen(name) > SPACE_NAME_MAX || !wire_str_is_clean(wire_str(name)))
		return answer_say(ANSWER_USAGE,
				  "caches: the name of a space is 1 to %d of A-Z a-z 0-9 . _ -",
				  SPACE_NAME_MAX);
	answer = link_list(link, "caches", WIRE_SPACE_LIST, sizeof(*spaces), name_fill, &lines,
			   &n);
	if (answer)
		return answer;
	spaces = lines;
	while (n--)
		if (!strcmp(spaces[n].name, name))
			return ANSWER_OK;
	return answer_say(ANSWER_NOT_FOUND, "caches: no such space: %s", name);
}

/* Those of one space come first, in their order; how many they are. */
static size_t lines_keep(struct cache_line *lines, size_t n, const char *space)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(lines[i].space, space))
			lines[kept++] = lines[i];
	return kept;
}

enum answer verb_caches(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) void *lines = NULL;
	const char *space = call->words[0];
	enum answer answer;
	size_t n;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer && space)
		answer = space_check(link, space);
	if (!answer)
		answer = link_list(link, "caches", WIRE_CACHE_LIST, sizeof(struct cache_line),
				   line_fill, &lines, &n);
	if (answer)
		return answer;
	if (space)
		n = lines_keep(lines, n, space);
	table_rows(&call->page, "caches", columns, ARRAY_SIZE(columns), lines, n,
		   sizeof(struct cache_line));
	return ANSWER_OK;
}

/* A session that has the space open, to write. */
static enum answer space_open(struct link **ret, struct call *call, const char *what,
			      uint64_t *ret_space)
{
	const struct wire_space_open open = {.name = wire_str(call->words[0])};
	const void *result;
	enum answer answer;

	answer = link_new(ret, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(*ret, what, WIRE_SPACE_OPEN, &open, &result);
	if (!answer)
		*ret_space = ((const struct wire_space_opened *)result)->space;
	return answer;
}

/* What the options say; of a cache, --capacity is one size, and --policy one name. */
static enum answer terms_read(const struct options *options, const char *what,
			      struct wire_cache_change *ret)
{
	const char *capacity = options->text[OPTION_CAPACITY];

	if (options->given[OPTION_CAPACITY]) {
		if (!size_parse(capacity, &ret->capacity) || !ret->capacity)
			return answer_say(ANSWER_USAGE,
					  "%s: --capacity: \"%.60s\" is not a size (512M, 2G)",
					  what, capacity);
		ret->set |= CACHE_SET_CAPACITY;
	}
	if (options->given[OPTION_POLICY]) {
		ret->policy = wire_str(options->text[OPTION_POLICY]);
		ret->set |= CACHE_SET_POLICY;
	}
	if (options->given[OPTION_TTL]) {
		ret->ttl_ms = options->number[OPTION_TTL];
		ret->set |= CACHE_SET_TTL;
	}
	return ANSWER_OK;
}

enum answer verb_caches_create(struct call *call)
{
	static const struct table_column created[] = {
#define CREATED(field, show) TABLE_COLUMN(struct cache_line, field, NULL, #field, show)
		CREATED(cache, SHOW_COUNT),
		CREATED(capacity, SHOW_BYTES),
		CREATED(policy, SHOW_TEXT),
		CREATED(ttl_ms, SHOW_MS),
#undef CREATED
	};
	_cleanup_(link_freep) struct link *link = NULL;
	struct wire_cache_change terms = {};
	struct wire_cache_open open = {.name = wire_str(call->words[1]), .exclusive = true};
	const struct wire_cache_opened *opened;
	const void *result;
	struct cache_line line;
	enum answer answer;

	answer = terms_read(call->options, "caches create", &terms);
	if (!answer)
		answer = space_open(&link, call, "caches create", &open.space);
	if (answer)
		return answer;
	open.capacity = terms.capacity;
	open.policy = terms.policy;
	open.ttl_ms = terms.ttl_ms;
	answer = link_ask(link, "caches create", WIRE_CACHE_OPEN, &open, &result);
	if (answer)
		return answer;
	opened = result;
	line = (struct cache_line){
		.cache = opened->cache, .capacity = opened->capacity, .ttl_ms = opened->ttl_ms};
	wire_str_copy(line.policy, sizeof(line.policy), opened->policy);
	table_record(&call->page, NULL, created, ARRAY_SIZE(created), &line);
	return ANSWER_OK;
}

enum answer verb_caches_set(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	struct wire_cache_change change = {.name = wire_str(call->words[1])};
	const void *result;
	enum answer answer;

	answer = terms_read(call->options, "caches set", &change);
	if (!answer && !change.set)
		return answer_say(ANSWER_USAGE,
				  "caches set: none of --capacity, --policy, --ttl is said");
	if (!answer)
		answer = space_open(&link, call, "caches set", &change.space);
	if (!answer)
		answer = link_ask(link, "caches set", WIRE_CACHE_CHANGE, &change, &result);
	return answer;
}

enum answer verb_caches_remove(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	struct wire_cache_remove removal = {
		.name = wire_str(call->words[1]),
		.force = call->options->given[OPTION_FORCE],
	};
	const void *result;
	enum answer answer;

	answer = space_open(&link, call, "caches remove", &removal.space);
	if (!answer)
		answer = link_ask(link, "caches remove", WIRE_CACHE_REMOVE, &removal, &result);
	return answer;
}
