/*
 * ping - how long an answer takes.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client/ctl/link.h"
#include "client/ctl/verb.h"

enum { PINGS_DEFAULT = 100, PINGS_MAX = 1000000 };

struct ping_line {
	uint64_t count, min_ns, median_ns, max_ns;
};

static const struct table_column columns[] = {
#define PING(field, title, show) TABLE_COLUMN(struct ping_line, field, title, #field, show)
	PING(count, "PINGS", SHOW_COUNT),
	PING(min_ns, "MIN", SHOW_NS),
	PING(median_ns, "MEDIAN", SHOW_NS),
	PING(max_ns, "MAX", SHOW_NS),
#undef PING
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int u64_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static enum answer ping_once(struct link *link, uint64_t token, uint64_t *ret_ns)
{
	const struct wire_ping ping = {.token = token};
	const struct wire_ping *pong;
	uint64_t start = now_ns();
	const void *result;
	enum answer answer;

	answer = link_ask(link, "ping", WIRE_PING, &ping, &result);
	if (answer)
		return answer;
	pong = result;
	if (pong->token != token)
		return answer_say(ANSWER_FAILED,
				  "ping: the answer belongs to another question");
	*ret_ns = now_ns() - start;
	return ANSWER_OK;
}

enum answer verb_ping(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) uint64_t *times = NULL;
	uint64_t count = PINGS_DEFAULT;
	struct ping_line line;
	enum answer answer;

	if (call->options->given[OPTION_COUNT])
		count = call->options->number[OPTION_COUNT];
	if (!count || count > PINGS_MAX)
		return answer_say(ANSWER_USAGE, "--count: from 1 to %d", PINGS_MAX);
	times = calloc(count, sizeof(*times));
	if (!times)
		return answer_say(ANSWER_FAILED, "ping: %s", strerror(ENOMEM));

	answer = link_new(&link, call->socket, call->timeout_ms);
	for (uint64_t i = 0; !answer && i < count; i++)
		answer = ping_once(link, i + 1, &times[i]);
	if (answer)
		return answer;

	qsort(times, count, sizeof(*times), u64_order);
	line = (struct ping_line){
		.count = count,
		.min_ns = times[0],
		.median_ns = times[count / 2],
		.max_ns = times[count - 1],
	};
	table_record(&call->page, NULL, columns, ARRAY_SIZE(columns), &line);
	return ANSWER_OK;
}
