#include "daemon/server/report.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"
#include "proto/size_class.h"

enum {
	KINDS = 2, /* private, shared */
	SPARE = 0, /* and behind it the classes */
	TALLIES = 1 + CLASSES,
	ROWS_OF_SPACE = 2 + KINDS * TALLIES, /* at most: all, extents */
	ROWS = 2 * ROWS_OF_SPACE,
};

/* Nobody has more of anything: sums of such do not overflow. */
#define COUNT_MAX ((uint64_t)UINT32_MAX)

/* A row as it was at some moment. */
struct row {
	uint64_t key, slices, live;
};

static_assert(sizeof(struct row) == sizeof(struct report_row), "copied whole");

/* How many there are; 0 also if they cannot be read. */
static uint32_t rows_read(const struct client *client, struct row ret[REPORT_ROWS],
			  uint64_t *ret_turn)
{
	const struct report *report;
	uint64_t head[2]; /* turn, used */

	*ret_turn = 0;
	if (client->returns.fd < 0)
		return 0;
	report = &client->returns.ring->report;
	if (guard_copy(head, (const void *)&report->turn, sizeof(head)))
		return 0;
	atomic_thread_fence(memory_order_acquire);
	if (!mutant(report_unbounded))
		head[1] = u64_min(head[1], REPORT_ROWS);
	if (guard_copy(ret, report->rows, head[1] * sizeof(*ret)))
		return 0;
	*ret_turn = head[0];
	return (uint32_t)head[1];
}

static uint64_t block_size(uint32_t class_plus_1)
{
	return class_plus_1 == SPARE ? 0 : size_classes[class_plus_1 - 1].size;
}

/* A row that makes sense, cut to what it can be. */
static bool row_check(struct row *row, struct report_key *ret)
{
	uint64_t size;

	*ret = report_key_unpack(row->key);
	if (!row->key || ret->class_plus_1 >= TALLIES)
		return false;
	size = block_size(ret->class_plus_1);
	row->slices = u64_min(row->slices, COUNT_MAX);
	row->live = size ? u64_min(row->live, row->slices * SLICE_BYTES / size) : 0;
	return true;
}

/* ---- sums ---- */

static void sums_add(struct report_sums *sums, uint32_t space, uint64_t cached)
{
	uint32_t i;

	for (i = 0; i < sums->n && sums->of[i].space != space; i++)
		;
	if (i == REPORT_SPACES)
		return;
	if (i == sums->n) {
		sums->of[i].space = space;
		sums->of[i].cached = 0;
		sums->n++;
	}
	sums->of[i].cached += cached;
}

/* Has it changed? */
static bool look(struct client *client)
{
	static struct row rows[REPORT_ROWS];
	struct report_sums sums = {};
	struct report_key key;
	uint64_t turn;
	uint32_t n;

	if (client->returns.fd < 0 ||
	    guard_copy(&turn, (const void *)&client->returns.ring->report.turn, sizeof(turn)) ||
	    turn == client->cached.turn)
		return false;
	n = rows_read(client, rows, &sums.turn);
	for (uint32_t i = 0; i < n; i++)
		if (row_check(&rows[i], &key))
			sums_add(&sums, key.space,
				 rows[i].slices * SLICE_BYTES -
					 rows[i].live * block_size(key.class_plus_1));
	client->cached = sums;
	return true;
}

void reports_look(struct server *server)
{
	bool changed = false;

	for (struct link *at = server->rings.next; at != &server->rings; at = at->next)
		changed |= look(list_entry(at, struct client, in_rings));
	if (changed)
		publisher_touch(server->publisher);
}

uint64_t report_cached_in(const struct client *client, uint32_t i)
{
	uint64_t used;

	if (!core_member_view(client->server->core, client->session, client->cached.of[i].space,
			      &used))
		return 0;
	return u64_min(client->cached.of[i].cached, used);
}

uint64_t report_cached(const struct client *client)
{
	uint64_t cached = 0;

	for (uint32_t i = 0; i < client->cached.n; i++)
		cached += report_cached_in(client, i);
	return cached;
}

/* ---- by class ---- */

struct tally {
	uint64_t leased, live, blocks; /* bytes, but for the last */
};

/* Of what is left of the lease; what it says twice, or has no more, is not there. */
static void tally_add(struct tally *tally, uint64_t size, const struct row *row, uint64_t *left)
{
	uint64_t leased = row->slices * SLICE_BYTES, blocks;

	if (!mutant(report_believed))
		leased = u64_min(leased, *left);
	*left -= leased;
	blocks = size ? u64_min(row->live, leased / size) : 0;
	tally->leased += leased;
	tally->live += blocks * size;
	tally->blocks += blocks;
}

static struct wire_block_row wire_row(uint32_t session, uint32_t space, const char *kind,
				      const struct tally *tally)
{
	return (struct wire_block_row){
		.session = session,
		.space = space,
		.kind = wire_str(kind),
		.leased = tally->leased,
		.live = tally->live,
		.cached = tally->leased - tally->live,
		.blocks = tally->blocks,
	};
}

/* What a session has in a space: ROWS_OF_SPACE at most. How many there are. */
static uint32_t fill(const struct client *client, uint32_t space, const struct row *rows,
		     uint32_t n_rows, struct wire_block_row *ret)
{
	static const char *const kinds[KINDS] = {"private", "shared"};
	struct tally tallies[KINDS][TALLIES] = {}, all = {}, extents = {}, spare = {};
	uint64_t used = 0, left;
	uint32_t n = 1;

	core_member_view(client->server->core, client->session, space, &used);
	left = used;
	for (uint32_t i = 0; i < n_rows; i++) {
		struct row row = rows[i];
		struct report_key key;

		if (row_check(&row, &key) && key.space == space)
			tally_add(&tallies[key.shared][key.class_plus_1],
				  block_size(key.class_plus_1), &row, &left);
	}
	extents.leased = extents.live = left;
	spare.leased = tallies[0][SPARE].leased + tallies[1][SPARE].leased;
	all.leased = used;
	all.live = extents.live;
	if (extents.leased)
		ret[n++] = wire_row(client->session, space, "extents", &extents);
	if (spare.leased)
		ret[n++] = wire_row(client->session, space, "spare", &spare);
	for (uint32_t i = 0; i < KINDS * CLASSES; i++) {
		const struct tally *tally = &tallies[i / CLASSES][1 + i % CLASSES];

		if (!tally->leased)
			continue;
		all.live += tally->live;
		all.blocks += tally->blocks;
		ret[n] = wire_row(client->session, space, kinds[i / CLASSES], tally);
		ret[n++].size = block_size(1 + i % CLASSES);
	}
	ret[0] = wire_row(client->session, space, "all", &all);
	ret[0].pid = client->pid;
	ret[0].name = wire_str(client->name);
	return n;
}

/* A place in the list: which session, which of its spaces. */
struct cursor {
	uint32_t session, space;
};

/* The first there is at or after it; its session is UINT32_MAX if there is none. */
static struct cursor cursor_at(const struct core *core, struct cursor at)
{
	uint32_t session = core_session_next(core, at.session), space;

	for (; session != UINT32_MAX; session = core_session_next(core, session + 1)) {
		space = core_member_next(core, session, session == at.session ? at.space : 0);
		if (space != UINT32_MAX)
			return (struct cursor){session, space};
	}
	return (struct cursor){.session = UINT32_MAX};
}

int run_client_blocks(struct request *request, const union wire_body *params)
{
	static struct wire_block_row rows[ROWS];
	static char names[ROWS][SPACE_NAME_MAX + 1];
	static struct row said[REPORT_ROWS];
	struct server *server = request->server;
	uint64_t after = params->page_after.after, turn;
	struct cursor at = {.session = (uint32_t)(after >> 32), .space = (uint32_t)after};
	uint32_t n = 0, pairs = 0;

	/* Rows of all have names in them: a page of these alone would not fit into a message. */
	for (at = cursor_at(server->core, at);
	     at.session != UINT32_MAX && n + ROWS_OF_SPACE <= ROWS && pairs < METHOD_ROWS;
	     at = cursor_at(server->core, (struct cursor){at.session, at.space + 1})) {
		struct client *client = server->clients[at.session];
		struct wire_block_row *all;
		struct space_view space;

		if (!client || !core_space_view(server->core, at.space, &space))
			continue;
		returns_take(client);
		pairs++;
		all = &rows[n];
		n += fill(client, at.space, said, rows_read(client, said, &turn), all);
		snprintf(names[all - rows], sizeof(names[0]), "%s", space.name);
		all->space_name = wire_str(names[all - rows]);
	}
	request->result.block_rows = (struct wire_block_rows){
		.rows = {rows, n},
		.next = at.session == UINT32_MAX ? 0 : (uint64_t)at.session << 32 | at.space,
	};
	return 0;
}
