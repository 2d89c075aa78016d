/*
 * stats --classes - what sessions lease, and what of it is in use and cached, by size of block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct class_line {
	uint64_t session, pid, space, size, leased, live, cached, blocks;
	char client[64];
	char name[SPACE_NAME_MAX + 1];
	char kind[16];
	char class[32]; /* both in one */
};

#define CLASS(field, title, show) TABLE_COLUMN(struct class_line, field, title, #field, show)
#define CLASS_COLUMNS                                                                 \
	CLASS(class, "CLASS", SHOW_TEXT), CLASS(kind, NULL, SHOW_TEXT),               \
		CLASS(size, NULL, SHOW_COUNT), CLASS(leased, "LEASED", SHOW_BYTES),   \
		CLASS(live, "LIVE", SHOW_BYTES), CLASS(cached, "CACHED", SHOW_BYTES), \
		CLASS(blocks, "BLOCKS", SHOW_COUNT)

static const struct table_column space_columns[] = {
	CLASS(name, "SPACE", SHOW_TEXT),
	CLASS(space, NULL, SHOW_COUNT),
	CLASS_COLUMNS,
};

static const struct table_column client_columns[] = {
	CLASS(session, "CLIENT", SHOW_COUNT), CLASS(pid, "PID", SHOW_COUNT),
	CLASS(client, "NAME", SHOW_TEXT),     CLASS(name, "SPACE", SHOW_TEXT),
	CLASS(space, NULL, SHOW_COUNT),       CLASS_COLUMNS,
};

static void line_fill(void *to, const void *from)
{
	const struct wire_block_row *row = from;
	struct class_line *line = to;

	*line = (struct class_line){
		.session = row->session,
		.pid = row->pid,
		.space = row->space,
		.size = row->size,
		.leased = row->leased,
		.live = row->live,
		.cached = row->cached,
		.blocks = row->blocks,
	};
	wire_str_copy(line->client, sizeof(line->client), row->name);
	wire_str_copy(line->name, sizeof(line->name), row->space_name);
	wire_str_copy(line->kind, sizeof(line->kind), row->kind);
	if (!row->size)
		snprintf(line->class, sizeof(line->class), "%s", line->kind);
	else
		snprintf(line->class, sizeof(line->class), "%" PRIu64 "%s", row->size,
			 strcmp(line->kind, "shared") ? "" : " shared");
}

/* Whose lines they are stands in the first of each: that of all. */
static void names_spread(struct class_line *lines, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct class_line *line = &lines[i];

		if (!strcmp(line->kind, "all") || line->session != line[-1].session ||
		    line->space != line[-1].space)
			continue;
		line->pid = line[-1].pid;
		memcpy(line->client, line[-1].client, sizeof(line->client));
		memcpy(line->name, line[-1].name, sizeof(line->name));
	}
}

/* By the space's name, or the client's number. */
static size_t lines_select(struct class_line *lines, size_t n, const char *what)
{
	char number[24];
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		snprintf(number, sizeof(number), "%" PRIu64, lines[i].session);
		if (!strcmp(lines[i].name, what) || !strcmp(number, what))
			lines[kept++] = lines[i];
	}
	return kept;
}

static int rank(const struct class_line *line)
{
	static const char *const kinds[] = {"all", "extents", "spare", "private", "shared"};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds) && strcmp(line->kind, kinds[i]); i++)
		;
	return (int)i;
}

static int line_compare(const void *left, const void *right)
{
	const struct class_line *a = left, *b = right;

	if (a->space != b->space)
		return a->space < b->space ? -1 : 1;
	if (rank(a) != rank(b))
		return rank(a) - rank(b);
	return a->size == b->size ? 0 : a->size < b->size ? -1 : 1;
}

/* The same of each space, whoever has it. How many lines there are. */
static size_t lines_join(struct class_line *lines, size_t n)
{
	size_t last = 0;

	if (!n)
		return 0;
	qsort(lines, n, sizeof(*lines), line_compare);
	for (size_t i = 1; i < n; i++) {
		if (line_compare(&lines[last], &lines[i])) {
			lines[++last] = lines[i];
			continue;
		}
		lines[last].leased += lines[i].leased;
		lines[last].live += lines[i].live;
		lines[last].cached += lines[i].cached;
		lines[last].blocks += lines[i].blocks;
	}
	return last + 1;
}

enum answer verb_stats_classes(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) struct class_line *joined = NULL;
	_cleanup_(freep) void *rows = NULL;
	const char *what = call->words[0];
	struct class_line *lines;
	enum answer answer;
	size_t n, n_joined;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_list(link, "stats", WIRE_CLIENT_BLOCKS, sizeof(*lines), line_fill,
				   &rows, &n);
	if (answer)
		return answer;
	lines = rows;
	names_spread(lines, n);
	if (what)
		n = lines_select(lines, n, what);
	if (what && !n)
		return answer_say(ANSWER_NOT_FOUND,
				  "no client has a space \"%s\" open, nor is that one's number",
				  what);
	joined = calloc(n + 1, sizeof(*joined));
	if (!joined)
		return answer_say(ANSWER_FAILED, "%s", strerror(ENOMEM));
	memcpy(joined, lines, n * sizeof(*joined));
	n_joined = lines_join(joined, n);
	table_rows(&call->page, "spaces", space_columns, ARRAY_SIZE(space_columns), joined,
		   n_joined, sizeof(*joined));
	table_rows(&call->page, "clients", client_columns, ARRAY_SIZE(client_columns), lines, n,
		   sizeof(*lines));
	return ANSWER_OK;
}
