/*
 * stats - the statistics file as tables. It never talks to the daemon, so it answers while the
 * daemon is stopped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/numa.h"
#include "client/ctl/snapshot.h"
#include "client/ctl/verb.h"

/* A space's row and what is added up for it. */
struct space_line {
	struct stats_space space;
	uint64_t failed, live;
	char numa[NUMA_TEXT_MAX];
};

struct client_line {
	struct stats_client client;
	uint64_t live;
};

struct share_line {
	struct stats_share share;
	char name[SPACE_NAME_MAX + 1];
	char numa[NUMA_TEXT_MAX];
};

struct cache_line {
	struct stats_cache cache;
	char space[SPACE_NAME_MAX + 1];
	double hit_ratio;
};

/* What belongs to a cache: its names, and the row. */
struct pin_line {
	struct stats_pin pin;
	char name[CACHE_NAME_MAX + 1], space[SPACE_NAME_MAX + 1];
	uint64_t ms;
};

struct hot_line {
	struct stats_hot hot;
	char name[CACHE_NAME_MAX + 1], space[SPACE_NAME_MAX + 1];
	char hash[24];
};

struct daemon_line {
	char version[32];
	char socket[108];
	char quarantine[256];
	uint64_t pid, epoch, page, beat_age_ms, losses;
	bool isolates, alive;
};

static const struct table_column space_columns[] = {
#define SPACE(field, title, key, show) \
	TABLE_COLUMN(struct space_line, space.field, title, key, show)
	SPACE(name, "SPACE", "name", SHOW_TEXT),
	SPACE(space, NULL, "space", SHOW_COUNT),
	SPACE(uid, "OWNER", "uid", SHOW_USER),
	SPACE(gid, NULL, "gid", SHOW_GROUP),
	SPACE(mode, NULL, "mode", SHOW_MODE),
	SPACE(used, "USED", "used", SHOW_BYTES),
	SPACE(peak, "PEAK", "peak", SHOW_BYTES),
	SPACE(limit, "LIMIT", "limit", SHOW_BYTES),
	SPACE(reserve, NULL, "reserve", SHOW_BYTES),
	SPACE(committed, "COMMITTED", "committed", SHOW_BYTES),
	SPACE(largest, "LARGEST", "largest", SHOW_BYTES),
	TABLE_COLUMN(struct space_line, failed, "FAILED", "failed", SHOW_COUNT),
	SPACE(failures.memory, NULL, "failed_memory", SHOW_COUNT),
	SPACE(failures.too_large, NULL, "failed_too_large", SHOW_COUNT),
	SPACE(failures.budget_region, NULL, "failed_budget_region", SHOW_COUNT),
	SPACE(failures.budget_space, NULL, "failed_budget_space", SHOW_COUNT),
	SPACE(failures.budget_client, NULL, "failed_budget_client", SHOW_COUNT),
	SPACE(placement, NULL, "placement", SHOW_TEXT),
	SPACE(sessions, NULL, "sessions", SHOW_COUNT),
	SPACE(windows, NULL, "windows", SHOW_COUNT),
	SPACE(extents, NULL, "extents", SHOW_COUNT),
	SPACE(allocs, NULL, "allocs", SHOW_COUNT),
	SPACE(frees, NULL, "frees", SHOW_COUNT),
	SPACE(refused, NULL, "refused", SHOW_COUNT),
	SPACE(surplus, NULL, "surplus", SHOW_BYTES),
	SPACE(ids, NULL, "ids", SHOW_COUNT),
	SPACE(swept, NULL, "swept", SHOW_COUNT),
	SPACE(removed, NULL, "removed", SHOW_YES_NO),
	TABLE_COLUMN(struct space_line, live, "LIVE", "live", SHOW_BYTES),
	SPACE(cached, "CACHED", "cached", SHOW_BYTES),
	TABLE_COLUMN(struct space_line, numa, "NUMA", "numa", SHOW_TEXT),
#undef SPACE
};

static const struct table_column node_columns[] = {
#define NODE(field, title, show) TABLE_COLUMN(struct stats_node, field, title, #field, show)
	NODE(node, "NODE", SHOW_COUNT),
	NODE(used, "USED", SHOW_BYTES),
	NODE(committed, "COMMITTED", SHOW_BYTES),
	NODE(capacity, "CAPACITY", SHOW_BYTES),
#undef NODE
};

/* What each space asked for, and where its memory is. */
static const struct table_column share_columns[] = {
#define SHARE(field, title, key, show) TABLE_COLUMN(struct share_line, field, title, key, show)
	SHARE(name, "SPACE", "name", SHOW_TEXT),
	SHARE(share.space, NULL, "space", SHOW_COUNT),
	SHARE(numa, "ASKED", "asked", SHOW_TEXT),
	SHARE(share.node, "NODE", "node", SHOW_COUNT),
	SHARE(share.used, "USED", "used", SHOW_BYTES),
	SHARE(share.committed, "COMMITTED", "committed", SHOW_BYTES),
#undef SHARE
};

static const struct table_column client_columns[] = {
#define CLIENT(field, title, show) \
	TABLE_COLUMN(struct client_line, client.field, title, #field, show)
	CLIENT(session, "CLIENT", SHOW_COUNT),
	CLIENT(pid, "PID", SHOW_COUNT),
	CLIENT(uid, "USER", SHOW_USER),
	CLIENT(name, "NAME", SHOW_TEXT),
	CLIENT(spaces, "SPACES", SHOW_COUNT),
	CLIENT(used, "USED", SHOW_BYTES),
	CLIENT(peak, "PEAK", SHOW_BYTES),
	CLIENT(allocs, "ALLOCS", SHOW_COUNT),
	CLIENT(frees, "FREES", SHOW_COUNT),
	CLIENT(failed, "FAILED", SHOW_COUNT),
	CLIENT(absent, "ABSENT", SHOW_YES_NO),
	TABLE_COLUMN(struct client_line, live, "LIVE", "live", SHOW_BYTES),
	CLIENT(cached, "CACHED", SHOW_BYTES),
	CLIENT(pinned, "PINNED", SHOW_BYTES),
#undef CLIENT
};

static const struct table_column cache_columns[] = {
#define CACHE(field, title, show) \
	TABLE_COLUMN(struct cache_line, cache.field, title, #field, show)
	CACHE(name, "CACHE", SHOW_TEXT),
	TABLE_COLUMN(struct cache_line, space, "SPACE", "space", SHOW_TEXT),
	CACHE(cache, NULL, SHOW_COUNT),
	CACHE(policy, NULL, SHOW_TEXT),
	CACHE(capacity, NULL, SHOW_BYTES),
	CACHE(memory, NULL, SHOW_BYTES),
	CACHE(ttl_ms, NULL, SHOW_MS),
	CACHE(sessions, NULL, SHOW_COUNT),
	CACHE(segments, NULL, SHOW_COUNT),
	CACHE(objects, NULL, SHOW_COUNT),
	CACHE(removed, NULL, SHOW_YES_NO),
	CACHE(values, "VALUES", SHOW_COUNT),
	CACHE(live, "LIVE", SHOW_BYTES),
	CACHE(dead, "DEAD", SHOW_BYTES),
	CACHE(limbo, "LIMBO", SHOW_BYTES),
	CACHE(pinned, "PINNED", SHOW_BYTES),
	CACHE(hits, "HITS", SHOW_COUNT),
	CACHE(misses, "MISSES", SHOW_COUNT),
	TABLE_COLUMN(struct cache_line, hit_ratio, "HIT RATIO", "hit_ratio", SHOW_RATIO),
	CACHE(published, NULL, SHOW_COUNT),
	CACHE(evicted, "EVICTED", SHOW_COUNT),
	CACHE(expired, "EXPIRED", SHOW_COUNT),
	CACHE(deleted, NULL, SHOW_COUNT),
	CACHE(replaced, NULL, SHOW_COUNT),
	CACHE(cleared, NULL, SHOW_COUNT),
	CACHE(dropped, NULL, SHOW_COUNT),
	CACHE(spoiled, NULL, SHOW_COUNT),
	CACHE(crowded, NULL, SHOW_COUNT),
	CACHE(moved, NULL, SHOW_BYTES),
	CACHE(metadata, NULL, SHOW_BYTES),
#undef CACHE
};

static const struct table_column pin_columns[] = {
#define PIN(field, title, show) TABLE_COLUMN(struct pin_line, pin.field, title, #field, show)
	TABLE_COLUMN(struct pin_line, name, "CACHE", "cache", SHOW_TEXT),
	TABLE_COLUMN(struct pin_line, space, "SPACE", "space", SHOW_TEXT),
	PIN(session, "PINNED BY", SHOW_COUNT),
	PIN(pid, "PID", SHOW_COUNT),
	PIN(uid, "USER", SHOW_USER),
	PIN(name, "NAME", SHOW_TEXT),
	PIN(bytes, "PINS", SHOW_BYTES),
	TABLE_COLUMN(struct pin_line, ms, "SINCE", "ms", SHOW_MS),
#undef PIN
};

static const struct table_column hot_columns[] = {
	TABLE_COLUMN(struct hot_line, name, "CACHE", "cache", SHOW_TEXT),
	TABLE_COLUMN(struct hot_line, space, "SPACE", "space", SHOW_TEXT),
	TABLE_COLUMN(struct hot_line, hash, "HOTTEST", "hash", SHOW_TEXT),
	TABLE_COLUMN(struct hot_line, hot.count, "ACCESSES", "count", SHOW_COUNT),
	TABLE_COLUMN(struct hot_line, hot.over, NULL, "over", SHOW_COUNT),
};

static const struct table_column total_columns[] = {
#define TOTAL(field, title, key, show) TABLE_COLUMN(struct stats_copy, field, title, key, show)
	TOTAL(region, "REGION", "region", SHOW_BYTES),
	TOTAL(committed, "COMMITTED", "committed", SHOW_BYTES),
	TOTAL(used, "USED", "used", SHOW_BYTES),
	TOTAL(peak, "PEAK", "peak", SHOW_BYTES),
	TOTAL(spaces_total, "SPACES", "spaces", SHOW_COUNT),
	TOTAL(sessions_total, "CLIENTS", "sessions", SHOW_COUNT),
	TOTAL(caches_total, "CACHES", "caches", SHOW_COUNT),
	TOTAL(requests, "REQUESTS", "requests", SHOW_COUNT),
	TOTAL(allocs, "ALLOCS", "allocs", SHOW_COUNT),
	TOTAL(frees, "FREES", "frees", SHOW_COUNT),
	TOTAL(refused, "FREES REFUSED", "refused", SHOW_COUNT),
#undef TOTAL
};

static const struct table_column failure_columns[] = {
#define FAILURE(field, title) \
	TABLE_COLUMN(struct stats_failures, field, title, #field, SHOW_COUNT)
	FAILURE(memory, "FAILED: NO MEMORY"),
	FAILURE(too_large, "FAILED: TOO LARGE"),
	FAILURE(budget_region, "FAILED: REGION'S BUDGET"),
	FAILURE(budget_space, "FAILED: SPACE'S BUDGET"),
	FAILURE(budget_client, "FAILED: CLIENT'S BUDGET"),
#undef FAILURE
};

/* On a terminal the tables speak for the daemon; programs get it in words. */
static const struct table_column daemon_columns[] = {
#define DAEMON(field, show) TABLE_COLUMN(struct daemon_line, field, NULL, #field, show)
	DAEMON(pid, SHOW_COUNT),      DAEMON(version, SHOW_TEXT),
	DAEMON(socket, SHOW_TEXT),    DAEMON(epoch, SHOW_COUNT),
	DAEMON(page, SHOW_BYTES),     DAEMON(isolates, SHOW_YES_NO),
	DAEMON(beat_age_ms, SHOW_MS), DAEMON(alive, SHOW_YES_NO),
	DAEMON(losses, SHOW_COUNT),   DAEMON(quarantine, SHOW_TEXT),
#undef DAEMON
};

static uint64_t rest_of(uint64_t used, uint64_t cached)
{
	return used > cached ? used - cached : 0;
}

static void asked_format(char *ret, size_t size, const struct stats_space *space)
{
	const struct numa asked = {(enum numa_kind)space->numa, space->nodes};

	if (numa_kind_name(space->numa))
		numa_format(ret, size, asked);
}

static struct space_line *space_lines_new(const struct stats_copy *copy)
{
	struct space_line *lines = calloc(copy->n_spaces + 1, sizeof(*lines));

	for (uint32_t i = 0; lines && i < copy->n_spaces; i++) {
		const struct stats_space *space = &copy->spaces[i];
		const struct stats_failures *failures = &space->failures;

		lines[i].space = *space;
		lines[i].live = rest_of(space->used, space->cached);
		lines[i].failed = failures->memory + failures->too_large +
				  failures->budget_region + failures->budget_space +
				  failures->budget_client;
		asked_format(lines[i].numa, sizeof(lines[i].numa), space);
	}
	return lines;
}

static struct client_line *client_lines_new(const struct stats_copy *copy)
{
	struct client_line *lines = calloc(copy->n_clients + 1, sizeof(*lines));

	for (uint32_t i = 0; lines && i < copy->n_clients; i++) {
		lines[i].client = copy->clients[i];
		lines[i].live = rest_of(copy->clients[i].used, copy->clients[i].cached);
	}
	return lines;
}

static struct share_line *share_lines_new(const struct stats_copy *copy,
					  const struct space_line *spaces)
{
	struct share_line *lines = calloc(copy->n_shares + 1, sizeof(*lines));
	uint32_t space = 0; /* both are in the order of the spaces' numbers */

	for (uint32_t i = 0; lines && i < copy->n_shares; i++) {
		lines[i].share = copy->shares[i];
		while (space < copy->n_spaces &&
		       spaces[space].space.space < lines[i].share.space)
			space++;
		if (space == copy->n_spaces ||
		    spaces[space].space.space != lines[i].share.space)
			continue;
		memcpy(lines[i].name, spaces[space].space.name, sizeof(lines[i].name));
		memcpy(lines[i].numa, spaces[space].numa, sizeof(lines[i].numa));
	}
	return lines;
}

static const char *space_of(const struct stats_copy *copy, uint32_t space)
{
	for (uint32_t i = 0; i < copy->n_spaces; i++)
		if (copy->spaces[i].space == space)
			return copy->spaces[i].name;
	return "";
}

static const struct cache_line *cache_of(const struct cache_line *caches,
					 const struct stats_copy *copy, uint32_t cache)
{
	static const struct cache_line none;

	for (uint32_t i = 0; i < copy->n_caches; i++)
		if (caches[i].cache.cache == cache)
			return &caches[i];
	return &none;
}

static struct cache_line *cache_lines_new(const struct stats_copy *copy)
{
	struct cache_line *lines = calloc(copy->n_caches + 1, sizeof(*lines));

	for (uint32_t i = 0; lines && i < copy->n_caches; i++) {
		const struct stats_cache *cache = &copy->caches[i];
		double asked = (double)cache->hits + (double)cache->misses;

		lines[i].cache = *cache;
		lines[i].hit_ratio = asked > 0 ? (double)cache->hits / asked : 0;
		snprintf(lines[i].space, sizeof(lines[i].space), "%s",
			 space_of(copy, cache->space));
	}
	return lines;
}

static struct pin_line *pin_lines_new(const struct stats_copy *copy,
				      const struct cache_line *caches, uint64_t now_ms)
{
	struct pin_line *lines = calloc(copy->n_pins + 1, sizeof(*lines));

	for (uint32_t i = 0; lines && i < copy->n_pins; i++) {
		const struct stats_pin *pin = &copy->pins[i];
		const struct cache_line *cache = cache_of(caches, copy, pin->cache);

		lines[i].pin = *pin;
		lines[i].ms = now_ms > pin->since_ms ? now_ms - pin->since_ms : 0;
		memcpy(lines[i].name, cache->cache.name, sizeof(lines[i].name));
		memcpy(lines[i].space, cache->space, sizeof(lines[i].space));
	}
	return lines;
}

static struct hot_line *hot_lines_new(const struct stats_copy *copy,
				      const struct cache_line *caches)
{
	struct hot_line *lines = calloc(copy->n_hot + 1, sizeof(*lines));

	for (uint32_t i = 0; lines && i < copy->n_hot; i++) {
		const struct stats_hot *hot = &copy->hot[i];
		const struct cache_line *cache = cache_of(caches, copy, hot->cache);

		lines[i].hot = *hot;
		snprintf(lines[i].hash, sizeof(lines[i].hash), "#%016" PRIx64, hot->hash);
		memcpy(lines[i].name, cache->cache.name, sizeof(lines[i].name));
		memcpy(lines[i].space, cache->space, sizeof(lines[i].space));
	}
	return lines;
}

/* Where nobody has a cache, there is no more to say. */
static enum answer caches_print(struct call *call, const struct snapshot *snapshot)
{
	const struct stats_copy *copy = &snapshot->copy;
	_cleanup_(freep) struct cache_line *caches = cache_lines_new(copy);
	_cleanup_(freep) struct pin_line *pins = NULL;
	_cleanup_(freep) struct hot_line *hot = NULL;
	struct table_page *page = &call->page;
	bool json = page->form == TABLE_JSON;

	pins = caches ? pin_lines_new(copy, caches, snapshot->read_ms) : NULL;
	hot = caches ? hot_lines_new(copy, caches) : NULL;
	if (!caches || !pins || !hot)
		return answer_say(ANSWER_FAILED, "%s", strerror(ENOMEM));
	if (copy->n_caches || json)
		table_rows(page, "caches", cache_columns, ARRAY_SIZE(cache_columns), caches,
			   copy->n_caches, sizeof(*caches));
	if (copy->n_pins || json)
		table_rows(page, "pins", pin_columns, ARRAY_SIZE(pin_columns), pins,
			   copy->n_pins, sizeof(*pins));
	if (copy->n_hot || json)
		table_rows(page, "hot", hot_columns, ARRAY_SIZE(hot_columns), hot, copy->n_hot,
			   sizeof(*hot));
	return ANSWER_OK;
}

static void daemon_print(struct call *call, const struct snapshot *snapshot)
{
	struct daemon_line line = {
		.pid = snapshot->pid,
		.epoch = snapshot->epoch,
		.page = (uint64_t)1 << snapshot->page_shift,
		.beat_age_ms = snapshot->age_ms,
		.isolates = snapshot->isolates,
		.alive = snapshot->writer == SNAPSHOT_ALIVE,
		.losses = snapshot->losses,
	};

	memcpy(line.version, snapshot->version, sizeof(line.version));
	memcpy(line.quarantine, snapshot->quarantine, sizeof(line.quarantine));
	snprintf(line.socket, sizeof(line.socket), "%s", call->socket);
	table_record(&call->page, "daemon", daemon_columns, ARRAY_SIZE(daemon_columns), &line);
}

static void notice(struct call *call, const struct snapshot *snapshot)
{
	const struct stats_copy *copy = &snapshot->copy;

	if (snapshot->writer == SNAPSHOT_SILENT)
		snprintf(call->notice, sizeof(call->notice),
			 "the daemon (pid %" PRIu32
			 ") gives no sign of life: these numbers are "
			 "%" PRIu64 ".%" PRIu64 " s old",
			 snapshot->pid, snapshot->age_ms / 1000, snapshot->age_ms % 1000 / 100);
	else if (*snapshot->quarantine)
		snprintf(call->notice, sizeof(call->notice), "quarantine, nobody is served: %s",
			 snapshot->quarantine);
	else if (snapshot->losses)
		snprintf(call->notice, sizeof(call->notice),
			 "%" PRIu64 " of what an earlier daemon had is lost: the log names it",
			 snapshot->losses);
	else if (copy->spaces_total > copy->n_spaces || copy->sessions_total > copy->n_clients)
		snprintf(call->notice, sizeof(call->notice),
			 "showing %" PRIu32 " of %" PRIu64 " spaces and %" PRIu32 " of %" PRIu64
			 " clients",
			 copy->n_spaces, copy->spaces_total, copy->n_clients,
			 copy->sessions_total);
}

enum answer verb_stats(struct call *call)
{
	_cleanup_(freep) struct snapshot *snapshot = NULL;
	_cleanup_(freep) struct space_line *spaces = NULL;
	_cleanup_(freep) struct client_line *clients = NULL;
	_cleanup_(freep) struct share_line *shares = NULL;
	struct table_page *page = &call->page;
	const struct stats_copy *copy;
	enum answer answer;

	if (call->options->given[OPTION_CLASSES])
		return verb_stats_classes(call);
	if (call->words[0])
		return answer_say(ANSWER_USAGE, "stats of \"%s\" alone need --classes",
				  call->words[0]);
	answer = snapshot_new(&snapshot, call->socket);
	if (answer)
		return answer;
	if (snapshot->writer == SNAPSHOT_DEAD)
		return answer_say(ANSWER_UNREACHABLE,
				  "%s.stats: left by a daemon that is dead (pid %" PRIu32
				  "), %" PRIu64 ".%" PRIu64 " s ago",
				  call->socket, snapshot->pid, snapshot->age_ms / 1000,
				  snapshot->age_ms % 1000 / 100);
	copy = &snapshot->copy;
	spaces = space_lines_new(copy);
	clients = client_lines_new(copy);
	shares = spaces ? share_lines_new(copy, spaces) : NULL;
	if (!spaces || !clients || !shares)
		return answer_say(ANSWER_FAILED, "%s", strerror(ENOMEM));

	if (page->form == TABLE_JSON)
		daemon_print(call, snapshot);
	table_rows(page, "spaces", space_columns, ARRAY_SIZE(space_columns), spaces,
		   copy->n_spaces, sizeof(*spaces));
	table_rows(page, "nodes", node_columns, ARRAY_SIZE(node_columns), copy->nodes,
		   copy->n_nodes, sizeof(*copy->nodes));
	/* Where there is one node, there is no more to say. */
	if (copy->n_nodes > 1 || page->form == TABLE_JSON)
		table_rows(page, "shares", share_columns, ARRAY_SIZE(share_columns), shares,
			   copy->n_shares, sizeof(*shares));
	answer = caches_print(call, snapshot);
	if (answer)
		return answer;
	table_rows(page, "clients", client_columns, ARRAY_SIZE(client_columns), clients,
		   copy->n_clients, sizeof(*clients));
	table_record(page, "totals", total_columns, ARRAY_SIZE(total_columns), copy);
	table_record(page, "failures", failure_columns, ARRAY_SIZE(failure_columns),
		     &copy->failures);
	notice(call, snapshot);
	return ANSWER_OK;
}
