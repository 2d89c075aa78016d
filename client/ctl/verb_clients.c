/*
 * clients - who is connected.
 */
#include "client/ctl/link.h"
#include "client/ctl/verb.h"

struct client_line {
	char name[64];
	uint64_t session, pid, uid, spaces, used, live, cached, pinned;
	bool absent;
};

static const struct table_column columns[] = {
#define CLIENT(field, title, show) TABLE_COLUMN(struct client_line, field, title, #field, show)
	CLIENT(session, "CLIENT", SHOW_COUNT), CLIENT(pid, "PID", SHOW_COUNT),
	CLIENT(uid, "USER", SHOW_USER),        CLIENT(name, "NAME", SHOW_TEXT),
	CLIENT(spaces, "SPACES", SHOW_COUNT),  CLIENT(used, "USED", SHOW_BYTES),
	CLIENT(absent, "ABSENT", SHOW_YES_NO), CLIENT(live, "LIVE", SHOW_BYTES),
	CLIENT(cached, "CACHED", SHOW_BYTES),  CLIENT(pinned, "PINNED", SHOW_BYTES),
#undef CLIENT
};

static void line_fill(void *to, const void *from)
{
	const struct wire_client_row *row = from;
	struct client_line *line = to;

	*line = (struct client_line){
		.session = row->session,
		.pid = row->pid,
		.uid = row->uid,
		.spaces = row->spaces,
		.used = row->used,
		.live = row->used > row->cached ? row->used - row->cached : 0,
		.cached = row->cached,
		.pinned = row->pinned,
		.absent = row->absent,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
}

enum answer verb_clients(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) void *lines = NULL;
	enum answer answer;
	size_t n_lines;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_list(link, "clients", WIRE_CLIENT_LIST,
				   sizeof(struct client_line), line_fill, &lines, &n_lines);
	if (answer)
		return answer;
	table_rows(&call->page, "clients", columns, ARRAY_SIZE(columns), lines, n_lines,
		   sizeof(struct client_line));
	return ANSWER_OK;
}
