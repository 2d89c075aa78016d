/*
 * numa - the nodes of the machine, and where the memory of each space was asked for and is.
 */
#include <errno.h>
#include <string.h>

#include "base/numa.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

struct node_line {
	uint64_t node, cpus, total, free, region, committed, used;
	uint64_t huge_total, huge_free, giant_total, giant_free, misplaced;
	uint64_t large_region, large_committed;
	char distances[256];
};

struct share_line {
	char name[SPACE_NAME_MAX + 1];
	char asked[NUMA_TEXT_MAX];
	uint64_t space, page, node, committed, used;
};

static const struct table_column node_columns[] = {
#define NODE(field, title, show) TABLE_COLUMN(struct node_line, field, title, #field, show)
	NODE(node, "NODE", SHOW_COUNT),
	NODE(cpus, "CPUS", SHOW_COUNT),
	NODE(total, "MEMORY", SHOW_BYTES),
	NODE(free, "FREE", SHOW_BYTES),
	NODE(region, "REGION", SHOW_BYTES),
	NODE(committed, "COMMITTED", SHOW_BYTES),
	NODE(used, "USED", SHOW_BYTES),
	NODE(huge_total, "2M PAGES", SHOW_BYTES),
	NODE(huge_free, "FREE OF 2M", SHOW_BYTES),
	NODE(giant_total, "1G PAGES", SHOW_BYTES),
	NODE(giant_free, "FREE OF 1G", SHOW_BYTES),
	NODE(misplaced, NULL, SHOW_BYTES),
	NODE(large_region, NULL, SHOW_BYTES),
	NODE(large_committed, NULL, SHOW_BYTES),
	NODE(distances, "DISTANCES", SHOW_TEXT),
#undef NODE
};

static const struct table_column share_columns[] = {
#define SHARE(field, title, show) TABLE_COLUMN(struct share_line, field, title, #field, show)
	SHARE(name, "SPACE", SHOW_TEXT),  SHARE(space, NULL, SHOW_COUNT),
	SHARE(asked, "ASKED", SHOW_TEXT), SHARE(page, "PAGE", SHOW_BYTES),
	SHARE(node, "NODE", SHOW_COUNT),  SHARE(committed, "COMMITTED", SHOW_BYTES),
	SHARE(used, "USED", SHOW_BYTES),
#undef SHARE
};

static void node_fill(void *to, const void *from)
{
	const struct wire_numa_node *row = from;
	struct node_line *line = to;

	*line = (struct node_line){
		.node = row->node,
		.cpus = row->cpus,
		.total = row->total,
		.free = row->free,
		.region = row->region,
		.committed = row->committed,
		.used = row->used,
		.huge_total = row->huge_total,
		.huge_free = row->huge_free,
		.giant_total = row->giant_total,
		.giant_free = row->giant_free,
		.misplaced = row->misplaced,
		.large_region = row->large_region,
		.large_committed = row->large_committed,
	};
	wire_str_copy(line->distances, sizeof(line->distances), row->distances);
}

/* As it is asked for: "bind:0,2-3". A policy that this program does not know is shown by name. */
static void asked_format(char *ret, size_t size, struct wire_str kind, uint64_t nodes)
{
	struct numa numa = {.nodes = nodes};

	wire_str_copy(ret, size, kind);
	if (numa_kind_named(ret, &numa.kind))
		numa_format(ret, size, numa);
}

static void share_fill(void *to, const void *from)
{
	const struct wire_numa_share *row = from;
	struct share_line *line = to;

	*line = (struct share_line){
		.space = row->space,
		.page = row->page,
		.node = row->node,
		.committed = row->committed,
		.used = row->used,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
	asked_format(line->asked, sizeof(line->asked), row->numa, row->nodes);
}

enum answer verb_numa(struct call *call)
{
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) void *nodes = NULL;
	_cleanup_(freep) void *shares = NULL;
	size_t n_nodes, n_shares;
	enum answer answer;

	answer = link_new(&link, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_list(link, "numa", WIRE_NUMA_NODES, sizeof(struct node_line),
				   node_fill, &nodes, &n_nodes);
	if (!answer)
		answer = link_list(link, "numa", WIRE_NUMA_SPACES, sizeof(struct share_line),
				   share_fill, &shares, &n_shares);
	if (answer)
		return answer;
	table_rows(&call->page, "nodes", node_columns, ARRAY_SIZE(node_columns), nodes, n_nodes,
		   sizeof(struct node_line));
	table_rows(&call->page, "spaces", share_columns, ARRAY_SIZE(share_columns), shares,
		   n_shares, sizeof(struct share_line));
	return ANSWER_OK;
}
