/*
 * who - who holds a block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct space_line {
	char name[SPACE_NAME_MAX + 1];
};

struct who_line {
	char space[SPACE_NAME_MAX + 1], state[16], kind[16], where[24], holder[160];
	char name[64], channel[CHANNEL_NAME_MAX + 1], cache[CACHE_NAME_MAX + 1];
	uint64_t offset, size, id, pid, uid, session, owner;
	bool dead;
};

static const struct table_column columns[] = {
#define WHO(field, title, show) TABLE_COLUMN(struct who_line, field, title, #field, show)
	WHO(space, "SPACE", SHOW_TEXT), WHO(where, "BLOCK", SHOW_TEXT),
	WHO(size, "SIZE", SHOW_BYTES),  WHO(kind, "KIND", SHOW_TEXT),
	WHO(state, "STATE", SHOW_TEXT), WHO(holder, "HOLDER", SHOW_TEXT),
	WHO(offset, NULL, SHOW_COUNT),  WHO(id, NULL, SHOW_COUNT),
	WHO(session, NULL, SHOW_COUNT), WHO(pid, NULL, SHOW_COUNT),
	WHO(uid, NULL, SHOW_COUNT),     WHO(name, NULL, SHOW_TEXT),
	WHO(channel, NULL, SHOW_TEXT),  WHO(dead, NULL, SHOW_YES_NO),
	WHO(owner, NULL, SHOW_COUNT),   WHO(cache, NULL, SHOW_TEXT),
#undef WHO
};

struct asked {
	uint64_t ref;
	char what[40]; /* how it begins on stderr */
	struct who_line *lines;
	size_t n_lines, closed; /* spaces that may not be opened */
};

static enum answer ref_parse(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 0);
	if (errno || !*text || *end || strchr(text, '-') || !ref_tag(*ret))
		return answer_say(ANSWER_USAGE,
				  "%s: a reference is a number of 64 bits as varbos_ref_of() "
				  "gives it, 0x... or decimal",
				  text);
	return ANSWER_OK;
}

/* For people; what is in it stands in other members of the JSON object. */
static void holder_format(struct who_line *line)
{
	if (*line->channel)
		snprintf(line->holder, sizeof(line->holder), "channel %s", line->channel);
	else if (line->pid)
		snprintf(line->holder, sizeof(line->holder), "pid %" PRIu64 "%s%s%s%s",
			 line->pid, *line->name ? " (" : "", line->name, *line->name ? ")" : "",
			 line->dead ? ", which has ended" : "");
	else if (line->id)
		snprintf(line->holder, sizeof(line->holder), "id %" PRIu64 ", which %s",
			 line->id, line->dead ? "has ended" : "nobody has");
	else if (*line->cache)
		snprintf(line->holder, sizeof(line->holder), "cache %s", line->cache);
	else if (!strcmp(line->state, "sent"))
		strcpy(line->holder, "anyone");
	else
		strcpy(line->holder, "the space");
}

static void line_fill(struct who_line *line, const char *space,
		      const struct wire_block_holder *from)
{
	*line = (struct who_line){
		.offset = from->offset,
		.size = from->size,
		.id = from->id,
		.pid = from->pid,
		.uid = from->uid,
		.session = from->session,
		.owner = from->owner,
		.dead = from->dead,
	};
	snprintf(line->space, sizeof(line->space), "%s", space);
	snprintf(line->where, sizeof(line->where), "%#" PRIx64, from->offset);
	wire_str_copy(line->state, sizeof(line->state), from->state);
	wire_str_copy(line->kind, sizeof(line->kind), from->kind);
	wire_str_copy(line->name, sizeof(line->name), from->name);
	wire_str_copy(line->channel, sizeof(line->channel), from->channel);
	wire_str_copy(line->cache, sizeof(line->cache), from->cache);
	holder_format(line);
}

/* `only`: there is no other, so what is refused is the answer. */
static enum answer space_ask(struct link *link, struct asked *asked, const char *space,
			     bool only)
{
	const struct wire_space_open open = {.name = wire_str(space), .read_only = true};
	const struct wire_fault *fault;
	struct wire_space_handle handle;
	struct wire_block_who who = {.ref = asked->ref};
	const void *result;
	enum answer answer;

	answer = link_try(link, asked->what, WIRE_SPACE_OPEN, &open, &result, &fault);
	if (!answer && !result && only)
		return answer_fault(asked->what, fault);
	if (answer || !result) {
		asked->closed += !answer;
		return answer;
	}
	who.space = handle.space = ((const struct wire_space_opened *)result)->space;
	answer = link_try(link, asked->what, WIRE_BLOCK_WHO, &who, &result, &fault);
	if (!answer && !result && only)
		return answer_fault(asked->what, fault);
	if (answer)
		return answer;
	if (result)
		line_fill(&asked->lines[asked->n_lines++], space, result);
	return link_ask(link, asked->what, WIRE_SPACE_CLOSE, &handle, &result);
}

static void name_fill(void *to, const void *from)
{
	struct space_line *line = to;

	wire_str_copy(line->name, sizeof(line->name),
		      ((const struct wire_space_row *)from)->name);
}

static enum answer all_ask(struct link *link, struct asked *asked)
{
	_cleanup_(freep) void *lines = NULL;
	const struct space_line *spaces;
	enum answer answer;
	size_t n;

	answer = link_list(link, asked->what, WIRE_SPACE_LIST, sizeof(*spaces), name_fill,
			   &lines, &n);
	if (answer)
		return answer;
	asked->lines = calloc(n + 1, sizeof(*asked->lines));
	if (!asked->lines)
		return answer_say(ANSWER_FAILED, "%s: %s", asked->what, strerror(ENOMEM));
	spaces = lines;
	for (size_t i = 0; !answer && i < n; i++)
		answer = space_ask(link, asked, spaces[i].name, false);
	if (answer || asked->n_lines)
		return answer;
	if (asked->closed)
		return answer_say(ANSWER_FAILED,
				  "%s: there is no such block in the spaces that you may open; "
				  "%zu of %zu you may not",
				  asked->what, asked->closed, n);
	return answer_say(ANSWER_FAILED, "%s: there is no such block in any space",
			  asked->what);
}

enum answer verb_who(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) struct who_line *lines = NULL;
	struct asked asked = {};
	const char *space = call->words[1];
	enum answer answer;

	answer = ref_parse(call->words[0], &asked.ref);
	if (answer)
		return answer;
	if (space && (strlen(space) > SPACE_NAME_MAX || !wire_str_is_clean(wire_str(space))))
		return answer_say(ANSWER_USAGE,
				  "who: the name of a space is 1 to %d of A-Z a-z 0-9 . _ -",
				  SPACE_NAME_MAX);
	snprintf(asked.what, sizeof(asked.what), "who %#" PRIx64, asked.ref);
	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer && space) {
		asked.lines = calloc(1, sizeof(*asked.lines));
		answer = asked.lines ? space_ask(link, &asked, space, true)
				     : answer_say(ANSWER_FAILED, "%s: %s", asked.what,
						  strerror(ENOMEM));
	} else if (!answer) {
		answer = all_ask(link, &asked);
	}
	lines = asked.lines;
	if (!answer)
		table_rows(&call->page, "blocks", columns, ARRAY_SIZE(columns), lines,
			   asked.n_lines, sizeof(*lines));
	return answer;
}
