/*
 * status - the daemon about itself.
 */
#include <stdio.h>

#include "base/size.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"

enum { STINTS_SHOWN = 3 };

struct status_line {
	char version[64];
	uint64_t pid, uid, epoch, uptime_ms;
	uint64_t region, committed, used, page;
	char pages_why[256];
	uint64_t spaces, sessions;
	bool isolates;
	char refused[512]; /* "limits.waiting 3", by spaces */
	uint64_t dropped;
	char large[160]; /* of the region, by spaces */
	uint64_t large_page, large_region, large_committed, large_from;
	char stints[256]; /* "212 us: caches, 180 us: lanes", the longest first */
	uint64_t stint_longest_ns, stints_late;
};

static const struct table_column columns[] = {
#define STATUS(field, title, show) TABLE_COLUMN(struct status_line, field, title, #field, show)
	STATUS(version, "VERSION", SHOW_TEXT),
	STATUS(pid, "PID", SHOW_COUNT),
	STATUS(uid, "USER", SHOW_USER),
	STATUS(epoch, "EPOCH", SHOW_COUNT),
	STATUS(uptime_ms, "UP", SHOW_MS),
	STATUS(region, "REGION", SHOW_BYTES),
	STATUS(committed, "COMMITTED", SHOW_BYTES),
	STATUS(used, "USED", SHOW_BYTES),
	STATUS(page, "PAGE", SHOW_BYTES),
	STATUS(large, "LARGE PAGES", SHOW_TEXT),
	STATUS(pages_why, "SMALL PAGES BECAUSE", SHOW_TEXT),
	STATUS(spaces, "SPACES", SHOW_COUNT),
	STATUS(sessions, "CLIENTS", SHOW_COUNT),
	STATUS(isolates, "ISOLATES USERS", SHOW_YES_NO),
	STATUS(refused, "REFUSED BY LIMITS", SHOW_TEXT),
	STATUS(dropped, "DROPPED", SHOW_COUNT),
	STATUS(stints, "LOOP KEPT FOR", SHOW_TEXT),
	STATUS(stint_longest_ns, NULL, SHOW_COUNT),
	STATUS(stints_late, "MORE THAN 500 us", SHOW_COUNT),
	STATUS(large_page, NULL, SHOW_BYTES),
	STATUS(large_region, NULL, SHOW_BYTES),
	STATUS(large_committed, NULL, SHOW_BYTES),
	STATUS(large_from, NULL, SHOW_BYTES),
#undef STATUS
};

/* Those that ever refused anything, and how often. */
static void print_refused(char *ret, size_t size, const struct wire_list *limits)
{
	const struct wire_limit_row *rows = limits->rows;
	size_t n = 0;

	*ret = '\0';
	for (uint32_t i = 0; i < limits->count && n < size; i++) {
		char key[64];
		int more;

		if (!rows[i].refused)
			continue;
		wire_str_copy(key, sizeof(key), rows[i].key);
		more = snprintf(ret + n, size - n, "%s%s %llu", n ? ", " : "", key,
				(unsigned long long)rows[i].refused);
		n += more > 0 ? (size_t)more : 0;
	}
}

/* Nothing, if all of the region has pages of one size. */
static void print_large(char *ret, size_t size, const struct wire_daemon_status *status)
{
	char page[SIZE_TEXT_MAX], region[SIZE_TEXT_MAX], committed[SIZE_TEXT_MAX];
	char from[SIZE_TEXT_MAX];

	*ret = '\0';
	if (!status->large_page)
		return;
	size_format(page, sizeof(page), status->large_page);
	size_format(region, sizeof(region), status->large_region);
	size_format(committed, sizeof(committed), status->large_committed);
	size_format(from, sizeof(from), status->large_from);
	snprintf(ret, size, "%s in pages of %s, %s committed, for spaces of %s and more",
		 region, page, committed, from);
}

/* How long the daemon's loop was kept by one thing, for the longest ones of them. */
static void print_stints(struct status_line *line, const struct wire_list *stints)
{
	const struct wire_stint_row *rows = stints->rows;
	uint64_t before = UINT64_MAX;
	size_t n = 0;

	for (uint32_t shown = 0; shown < STINTS_SHOWN; shown++) {
		const struct wire_stint_row *next = NULL;
		char name[32];
		int more;

		for (uint32_t i = 0; i < stints->count; i++)
			if (rows[i].longest < before &&
			    (!next || rows[i].longest > next->longest))
				next = &rows[i];
		if (!next || !next->longest || n >= sizeof(line->stints))
			break;
		before = next->longest;
		wire_str_copy(name, sizeof(name), next->name);
		more = snprintf(line->stints + n, sizeof(line->stints) - n, "%s%llu us: %s",
				n ? ", " : "", (unsigned long long)next->longest / 1000, name);
		n += more > 0 ? (size_t)more : 0;
	}
	for (uint32_t i = 0; i < stints->count; i++) {
		line->stints_late += rows[i].late;
		if (rows[i].longest > line->stint_longest_ns)
			line->stint_longest_ns = rows[i].longest;
	}
}

enum answer verb_status(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	const struct wire_empty empty = {};
	const struct wire_daemon_status *status;
	struct status_line line;
	const void *result;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(link, "status", WIRE_STATUS, &empty, &result);
	if (answer)
		return answer;

	status = result;
	line = (struct status_line){
		.pid = status->pid,
		.uid = status->uid,
		.epoch = status->epoch,
		.uptime_ms = status->uptime_ms,
		.region = status->region,
		.committed = status->committed,
		.used = status->used,
		.page = status->page,
		.spaces = status->spaces,
		.sessions = status->sessions,
		.isolates = status->isolates,
		.dropped = status->dropped,
		.large_page = status->large_page,
		.large_region = status->large_region,
		.large_committed = status->large_committed,
		.large_from = status->large_from,
	};
	wire_str_copy(line.version, sizeof(line.version), status->version);
	wire_str_copy(line.pages_why, sizeof(line.pages_why), status->pages_why);
	print_large(line.large, sizeof(line.large), status);
	print_stints(&line, &status->stints);
	print_refused(line.refused, sizeof(line.refused), &status->limits);
	table_record(&call->page, NULL, columns, ARRAY_SIZE(columns), &line);
	return ANSWER_OK;
}
