#include "base/topology.h"

#include <stdio.h>

/* Up to two digits, below 64. */
static bool node_parse(const char **at, uint32_t *ret)
{
	const char *text = *at;
	uint32_t node = 0;

	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; ++text) {
		node = node * 10 + (uint32_t)(*text - '0');
		if (node >= TOPOLOGY_NODES_MAX)
			return false;
	}
	*at = text;
	*ret = node;
	return true;
}

bool nodes_parse(const char *text, uint64_t *ret)
{
	uint64_t nodes = 0;

	for (;;) {
		uint32_t first, last;

		if (!node_parse(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			++text;
			if (!node_parse(&text, &last) || last < first)
				return false;
		}
		for (uint32_t node = first; node <= last; ++node)
			nodes |= node_bit(node);
		if (!*text)
			break;
		if (*text++ != ',')
			return false;
	}
	*ret = nodes;
	return true;
}

char *nodes_format(char *buf, size_t size, uint64_t nodes)
{
	size_t used = 0;

	if (size)
		buf[0] = '\0';
	for (uint32_t node = 0; node < TOPOLOGY_NODES_MAX && used < size; ++node) {
		uint32_t last = node;
		int n;

		if (!(nodes & node_bit(node)))
			continue;
		while (nodes & node_bit(last + 1))
			++last;
		n = snprintf(buf + used, size - used, last > node ? "%s%u-%u" : "%s%u",
			     used ? "," : "", node, last);
		used += n > 0 ? (size_t)n : 0;
		node = last;
	}
	return buf;
}
