#include "daemon/server/pages.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "daemon/server/log.h"
#include "daemon/server/region.h"
#include "daemon/server/server.h"

enum { SMALL_SHIFT = 12, HUGE_SHIFT = 21, GIANT_SHIFT = 30 };
enum { PAGES_E_SAID = 1 /* why, too */ };

#define GIANT_BYTES ((uint64_t)1 << GIANT_SHIFT)
/* Below that, half a page unused at the end of each space would be too much. */
#define GIANT_FROM (4 * GIANT_BYTES)

static char why_text[640]; /* what server->pages_why points at */

struct size_text {
	char text[SIZE_TEXT_MAX];
};

static struct size_text bytes(uint64_t n)
{
	struct size_text text;

	size_format(text.text, sizeof(text.text), n);
	return text;
}

static void why_add(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void why_add(const char *format, ...)
{
	size_t used = strlen(why_text);
	va_list args;

	if (used)
		used += (size_t)snprintf(why_text + used, sizeof(why_text) - used, "; ");
	va_start(args, format);
	vsnprintf(why_text + used, sizeof(why_text) - used, format, args);
	va_end(args);
}

/* Of so much of the region, what can be in pages of 1 GiB. */
static uint64_t giant_of(const struct server *server, uint64_t bytes)
{
	uint64_t size = server->config.memory.size, small = server->config.memory.small;

	if (!small)
		small = size / 4;
	small = (uint64_t)((unsigned __int128)small * bytes / size);
	return small < bytes ? u64_align_down(bytes - small, GIANT_BYTES) : 0;
}

/* What memory.nodes says of the part in pages of 1 GiB, or of the rest. */
static struct shares shares_of(const struct server *server, bool giant)
{
	struct shares shares = server->shares;

	shares.sum = 0;
	for (uint64_t rest = shares.sized ? shares.nodes : 0; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);
		uint64_t part = giant_of(server, shares.bytes[node]);

		if (giant)
			shares.bytes[node] = part;
		else if (server->large.bytes)
			shares.bytes[node] -= part;
		shares.sum += shares.bytes[node];
	}
	return shares;
}

/* All of it, on whatever nodes. */
static uint64_t giant_part(const struct server *server)
{
	struct shares shares = shares_of(server, true);

	return shares.sized ? shares.sum : giant_of(server, server->config.memory.size);
}

/* So much from the pool of pages of this size; what is missing is added to why_text. */
static int take_pool(struct server *server, struct sys_host *host, uint32_t page_shift,
		     uint64_t size)
{
	struct shares shares = shares_of(server, page_shift == GIANT_SHIFT);
	uint64_t parts[TOPOLOGY_NODES_MAX];
	struct sys_shortage shortage;
	int r;

	if (!(host->pools >> page_shift & 1)) {
		why_add("this machine has no pages of %s: there is no "
			"/sys/kernel/mm/hugepages/hugepages-%llukB%s",
			bytes((uint64_t)1 << page_shift).text, 1ULL << (page_shift - 10),
			page_shift == GIANT_SHIFT ? " (an x86 processor needs pdpe1gb)" : "");
		return -ENODEV;
	}
	r = sys_host_check(host, size, page_shift, &shortage);
	/* Without memory.nodes a kernel may keep to itself how much of its pool is where. */
	if (!r && shares.nodes &&
	    region_lay_out(&shares, &server->machine, size, page_shift, parts))
		r = -ENOMEM;
	if (!r)
		r = server->sys->table->reserve(server->sys, page_shift, size);
	if (r)
		why_add("%s asked in %s pages%s%s, %s free in the pool", bytes(size).text,
			bytes((uint64_t)1 << page_shift).text,
			*server->config.memory.nodes ? " on nodes " : "",
			server->config.memory.nodes,
			bytes(*sys_host_pool(host, page_shift)).text);
	return r;
}

/* Each node that memory.nodes names has to bear its part; what nobody named may come and go. */
static int check_shares(struct server *server, uint64_t size)
{
	struct shares shares = shares_of(server, false);
	uint64_t parts[TOPOLOGY_NODES_MAX];
	struct sys_shortage shortage;
	int r = 0;

	region_lay_out(&shares, &server->machine, size, SMALL_SHIFT, parts);
	for (uint64_t rest = shares.nodes; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);

		if (!sys_node_check(&server->machine.node[node], parts[node], SMALL_SHIFT,
				    &shortage))
			continue;
		log_error(
			"memory.nodes: node %u cannot spare %s: %s available, of which Varbos "
			"takes at most %s",
			node, bytes(shortage.asked).text, bytes(shortage.available).text,
			bytes(shortage.cap).text);
		r = PAGES_E_SAID;
	}
	return r;
}

static void say_too_much(const struct server *server, const struct sys_host *host,
			 uint64_t size)
{
	struct sys_shortage shortage;

	if (!sys_host_check(host, size, SMALL_SHIFT, &shortage))
		return;
	log_error("memory.size %s is more than this machine can spare: asked %s, available %s, "
		  "of "
		  "which Varbos takes at most %s (cap)",
		  bytes(server->config.memory.size).text, bytes(shortage.asked).text,
		  bytes(shortage.available).text, bytes(shortage.cap).text);
}

/* As a command line that a person can paste: all that the pool has to have. */
static unsigned long long pages_wanted(uint64_t total, uint64_t unused, uint64_t size,
				       uint32_t page_shift)
{
	return (total - unused + size) >> page_shift;
}

/*
 * Where a machine has several nodes: what each would have to have, has, and the command that gives
 * it that. Returns the list that the kernel takes at boot, "0:4,1:4", or "4" where there is one.
 */
static void say_nodes(const struct server *server, const struct sys_host *host, uint64_t size,
		      uint32_t page_shift, char *ret_list, size_t list_size)
{
	const struct sys_nodes *nodes = &server->machine;
	bool giant = page_shift == GIANT_SHIFT;
	uint64_t wanted[TOPOLOGY_NODES_MAX];
	struct shares shares;
	size_t used = 0;

	if (!(nodes->topology.memory & (nodes->topology.memory - 1))) {
		snprintf(ret_list, list_size, "%llu",
			 pages_wanted(giant ? host->giant_total : host->huge_total,
				      giant ? host->giant_free : host->huge_free, size,
				      page_shift));
		return;
	}
	shares = shares_of(server, giant);
	region_wish(&shares, nodes, size, page_shift, wanted);
	for (uint64_t rest = nodes->topology.memory; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);
		const struct sys_node *at = &nodes->node[node];
		uint64_t total = giant ? at->giant_total : at->huge_total;
		uint64_t unused = giant ? at->giant_free : at->huge_free;
		unsigned long long n = pages_wanted(total, unused, wanted[node], page_shift);

		if (!wanted[node])
			continue;
		log_notice("node %u: %s wanted, %s of %s free in its pool; echo %llu > "
			   "/sys/devices/system/node/node%u/hugepages/hugepages-%llukB/"
			   "nr_hugepages",
			   node, bytes(wanted[node]).text, bytes(unused).text,
			   bytes(total).text, n, node, 1ULL << (page_shift - 10));
		if (used < list_size)
			used += (size_t)snprintf(ret_list + used, list_size - used, "%s%u:%llu",
						 used ? "," : "", node, n);
	}
}

/* What a pool of this size did not give, and what would make it. */
static void say_missing(const struct server *server, const struct sys_host *host,
			uint32_t page_shift, uint64_t size, const char *what, int error)
{
	bool giant = page_shift == GIANT_SHIFT, fatal = error != 0;
	char list[256] = "", command[448] = "", because[64] = "";

	if (host->pools >> page_shift & 1) {
		say_nodes(server, host, size, page_shift, list, sizeof(list));
		snprintf(command, sizeof(command),
			 "; this would reserve them: echo %llu > %s%s%s",
			 pages_wanted(giant ? host->giant_total : host->huge_total,
				      giant ? host->giant_free : host->huge_free, size,
				      page_shift),
			 giant ? "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
			       : "/proc/sys/vm/nr_hugepages",
			 giant ? ", or at boot, while memory is whole: hugepagesz=1G hugepages="
			       : "",
			 giant ? list : "");
	}
	if (fatal) {
		snprintf(because, sizeof(because), " (%s)", strerror(-error));
		log_error("%s: %s%s%s", what, why_text, because, command);
	} else if (giant) {
		log_notice("%s: %s%s", what, why_text, command);
	} else {
		log_warning("%s: %s%s", what, why_text, command);
	}
}

/* The part in pages of 1 GiB, if there is one, and the rest of the region below it. */
static int take_giant(struct server *server, struct sys_host *host, uint64_t size)
{
	int r = take_pool(server, host, GIANT_SHIFT, size);

	if (r)
		return r;
	server->large.page_shift = GIANT_SHIFT;
	server->large.bytes = size;
	server->large.from = u64_min(size, GIANT_FROM);
	return 0;
}

/* The first rung: what is not in pages of 1 GiB. */
static int take_rest(struct server *server, struct sys_host *host)
{
	enum config_pages pages = server->config.memory.pages;
	uint64_t size = server->config.memory.size - server->large.bytes;
	struct sys_shortage shortage;
	int r;

	if (pages != CONFIG_PAGES_4K) {
		r = take_pool(server, host, HUGE_SHIFT, size);
		if (!r) {
			server->page_shift = HUGE_SHIFT;
			return 0;
		}
		if (pages == CONFIG_PAGES_2M) {
			say_missing(server, host, HUGE_SHIFT, size, "HugePagesUnavailable", r);
			return r;
		}
	}
	r = sys_host_check(host, size, SMALL_SHIFT, &shortage);
	if (!r)
		r = check_shares(server, size);
	if (r)
		return r;
	server->page_shift = SMALL_SHIFT;
	if (pages != CONFIG_PAGES_4K)
		say_missing(server, host, HUGE_SHIFT, size, "falling back to pages of 4 KiB",
			    0);
	return 0;
}

/* L3 */
static void give_giant(struct server *server)
{
	if (!mutant(pages_giants_kept))
		server->sys->table->reserve(server->sys, GIANT_SHIFT, 0);
	server->large.page_shift = 0;
	server->large.bytes = 0;
	why_text[0] = '\0';
	why_add("there is too little memory beside %s in 1 GiB pages",
		bytes(giant_part(server)).text);
}

static int choose_size(struct server *server)
{
	enum config_pages pages = server->config.memory.pages;
	uint64_t giant = giant_part(server);
	struct sys_host host;
	int r;

	why_text[0] = '\0';
	r = server->sys->table->host(server->sys, &host);
	if (r) {
		log_error("cannot find out what the machine can spare: %s", strerror(-r));
		return r;
	}
	if (pages == CONFIG_PAGES_1G && !giant) {
		log_error("--pages 1G: of %s, of which memory.small leaves at least %s to "
			  "smaller "
			  "pages, nothing is left for one page of 1 GiB",
			  bytes(server->config.memory.size).text,
			  bytes(server->config.memory.small ? server->config.memory.small
							    : server->config.memory.size / 4)
				  .text);
		return -EINVAL;
	}
	/* Where no space could take them, pages of 1 GiB are of no use. */
	if (pages == CONFIG_PAGES_1G || (pages == CONFIG_PAGES_AUTO && giant >= GIANT_FROM)) {
		r = take_giant(server, &host, giant);
		if (r && pages == CONFIG_PAGES_1G) {
			say_missing(server, &host, GIANT_SHIFT, giant, "HugePagesUnavailable",
				    r);
			return r;
		}
		if (r)
			say_missing(server, &host, GIANT_SHIFT, giant,
				    "falling back from pages of 1 GiB", 0);
	}
	r = take_rest(server, &host);
	if (r && server->large.bytes && pages == CONFIG_PAGES_AUTO) {
		give_giant(server);
		r = take_rest(server, &host);
	}
	if (r == PAGES_E_SAID)
		return -ENOMEM;
	if (r && pages != CONFIG_PAGES_2M)
		say_too_much(server, &host, server->config.memory.size - server->large.bytes);
	if (!r && *why_text)
		server->pages_why = why_text;
	return r;
}

const char *pages_format(const struct server *server, char ret[PAGES_TEXT_MAX])
{
	uint64_t small = server->config.memory.size - server->large.bytes;
	int n = 0;

	if (server->large.bytes)
		n = snprintf(ret, PAGES_TEXT_MAX, "%s in pages of %s and ",
			     bytes(server->large.bytes).text,
			     bytes((uint64_t)1 << server->large.page_shift).text);
	snprintf(ret + n, PAGES_TEXT_MAX - (size_t)n, "%s in pages of %s", bytes(small).text,
		 bytes((uint64_t)1 << server->page_shift).text);
	return ret;
}

static int lock(struct server *server)
{
	char wanted[SIZE_TEXT_MAX], allowed[SIZE_TEXT_MAX];
	uint64_t limit = 0, size = server->config.memory.size - server->large.bytes;
	int r;

	if (!server->config.memory.lock)
		return 0;
	if (server->page_shift > SMALL_SHIFT) {
		log_info("memory.lock: nothing to do, hugepages are never swapped");
		return 0;
	}
	r = server->sys->table->lock(server->sys, size, &limit);
	if (!r)
		return 0;
	size_format(wanted, sizeof(wanted), size);
	size_format(allowed, sizeof(allowed), limit);
	if (limit == UINT64_MAX)
		log_error("memory.lock: %s cannot be locked: %s", wanted, strerror(-r));
	else
		log_error("memory.lock: %s is to be locked, RLIMIT_MEMLOCK is %s: "
			  "LimitMEMLOCK=infinity in the unit, or `ulimit -l %llu`, or "
			  "CAP_IPC_LOCK",
			  wanted, allowed, (unsigned long long)size >> 10);
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

/* By what the pools had before ours was taken out of them. */
static void place_rung(const struct server *server, bool giant, uint64_t size,
		       uint32_t page_shift, uint64_t *ret_bytes)
{
	struct shares shares = shares_of(server, giant);
	uint64_t left = region_lay_out(&shares, &server->machine, size, page_shift, ret_bytes);

	if (left) /* of a kernel that does not say how much of its pool is where */
		ret_bytes[__builtin_ctzll(server->machine.topology.memory)] += left;
}

static int read_nodes(struct server *server, struct sys_nodes *ret)
{
	int r = server->sys->table->nodes(server->sys, ret);

	if (r)
		log_error("cannot find out which memory the machine has: %s", strerror(-r));
	return r;
}

int pages_choose(struct server *server)
{
	struct sys_nodes nodes;
	int r;

	r = read_nodes(server, &nodes);
	if (!r)
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
	place_rung(server, false, server->config.memory.size - server->large.bytes,
		   server->page_shift, server->node_bytes);
	if (server->large.bytes)
		place_rung(server, true, server->large.bytes, server->large.page_shift,
			   server->large.node_bytes);
	server->topology = nodes.topology;
	if (server->shares.nodes)
		server->topology.memory &= server->shares.nodes;
	server->places = nodes.topology.memory & (nodes.topology.memory - 1);
	return 0;
}

/* ---- as of birth ---- */

void pages_describe(const struct server *server, struct ledger_region *ret)
{
	*ret = (struct ledger_region){
		.page_shift = server->page_shift,
		.large_shift = server->large.page_shift,
		.large_bytes = server->large.bytes,
		.large_from = server->large.from,
		.topology = server->topology,
		.asked = {.size = server->config.memory.size,
			  .small = server->config.memory.small,
			  .pages = server->config.memory.pages},
	};
	memcpy(ret->node_bytes, server->node_bytes, sizeof(ret->node_bytes));
	memcpy(ret->large_node_bytes, server->large.node_bytes, sizeof(ret->large_node_bytes));
	snprintf(ret->asked.nodes, sizeof(ret->asked.nodes), "%s", server->config.memory.nodes);
	snprintf(ret->why, sizeof(ret->why), "%s", server->pages_why ? server->pages_why : "");
}

static bool asks_otherwise(const struct server *server, const struct ledger_region *region)
{
	return server->config.memory.size != region->asked.size ||
	       server->config.memory.small != region->asked.small ||
	       (uint64_t)server->config.memory.pages != region->asked.pages ||
	       strcmp(server->config.memory.nodes, region->asked.nodes);
}

int pages_restore(struct server *server, const struct ledger_region *region, bool *ret_differs)
{
	struct sys_nodes nodes;
	int r;

	r = read_nodes(server, &nodes);
	if (r)
		return r;
	if (nodes.refused)
		nodes_join(&nodes);
	server->machine = nodes;
	*ret_differs = asks_otherwise(server, region);
	if (*ret_differs)
		log_warning(
			"memory.size, pages, small or nodes differ from what the region was "
			"made of (%s, nodes \"%s\"): it stays so until no space and no "
			"session is left",
			bytes(region->asked.size).text, region->asked.nodes);
	server->config.memory.size = region->asked.size;
	server->config.memory.small = region->asked.small;
	server->config.memory.pages = (enum config_pages)region->asked.pages;
	snprintf(server->config.memory.nodes, sizeof(server->config.memory.nodes), "%s",
		 region->asked.nodes);
	server->page_shift = region->page_shift;
	memcpy(server->node_bytes, region->node_bytes, sizeof(server->node_bytes));
	server->large.page_shift = region->large_shift;
	server->large.bytes = region->large_bytes;
	server->large.from = region->large_from;
	memcpy(server->large.node_bytes, region->large_node_bytes,
	       sizeof(server->large.node_bytes));
	server->topology = region->topology;
	server->places = nodes.topology.memory & (nodes.topology.memory - 1);
	snprintf(why_text, sizeof(why_text), "%s", region->why);
	server->pages_why = *why_text ? why_text : NULL;
	r = lock(server);
	if (!r)
		collapse(server);
	return r;
}

bool pages_isolate(void)
{
	const struct passwd *varbos = getpwnam("varbos");

	return !geteuid() || (varbos && varbos->pw_uid == geteuid());
}
