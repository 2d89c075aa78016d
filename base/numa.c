#include "base/numa.h"

#include <stdio.h>
#include <string.h>

static const char *const names[NUMA_KINDS] = {
	[NUMA_DEFAULT] = "default",       [NUMA_LOCAL] = "local",         [NUMA_BIND] = "bind",
	[NUMA_INTERLEAVE] = "interleave", [NUMA_PREFERRED] = "preferred",
};

const char *numa_kind_name(uint32_t kind)
{
	return kind < NUMA_KINDS ? names[kind] : NULL;
}

bool numa_kind_named(const char *name, enum numa_kind *ret)
{
	*ret = NUMA_DEFAULT;
	if (!*name)
		return true;
	for (uint32_t kind = 0; kind < NUMA_KINDS; ++kind)
		if (!strcmp(name, names[kind])) {
			*ret = (enum numa_kind)kind;
			return true;
		}
	return false;
}

bool numa_parse(const char *text, struct numa *ret)
{
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	struct numa numa = {};
	char name[16];

	if (n >= sizeof(name))
		return false;
	memcpy(name, text, n);
	name[n] = '\0';
	if (!n || !numa_kind_named(name, &numa.kind) || numa_names_nodes(numa.kind) != !!colon)
		return false;
	if (colon && !nodes_parse(colon + 1, &numa.nodes))
		return false;
	*ret = numa;
	return true;
}

char *numa_format(char *buf, size_t size, struct numa numa)
{
	const char *name = numa_kind_name(numa.kind);
	char nodes[NODES_TEXT_MAX];

	if (numa_names_nodes(numa.kind))
		snprintf(buf, size, "%s:%s", name,
			 nodes_format(nodes, sizeof(nodes), numa.nodes));
	else
		snprintf(buf, size, "%s", name ? name : "?");
	return buf;
}
