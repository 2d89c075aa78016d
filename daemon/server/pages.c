#include "daemon/server/pages.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "daemon/server/log.h"
#include "daemon/server/region.h"
#include "daemon/server/server.h"

enum { SMALL_SHIFT = 12, HUGE_SHIFT = 21 };
enum { PAGES_E_SAID = 1 /* why, too */ };

static char why_small[420]; /* what server->pages_why points at */

static int take_huge(struct server *server, const struct sys_host *host)
{
	char asked[SIZE_TEXT_MAX], free_text[SIZE_TEXT_MAX];
	struct sys_shortage shortage;
	int r;

	uint64_t parts[TOPOLOGY_NODES_MAX];

	r = sys_host_check(host, server->config.memory.size, HUGE_SHIFT, &shortage);
	/* Without memory.nodes a kernel may keep to itself how much of its pool is where. */
	if (!r && server->shares.nodes &&
	    region_lay_out(&server->shares, &server->machine, server->config.memory.size,
			   HUGE_SHIFT, parts))
		r = -ENOMEM;
	if (!r)
		r = server->sys->table->reserve(server->sys, server->config.memory.size);
	if (!r) {
		server->page_shift = HUGE_SHIFT;
		return 0;
	}
	size_format(asked, sizeof(asked), server->config.memory.size);
	size_format(free_text, sizeof(free_text), host->huge_free);
	snprintf(why_small, sizeof(why_small),
		 "%s asked in 2 MiB pages%s%s, %s free in the pool", asked,
		 *server->config.memory.nodes ? " on nodes " : "", server->config.memory.nodes,
		 free_text);
	return r;
}

/* Each node that memory.nodes names has to bear its part; what nobody named may come and go. */
static int check_shares(struct server *server)
{
	char asked[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];
	uint64_t parts[TOPOLOGY_NODES_MAX];
	struct sys_shortage shortage;
	int r = 0;

	region_lay_out(&server->shares, &server->machine, server->config.memory.size,
		       SMALL_SHIFT, parts);
	for (uint64_t rest = server->shares.nodes; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);

		if (!sys_node_check(&server->machine.node[node], parts[node], SMALL_SHIFT,
				    &shortage))
			continue;
		size_format(asked, sizeof(asked), shortage.asked);
		size_format(available, sizeof(available), shortage.available);
		size_format(cap, sizeof(cap), shortage.cap);
		log_error(
			"memory.nodes: node %u cannot spare %s: %s available, of which Varbos "
			"takes at most %s",
			node, asked, available, cap);
		r = PAGES_E_SAID;
	}
	return r;
}

static int take_small(struct server *server, const struct sys_host *host)
{
	char asked[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];
	struct sys_shortage shortage;
	int r;

	r = sys_host_check(host, server->config.memory.size, SMALL_SHIFT, &shortage);
	if (!r)
		r = check_shares(server);
	if (!r)
		server->page_shift = SMALL_SHIFT;
	if (!r || r == PAGES_E_SAID)
		return r ? -ENOMEM : 0;
	size_format(asked, sizeof(asked), shortage.asked);
	size_format(available, sizeof(available), shortage.available);
	size_format(cap, sizeof(cap), shortage.cap);
	log_error("--size %s is more than this machine can spare: asked %s, available %s, of "
		  "which Varbos takes at most %s (cap)",
		  asked, asked, available, cap);
	return r;
}

/*
 * Where a machine has several nodes: what each would have to have, has, and the command that gives
 * it that, as a person can paste it.
 */
static void say_nodes(const struct server *server)
{
	const struct sys_nodes *nodes = &server->machine;
	uint64_t wanted[TOPOLOGY_NODES_MAX];

	if (!(nodes->topology.memory & (nodes->topology.memory - 1)))
		return;
	region_lay_out(&server->shares, nodes, server->config.memory.size, SMALL_SHIFT, wanted);
	for (uint64_t rest = nodes->topology.memory; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);
		const struct sys_node *at = &nodes->node[node];
		char want[SIZE_TEXT_MAX], unused[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];

		if (!wanted[node])
			continue;
		size_format(want, sizeof(want), wanted[node]);
		size_format(unused, sizeof(unused), at->huge_free);
		size_format(total, sizeof(total), at->huge_total);
		log_notice(
			"node %u: %s wanted, %s of %s free in its pool; echo %llu > "
			"/sys/devices/system/node/node%u/hugepages/hugepages-2048kB/"
			"nr_hugepages",
			node, want, unused, total,
			(unsigned long long)(at->huge_total - at->huge_free + wanted[node]) >>
				HUGE_SHIFT,
			node);
	}
}

/* As a command line that a person can paste. */
static unsigned long long pages_wanted(const struct server *server, const struct sys_host *host)
{
	uint64_t in_use = host->huge_total - host->huge_free;

	return (in_use + server->config.memory.size) >> HUGE_SHIFT;
}

static int choose_size(struct server *server)
{
	struct sys_host host;
	int r;

	r = server->sys->table->host(server->sys, &host);
	if (r) {
		log_error("cannot find out what the machine can spare: %s", strerror(-r));
		return r;
	}
	if (server->config.memory.pages == CONFIG_PAGES_4K)
		return take_small(server, &host);

	r = take_huge(server, &host);
	if (!r)
		return 0;
	say_nodes(server);
	if (server->config.memory.pages == CONFIG_PAGES_2M) {
		log_error(
			"hugepages unavailable: %s (%s); this would reserve them: echo %llu > "
			"/proc/sys/vm/nr_hugepages",
			why_small, strerror(-r), pages_wanted(server, &host));
		return r;
	}
	r = take_small(server, &host);
	if (r)
		return r;
	server->pages_why = why_small;
	log_warning("falling back to pages of 4 KiB: %s; this would reserve them: echo %llu > "
		    "/proc/sys/vm/nr_hugepages",
		    why_small, pages_wanted(server, &host));
	return 0;
}

static int lock(struct server *server)
{
	char wanted[SIZE_TEXT_MAX], allowed[SIZE_TEXT_MAX];
	uint64_t limit = 0;
	int r;

	if (!server->config.memory.lock)
		return 0;
	if (server->page_shift > SMALL_SHIFT) {
		log_info("memory.lock: nothing to do, hugepages are never swapped");
		return 0;
	}
	r = server->sys->table->lock(server->sys, server->config.memory.size, &limit);
	if (!r)
		return 0;
	size_format(wanted, sizeof(wanted), server->config.memory.size);
	size_format(allowed, sizeof(allowed), limit);
	if (limit == UINT64_MAX)
		log_error("memory.lock: %s cannot be locked: %s", wanted, strerror(-r));
	else
		log_error("memory.lock: %s is to be locked, RLIMIT_MEMLOCK is %s: "
			  "LimitMEMLOCK=infinity in the unit, or `ulimit -l %llu`, or "
			  "CAP_IPC_LOCK",
			  wanted, allowed,
			  (unsigned long long)server->config.memory.size >> 10);
	return r;
}

static void collapse(struct server *server)
{
	int r;

	if (server->config.memory.thp != CONFIG_THP_ALWAYS || server->page_shift > SMALL_SHIFT)
		return;
	r = server->sys->table->collapse(server->sys);
	if (r)
		log_warning(
			"memory.thp: the kernel makes no transparent hugepages for us (%s): it "
			"is "
			"older than 6.1, or /sys/kernel/mm/transparent_hugepage/shmem_enabled "
			"is deny",
			strerror(-r));
}

/* As if the machine had one node: the lowest, with all there is. */
static void nodes_join(struct sys_nodes *nodes)
{
	uint32_t first = (uint32_t)__builtin_ctzll(nodes->topology.memory);
	struct sys_node *one = &nodes->node[first];

	for (uint64_t rest = nodes->topology.nodes & ~node_bit(first); rest; rest &= rest - 1) {
		const struct sys_node *node = &nodes->node[__builtin_ctzll(rest)];

		one->cpus += node->cpus;
		if (!(nodes->topology.memory & rest & -rest))
			continue;
		one->total += node->total;
		one->huge_free += node->huge_free;
		one->giant_free += node->giant_free;
	}
	nodes->topology = (struct topology){
		.nodes = node_bit(first), .memory = node_bit(first), .cpus = node_bit(first)};
}

/* What memory.nodes says, and whether it can be. */
static int check_nodes(struct server *server, const struct sys_nodes *nodes)
{
	const char *wrong;
	char why[512];

	if (shares_parse(server->config.memory.nodes, &server->shares, &wrong)) {
		log_error("memory.nodes: %s", wrong);
		return -EINVAL;
	}
	if (!region_has_nodes(&server->shares, nodes, why, sizeof(why))) {
		log_error("%s", why);
		return -EINVAL;
	}
	if (nodes->refused && server->shares.nodes) {
		log_error("memory.nodes: the system lets no one choose a NUMA node (%s)",
			  strerror(-nodes->refused));
		return nodes->refused;
	}
	return 0;
}

int pages_choose(struct server *server)
{
	struct sys_nodes nodes;
	uint64_t left;
	int r;

	r = server->sys->table->nodes(server->sys, &nodes);
	if (r) {
		log_error("cannot find out which memory the machine has: %s", strerror(-r));
		return r;
	}
	r = check_nodes(server, &nodes);
	if (r)
		return r;
	if (nodes.refused) {
		log_warning("the system lets no one choose a NUMA node (%s): memory comes from "
			    "any of %d nodes, policies mean nothing",
			    strerror(-nodes.refused),
			    __builtin_popcountll(nodes.topology.memory));
		if (!mutant(nodes_apart))
			nodes_join(&nodes);
	}
	server->machine = nodes;
	r = choose_size(server);
	if (!r)
		r = lock(server);
	if (r)
		return r;
	collapse(server);
	/* By what the pools had before ours was taken out of them. */
	left = region_lay_out(&server->shares, &nodes, server->config.memory.size,
			      server->page_shift, server->node_bytes);
	if (left) /* of a kernel that does not say how much of its pool is where */
		server->node_bytes[__builtin_ctzll(nodes.topology.memory)] += left;
	server->topology = nodes.topology;
	if (server->shares.nodes)
		server->topology.memory &= server->shares.nodes;
	server->places = nodes.topology.memory & (nodes.topology.memory - 1);
	return 0;
}

bool pages_isolate(void)
{
	const struct passwd *varbos = getpwnam("varbos");

	return !geteuid() || (varbos && varbos->pw_uid == geteuid());
}
