/*
 * spaces - which there are; create one, remove one, say who may use it.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "base/numa.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct space_line {
	char name[SPACE_NAME_MAX + 1];
	char placement[32];
	uint64_t space, uid, gid, mode, used, committed, limit, reserve, client_limit, weight,
		sessions, page;
	bool removed;
};

static const struct table_column columns[] = {
#define SPACE(field, title, show) TABLE_COLUMN(struct space_line, field, title, #field, show)
	SPACE(name, "SPACE", SHOW_TEXT),
	SPACE(space, NULL, SHOW_COUNT),
	SPACE(uid, "OWNER", SHOW_USER),
	SPACE(gid, "GROUP", SHOW_GROUP),
	SPACE(mode, "MODE", SHOW_MODE),
	SPACE(used, "USED", SHOW_BYTES),
	SPACE(committed, "COMMITTED", SHOW_BYTES),
	SPACE(limit, "LIMIT", SHOW_BYTES),
	SPACE(reserve, "RESERVE", SHOW_BYTES),
	SPACE(client_limit, "CLIENT LIMIT", SHOW_BYTES),
	SPACE(weight, "WEIGHT", SHOW_COUNT),
	SPACE(sessions, "CLIENTS", SHOW_COUNT),
	SPACE(placement, "PLACEMENT", SHOW_TEXT),
	SPACE(page, "PAGE", SHOW_BYTES),
	SPACE(removed, "REMOVED", SHOW_YES_NO),
#undef SPACE
};

static void line_fill(void *to, const void *from)
{
	const struct wire_space_row *row = from;
	struct space_line *line = to;

	*line = (struct space_line){
		.space = row->space,
		.uid = row->uid,
		.gid = row->gid,
		.mode = row->mode,
		.used = row->used,
		.committed = row->committed,
		.limit = row->limit,
		.reserve = row->reserve,
		.client_limit = row->client_limit,
		.weight = row->weight,
		.sessions = row->sessions,
		.page = row->page,
		.removed = row->removed,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
	wire_str_copy(line->placement, sizeof(line->placement), row->placement);
}

enum answer verb_spaces(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) void *lines = NULL;
	enum answer answer;
	size_t n_lines;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_list(link, "spaces", WIRE_SPACE_LIST, sizeof(struct space_line),
				   line_fill, &lines, &n_lines);
	if (answer)
		return answer;
	table_rows(&call->page, "spaces", columns, ARRAY_SIZE(columns), lines, n_lines,
		   sizeof(struct space_line));
	return ANSWER_OK;
}

enum answer verb_spaces_create(struct call *call)
{
	static const struct table_column created[] = {
		TABLE_COLUMN(struct wire_space_handle, space, NULL, "space", SHOW_COUNT),
	};
	_cleanup_(link_freep) struct link *link = NULL;
	const struct options *options = call->options;
	struct numa numa = {};
	struct wire_space_create create = {
		.name = wire_str(call->words[0]),
		.limit = options->number[OPTION_LIMIT],
		.reserve = options->number[OPTION_RESERVE],
		.client_limit = options->number[OPTION_CLIENT_LIMIT],
		.weight = options->number[OPTION_WEIGHT],
		.mode = options->number[OPTION_MODE],
		.placement = wire_str(options->given[OPTION_PLACEMENT]
					      ? options->text[OPTION_PLACEMENT]
					      : ""),
	};
	static const enum option not_zero[] = {OPTION_LIMIT, OPTION_CLIENT_LIMIT, OPTION_WEIGHT,
					       OPTION_MODE};
	const void *result;
	enum answer answer;

	if (options->given[OPTION_NUMA] && !numa_parse(options->text[OPTION_NUMA], &numa))
		return answer_say(ANSWER_USAGE,
				  "--numa: '%s' is none of default, local, bind:NODES, "
				  "interleave:NODES, preferred:NODES (NODES: 0,2-3)",
				  options->text[OPTION_NUMA]);
	create.numa = wire_str(numa.kind ? numa_kind_name(numa.kind) : "");
	create.nodes = numa.nodes;

	for (enum option option = OPTION_LIMIT; option <= OPTION_CLIENT_LIMIT; option++)
		if (options->given[option] && strchr("+-", *options->text[option]))
			return answer_say(ANSWER_USAGE,
					  "--%s: a new space has nothing to add %s to",
					  option_infos[option].name, options->text[option]);
	/* To the daemon 0 is "as you see fit", which is not what someone who writes 0 means. */
	for (size_t i = 0; i < ARRAY_SIZE(not_zero); i++)
		if (options->given[not_zero[i]] && !options->number[not_zero[i]])
			return answer_say(ANSWER_USAGE, "--%s: may not be 0",
					  option_infos[not_zero[i]].name);

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(link, "spaces create", WIRE_SPACE_CREATE, &create, &result);
	if (!answer)
		table_record(&call->page, NULL, created, ARRAY_SIZE(created), result);
	return answer;
}

enum answer verb_spaces_remove(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	const struct wire_space_remove removal = {
		.name = wire_str(call->words[0]),
		.force = call->options->given[OPTION_FORCE],
	};
	const void *result;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(link, "spaces remove", WIRE_SPACE_REMOVE, &removal, &result);
	return answer;
}

static enum answer change_ask(struct call *call, const char *what,
			      const struct wire_space_change *change)
{
	_cleanup_(link_freep) struct link *link = NULL;
	const void *result;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(link, what, WIRE_SPACE_CHANGE, change, &result);
	return answer;
}

enum answer verb_spaces_chmod(struct call *call)
{
	struct wire_space_change change = {
		.name = wire_str(call->words[1]),
		.set = SPACE_SET_MODE,
	};

	if (!mode_parse(call->words[0], &change.mode) || change.mode > 0777)
		return answer_say(ANSWER_USAGE,
				  "spaces chmod: \"%.60s\" is no mode: three octal digits for "
				  "owner, group and others, as in 0640 (4 reads, 2 writes)",
				  call->words[0]);
	return change_ask(call, "spaces chmod", &change);
}

static bool id_parse(const char *text, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtoull(text, &end, 10);
	if (*end || value >= UINT32_MAX)
		return false;
	*ret = value;
	return true;
}

/* "USER", "USER:GROUP", ":GROUP", "USER:" (with the user's own group); names or numbers. */
static enum answer owner_parse(char *text, struct wire_space_change *change)
{
	char *group_text = strchr(text, ':');
	const struct passwd *user = NULL;
	const struct group *group;

	if (group_text)
		*group_text++ = '\0';
	if (*text) {
		user = getpwnam(text);
		if (user)
			change->uid = user->pw_uid;
		else if (!id_parse(text, &change->uid))
			return answer_say(ANSWER_USAGE,
					  "spaces chown: this machine has no user \"%.60s\"; a "
					  "name of /etc/passwd or a number is wanted",
					  text);
		change->set |= SPACE_SET_UID;
	}
	if (group_text && !*group_text) {
		if (!user)
			return answer_say(ANSWER_USAGE,
					  "spaces chown: whose group? USER[:GROUP] "
					  "is wanted, USER by name if GROUP is "
					  "left out behind the colon");
		change->gid = user->pw_gid;
		change->set |= SPACE_SET_GID;
	} else if (group_text) {
		group = getgrnam(group_text);
		if (group)
			change->gid = group->gr_gid;
		else if (!id_parse(group_text, &change->gid))
			return answer_say(
				ANSWER_USAGE,
				"spaces chown: this machine has no group \"%.60s\"; a "
				"name of /etc/group or a number is wanted",
				group_text);
		change->set |= SPACE_SET_GID;
	}
	if (!change->set)
		return answer_say(ANSWER_USAGE, "spaces chown: neither USER nor GROUP is said");
	return ANSWER_OK;
}

enum answer verb_spaces_chown(struct call *call)
{
	struct wire_space_change change = {.name = wire_str(call->words[1])};
	_cleanup_(freep) char *text = strdup(call->words[0]);
	enum answer answer;

	if (!text)
		return answer_say(ANSWER_FAILED, "%s", strerror(ENOMEM));
	answer = owner_parse(text, &change);
	return answer ? answer : change_ask(call, "spaces chown", &change);
}
