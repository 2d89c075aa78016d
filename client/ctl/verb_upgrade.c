/*
 * upgrade - the binary that lies where varbosd was started from takes over, with all that is kept.
 */
#include <string.h>

#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/wire.h"

struct upgrade_line {
	uint64_t pid;
	char before[64], after[64];
};

static const struct table_column columns[] = {
#define UPGRADE(field, title, show) \
	TABLE_COLUMN(struct upgrade_line, field, title, #field, show)
	UPGRADE(pid, "PID", SHOW_COUNT),
	UPGRADE(before, "BEFORE", SHOW_TEXT),
	UPGRADE(after, "AFTER", SHOW_TEXT),
#undef UPGRADE
};

static enum answer ask_version(struct link *link, char *ret, size_t size, uint64_t *ret_pid)
{
	const struct wire_daemon_status *status;
	const struct wire_empty empty = {};
	const void *result;
	enum answer answer;

	answer = link_ask(link, "upgrade", WIRE_STATUS, &empty, &result);
	if (answer)
		return answer;
	status = result;
	wire_str_copy(ret, size, status->version);
	*ret_pid = status->pid;
	return ANSWER_OK;
}

enum answer verb_upgrade(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL, *next = NULL;
	const struct wire_empty empty = {};
	struct upgrade_line line = {};
	enum answer answer;
	uint64_t pid;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = ask_version(link, line.before, sizeof(line.before), &pid);
	if (!answer)
		answer = link_end(link, "upgrade", WIRE_UPGRADE, &empty);
	if (!answer)
		answer = link_new(&next, call->socket, call->timeout_ms);
	if (!answer)
		answer = ask_version(next, line.after, sizeof(line.after), &line.pid);
	if (answer)
		return answer;
	if (line.pid != pid)
		return answer_say(ANSWER_FAILED,
				  "upgrade: pid %llu has ended, and pid %llu serves now",
				  (unsigned long long)pid, (unsigned long long)line.pid);
	table_record(&call->page, NULL, columns, ARRAY_SIZE(columns), &line);
	return ANSWER_OK;
}
