#include "daemon/server/method_numa.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/server.h"

int numa_read(struct request *request, struct wire_str name, uint64_t nodes, struct numa *ret)
{
	char text[16] = "";

	if (name.size < sizeof(text) && name.size)
		memcpy(text, name.data, name.size);
	if (name.size >= sizeof(text) || !numa_kind_named(text, &ret->kind))
		return fault_set(request, FAULT_INVALID, "numa",
				 "numa: '%.*s' is none of default, local, bind, interleave, "
				 "preferred",
				 (int)u64_min(name.size, 32), name.data);
	ret->nodes = nodes;
	return 0;
}

static void distances_format(char *buf, size_t size, const struct topology *topology,
			     uint32_t node)
{
	size_t used = 0;

	for (uint64_t rest = topology->nodes; rest && used < size; rest &= rest - 1)
		used += (size_t)snprintf(
			buf + used, size - used, "%s%u", used ? " " : "",
			topology_distance(topology, node, (uint32_t)__builtin_ctzll(rest)));
}

/* Some dozen files of /sys: not for every client that asks. */
static int machine_look(struct server *server)
{
	uint64_t now = uv_now(&server->loop);
	int r;

	if (server->machine_ms && now - server->machine_ms < 1000)
		return 0;
	r = server->sys->table->nodes(server->sys, &server->machine);
	if (!r)
		server->machine_ms = u64_max(now, 1);
	return r;
}

int run_numa_nodes(struct request *request, const union wire_body *params)
{
	static struct wire_numa_node rows[METHOD_ROWS];
	static char distances[METHOD_ROWS][TOPOLOGY_NODES_MAX * 4];
	struct server *server = request->server;
	uint64_t after = params->page_after.after, next = 0, rest = server->topology.nodes;
	uint32_t n = 0;
	int r;

	r = machine_look(server);
	if (r)
		return r;
	/* A full page of 64 nodes would not fit into a message: half of them does. */
	for (; rest && !next; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);
		const struct sys_node *at = &server->machine.node[node];
		struct stats_node view = core_node_view(server->core, node);
		struct stats_node large = {0};
		bool ours = server->topology.memory & node_bit(node);

		if (node < after)
			continue;
		if (n == METHOD_ROWS / 2) {
			next = node;
			break;
		}
		if (server->large.page_shift)
			large = core_rung_view(server->core, server->large.page_shift, node);
		distances_format(distances[n], sizeof(distances[n]), &server->topology, node);
		rows[n] = (struct wire_numa_node){
			.node = node,
			.total = ours ? at->total : 0,
			.free = ours ? at->available : 0,
			.region = view.capacity,
			.committed = view.committed,
			.used = view.used,
			.cpus = at->cpus,
			.distances = wire_str(distances[n]),
			.huge_total = at->huge_total,
			.huge_free = at->huge_free,
			.giant_total = at->giant_total,
			.giant_free = at->giant_free,
			.misplaced = at->misplaced,
			.large_region = large.capacity,
			.large_committed = large.committed,
		};
		n++;
	}
	request->result.numa_nodes = (struct wire_numa_nodes){.rows = {rows, n}, .next = next};
	return 0;
}

int run_numa_spaces(struct request *request, const union wire_body *params)
{
	static struct wire_numa_share rows[METHOD_ROWS + TOPOLOGY_NODES_MAX];
	static char names[METHOD_ROWS][SPACE_NAME_MAX + 1];
	struct server *server = request->server;
	struct core *core = server->core;
	uint32_t slot = core_space_next(core, method_page(params->page_after.after));
	uint32_t n = 0, spaces = 0;

	for (; slot != UINT32_MAX && n < METHOD_ROWS; slot = core_space_next(core, slot + 1)) {
		uint32_t before = n;
		struct space_view view;

		if (!core_space_view(core, slot, &view))
			continue;
		snprintf(names[spaces], sizeof(names[spaces]), "%s", view.name);
		for (uint64_t rest = server->topology.nodes; rest; rest &= rest - 1) {
			uint32_t node = (uint32_t)__builtin_ctzll(rest);
			uint64_t committed, used;

			core_share_view(core, slot, node, &committed, &used);
			if (!committed && (n > before || rest & (rest - 1)))
				continue;
			rows[n++] = (struct wire_numa_share){
				.space = slot,
				.name = wire_str(names[spaces]),
				.numa = wire_str(numa_kind_name(view.numa.kind)),
				.nodes = view.numa.nodes,
				.page = (uint64_t)1 << view.page_shift,
				.node = node,
				.committed = committed,
				.used = used,
			};
		}
		spaces++;
	}
	request->result.numa_shares = (struct wire_numa_shares){
		.rows = {rows, n},
		.next = slot == UINT32_MAX ? 0 : slot,
	};
	return 0;
}
