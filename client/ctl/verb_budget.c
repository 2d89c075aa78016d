/*
 * budget - what spaces may have, and have; change what one may have.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct budget_line {
	char name[SPACE_NAME_MAX + 1];
	uint64_t used, committed, limit, reserve, client_limit, weight;
	bool removed;
};

/* The budget above those of the spaces. */
struct region_line {
	uint64_t region, used, committed, limits, reserves;
};

static const struct table_column columns[] = {
#define BUDGET(field, title, show) TABLE_COLUMN(struct budget_line, field, title, #field, show)
	BUDGET(name, "SPACE", SHOW_TEXT),
	BUDGET(used, "USED", SHOW_BYTES),
	BUDGET(committed, "COMMITTED", SHOW_BYTES),
	BUDGET(limit, "LIMIT", SHOW_BYTES),
	BUDGET(reserve, "RESERVE", SHOW_BYTES),
	BUDGET(client_limit, "CLIENT LIMIT", SHOW_BYTES),
	BUDGET(weight, "WEIGHT", SHOW_COUNT),
	BUDGET(removed, NULL, SHOW_YES_NO),
#undef BUDGET
};

static const struct table_column region_columns[] = {
#define REGION(field, title) TABLE_COLUMN(struct region_line, field, title, #field, SHOW_BYTES)
	REGION(region, "REGION"),
	REGION(used, "USED"),
	REGION(committed, "COMMITTED"),
	REGION(limits, "LIMITS TOGETHER"),
	REGION(reserves, "RESERVES TOGETHER"),
#undef REGION
};

static void line_fill(void *to, const void *from)
{
	const struct wire_space_row *row = from;
	struct budget_line *line = to;

	*line = (struct budget_line){
		.used = row->used,
		.committed = row->committed,
		.limit = row->limit,
		.reserve = row->reserve,
		.client_limit = row->client_limit,
		.weight = row->weight,
		.removed = row->removed,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
}

static enum answer line_find(struct link *link, const char *what, const char *name,
			     struct budget_line *ret)
{
	_cleanup_(freep) void *lines = NULL;
	const struct budget_line *line;
	enum answer answer;
	size_t n;

	if (strlen(name) > SPACE_NAME_MAX || !wire_str_is_clean(wire_str(name)))
		return answer_say(ANSWER_USAGE,
				  "%s: the name of a space is 1 to %d of A-Z a-z 0-9 . _ -",
				  what, SPACE_NAME_MAX);
	answer = link_list(link, what, WIRE_SPACE_LIST, sizeof(*line), line_fill, &lines, &n);
	if (answer)
		return answer;
	for (line = lines; n--; line++) {
		if (strcmp(line->name, name))
			continue;
		*ret = *line;
		return ANSWER_OK;
	}
	return answer_say(ANSWER_NOT_FOUND,
			  "%s: no space \"%s\"; \"varbosctl spaces\" shows which there are",
			  what, name);
}

static enum answer get_all(struct call *call, struct link *link)
{
	_cleanup_(freep) void *lines = NULL;
	const struct wire_empty empty = {};
	const struct wire_daemon_status *status;
	struct region_line region = {};
	const struct budget_line *line;
	const void *result;
	enum answer answer;
	size_t n;

	answer = link_list(link, "budget get", WIRE_SPACE_LIST, sizeof(*line), line_fill,
			   &lines, &n);
	if (!answer)
		answer = link_ask(link, "budget get", WIRE_STATUS, &empty, &result);
	if (answer)
		return answer;
	status = result;
	region.region = status->region;
	region.used = status->used;
	region.committed = status->committed;
	line = lines;
	for (size_t i = 0; i < n; i++) {
		region.limits += line[i].limit;
		region.reserves += line[i].reserve;
	}
	table_rows(&call->page, "spaces", columns, ARRAY_SIZE(columns), lines, n,
		   sizeof(*line));
	table_record(&call->page, "region", region_columns, ARRAY_SIZE(region_columns),
		     &region);
	return ANSWER_OK;
}

/* A limit below what is used is kept to from now on; say so, since it looks as if it were not. */
static void line_show(struct call *call, const struct budget_line *line)
{
	char used[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];

	table_rows(&call->page, "spaces", columns, ARRAY_SIZE(columns), line, 1, sizeof(*line));
	if (line->used > line->limit)
		snprintf(call->notice, sizeof(call->notice),
			 "%s uses %s of %s: nothing is taken away, and nothing more is given "
			 "until enough has come back",
			 line->name, size_format(used, sizeof(used), line->used),
			 size_format(limit, sizeof(limit), line->limit));
}

enum answer verb_budget_get(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	struct budget_line line;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (answer)
		return answer;
	if (!call->words[0])
		return get_all(call, link);
	answer = line_find(link, "budget get", call->words[0], &line);
	if (!answer)
		line_show(call, &line);
	return answer;
}

/* "64M", or "+64M" and "-64M" from what it is now. */
static enum answer value_set(const struct options *options, enum option option, uint64_t bit,
			     uint64_t now, struct wire_space_change *change, uint64_t *value)
{
	const char *name = option_infos[option].name;
	char text[SIZE_TEXT_MAX];

	if (!options->given[option])
		return ANSWER_OK;
	change->set |= bit;
	*value = options->number[option];
	if (*options->text[option] == '+' && !u64_add(now, *value, value))
		return answer_say(ANSWER_USAGE, "--%s: %s is too much", name,
				  options->text[option]);
	if (*options->text[option] == '-') {
		if (*value > now)
			return answer_say(ANSWER_USAGE, "--%s: %s from %s leaves nothing", name,
					  options->text[option],
					  size_format(text, sizeof(text), now));
		*value = now - *value;
	}
	return ANSWER_OK;
}

enum answer verb_budget_set(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	const struct options *options = call->options;
	struct wire_space_change change = {.name = wire_str(call->words[0])};
	struct budget_line line;
	const void *result;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = line_find(link, "budget set", call->words[0], &line);
	if (!answer)
		answer = value_set(options, OPTION_LIMIT, SPACE_SET_LIMIT, line.limit, &change,
				   &change.limit);
	if (!answer)
		answer = value_set(options, OPTION_RESERVE, SPACE_SET_RESERVE, line.reserve,
				   &change, &change.reserve);
	if (!answer)
		answer = value_set(options, OPTION_CLIENT_LIMIT, SPACE_SET_CLIENT_LIMIT,
				   line.client_limit, &change, &change.client_limit);
	if (answer)
		return answer;
	if (options->given[OPTION_WEIGHT]) {
		change.set |= SPACE_SET_WEIGHT;
		change.weight = options->number[OPTION_WEIGHT];
	}
	if (!change.set)
		return answer_say(ANSWER_USAGE,
				  "budget set: nothing to set; there are --limit, "
				  "--reserve, --client-limit and --weight");

	answer = link_ask(link, "budget set", WIRE_SPACE_CHANGE, &change, &result);
	if (!answer)
		answer = line_find(link, "budget set", call->words[0], &line);
	if (!answer)
		line_show(call, &line);
	return answer;
}
