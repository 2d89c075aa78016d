#include "daemon/config/shares.h"

#include <string.h>

#include "base/base.h"
#include "base/size.h"
#include "proto/layout.h"

static int wrong(const char **ret_why, const char *why)
{
	*ret_why = why;
	return SHARES_E_WRONG;
}

/* "2:512M" */
static int parse_one(const char *text, size_t n, struct shares *shares, const char **ret_why)
{
	char one[64], *size;
	uint64_t node, bytes;

	if (n >= sizeof(one))
		return wrong(ret_why, "one of its shares is too long");
	memcpy(one, text, n);
	one[n] = '\0';
	size = strchr(one, ':');
	if (!size)
		return wrong(ret_why, "either each node has a size, or none");
	*size++ = '\0';
	if (!nodes_parse(one, &node) || node & (node - 1))
		return wrong(ret_why, "before a size there is one node, 0 to 63");
	if (node & shares->nodes)
		return wrong(ret_why, "a node is named twice");
	if (!size_parse(size, &bytes) || !bytes || bytes % CHUNK_BYTES || bytes >> 50)
		return wrong(ret_why, "a size is a multiple of 2 MiB, at most 1 PiB");
	shares->nodes |= node;
	shares->bytes[__builtin_ctzll(node)] = bytes;
	shares->sum += bytes;
	return 0;
}

int shares_parse(const char *text, struct shares *ret, const char **ret_why)
{
	struct shares shares = {};

	if (strchr(text, ':')) {
		shares.sized = true;
		for (const char *at = text;; at++) {
			size_t n = strcspn(at, ",");
			int r = parse_one(at, n, &shares, ret_why);

			if (r)
				return r;
			at += n;
			if (!*at)
				break;
		}
	} else if (*text && !nodes_parse(text, &shares.nodes)) {
		return wrong(ret_why, "nodes are 0 to 63, as in 0,2-3 or 0:1G,1:3G");
	}
	*ret = shares;
	return 0;
}
