#include "daemon/sys/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/sys/host.h"
#include "daemon/sys/procfile.h"

#define NODE "/sys/devices/system/node/"

static void path_of(char *buf, size_t size, uint32_t node, const char *file)
{
	snprintf(buf, size, NODE "node%u/%s", node, file);
}

static bool read_set(const char *root, const char *path, uint64_t *ret)
{
	char text[256];

	if (procfile_read(root, path, text, sizeof(text)))
		return false;
	text[strcspn(text, "\n")] = '\0';
	return nodes_parse(text, ret);
}

/* What the cpuset allows; everything, where nothing is said. */
static uint64_t read_allowed(const char *root)
{
	static const char key[] = "\nMems_allowed_list:";
	char text[4096], *at;
	uint64_t allowed;

	if (procfile_read(root, "/proc/self/status", text, sizeof(text)))
		return UINT64_MAX;
	at = strstr(text, key);
	if (!at)
		return UINT64_MAX;
	at += sizeof(key) - 1;
	at += strspn(at, " \t");
	at[strcspn(at, "\n")] = '\0';
	return nodes_parse(at, &allowed) ? allowed : UINT64_MAX;
}

/* How many a list like "0-3,8" names. */
static uint32_t count_list(const char *text)
{
	uint32_t n = 0;

	while (*text >= '0' && *text <= '9') {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (last >= first)
			n += (uint32_t)(last - first + 1);
		if (*end != ',')
			break;
		text = end + 1;
	}
	return n;
}

static uint64_t read_kib(const char *text, uint32_t node, const char *what)
{
	char key[64];
	uint64_t kib;

	snprintf(key, sizeof(key), "Node %u %s:", node, what);
	return procfile_field(text, key, &kib) ? kib << 10 : 0;
}

static void read_pool(const char *root, uint32_t node, uint32_t page_shift, uint64_t *ret_total,
		      uint64_t *ret_free)
{
	char path[128], file[64];
	uint64_t total, unused;

	snprintf(file, sizeof(file), "hugepages/hugepages-%llukB/nr_hugepages",
		 1ULL << (page_shift - 10));
	path_of(path, sizeof(path), node, file);
	if (!procfile_number(root, path, &total))
		return;
	snprintf(file, sizeof(file), "hugepages/hugepages-%llukB/free_hugepages",
		 1ULL << (page_shift - 10));
	path_of(path, sizeof(path), node, file);
	if (!procfile_number(root, path, &unused))
		return;
	*ret_total = total << page_shift;
	*ret_free = unused << page_shift;
}

static void read_node(const char *root, uint32_t node, struct sys_node *ret)
{
	char path[128], text[4096];

	path_of(path, sizeof(path), node, "meminfo");
	if (!procfile_read(root, path, text, sizeof(text))) {
		ret->total = read_kib(text, node, "MemTotal");
		ret->available = read_kib(text, node, "MemFree") +
				 read_kib(text, node, "Active(file)") +
				 read_kib(text, node, "Inactive(file)") +
				 read_kib(text, node, "SReclaimable");
	}
	path_of(path, sizeof(path), node, "cpulist");
	if (!procfile_read(root, path, text, sizeof(text)))
		ret->cpus = count_list(text);
	read_pool(root, node, 21, &ret->huge_total, &ret->huge_free);
	read_pool(root, node, 30, &ret->giant_total, &ret->giant_free);
}

/* A number for each node that is online, in their order. */
static void read_distances(const char *root, uint32_t node, struct topology *topology)
{
	char path[128], text[512], *at = text;

	path_of(path, sizeof(path), node, "distance");
	if (procfile_read(root, path, text, sizeof(text)))
		return;
	for (uint64_t rest = topology->nodes; rest; rest &= rest - 1) {
		char *end;
		unsigned long distance = strtoul(at, &end, 10);

		if (end == at || distance > UINT8_MAX)
			return;
		topology->distance[node][__builtin_ctzll(rest)] = (uint8_t)distance;
		at = end;
	}
}

static int read_one(const char *root, struct sys_nodes *ret)
{
	struct sys_host host;
	int r;

	*ret = (struct sys_nodes){.topology = {.nodes = 1, .memory = 1, .cpus = 1}};
	r = host_read(root, &host);
	if (r)
		return r;
	ret->node[0] = (struct sys_node){.total = host.total,
					 .available = host.available,
					 .huge_total = host.huge_total,
					 .huge_free = host.huge_free,
					 .cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)};
	return 0;
}

int nodes_read_one(const char *root, uint32_t node, struct sys_node *ret)
{
	*ret = (struct sys_node){};
	read_node(root, node, ret);
	return ret->total ? 0 : -ENODATA;
}

int nodes_read(const char *root, struct sys_nodes *ret)
{
	uint64_t allowed = read_allowed(root);
	struct sys_nodes nodes = {};
	struct topology *topology = &nodes.topology;

	if (!read_set(root, NODE "online", &topology->nodes))
		return read_one(root, ret);
	for (uint64_t rest = topology->nodes; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);

		read_node(root, node, &nodes.node[node]);
		read_distances(root, node, topology);
		if (nodes.node[node].cpus)
			topology->cpus |= node_bit(node);
		if (nodes.node[node].total && allowed & node_bit(node))
			topology->memory |= node_bit(node);
	}
	if (!topology->memory)
		return read_one(root, ret);
	*ret = nodes;
	return 0;
}
