#include "daemon/server/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/numa.h"
#include "base/size.h"
#include "daemon/core/placement.h"
#include "daemon/core/policy/policy.h"
#include "daemon/server/client.h"
#include "daemon/server/pages.h"
#include "daemon/server/server.h"

struct size_text {
	char text[SIZE_TEXT_MAX];
};

static struct size_text bytes(uint64_t n)
{
	struct size_text text;

	size_format(text.text, sizeof(text.text), n);
	return text;
}

int fault_set(struct request *request, enum fault_code code, const char *which,
	      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(request->text, sizeof(request->text), format, args);
	va_end(args);
	request->fault.code = code;
	request->fault.which = wire_str(which ? which : "");
	request->fault.message = wire_str(request->text);
	return REQUEST_FAULT;
}

static int reference_fault(struct request *request, const char *why)
{
	static const struct {
		const char *which, *text;
	} reasons[] = {
		{"freed", "that memory has been freed"},
		{"stale", "the reference is stale: the memory it named was freed and given out "
			  "again"},
		{"interior", "that is inside an allocation, not its start"},
		{"not-owner",
		 "that memory belongs to another process; only shared memory may be "
		 "freed by others"},
		{"foreign", "there is no such memory in this space"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (!strcmp(why, reasons[i].which))
			return fault_set(request, FAULT_REFERENCE, why, "%s", reasons[i].text);
	return fault_set(request, FAULT_REFERENCE, why, "not a live reference: %s", why);
}

static int placement_fault(struct request *request)
{
	char names[160] = "";

	for (uint32_t i = 0; i < PLACEMENTS; i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
			 placement_at(i)->name);
	}
	return fault_set(request, FAULT_INVALID, "placement", "placement: one of %s", names);
}

static int policy_fault(struct request *request)
{
	char names[160] = "";
	const struct policy *policy;

	for (uint32_t i = 0; (policy = policy_at(i)); i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "", policy->name);
	}
	return fault_set(request, FAULT_INVALID, "policy", "policy: one of %s", names);
}

/* Which nodes were named wrongly, and which there are. */
static int nodes_fault(struct request *request, const struct core_fault *fault)
{
	uint64_t there = request->server->topology.nodes;
	uint64_t missing = fault->nodes & ~there;
	char wrong[64], right[64];

	nodes_format(right, sizeof(right),
		     missing || !fault->nodes ? there : core_nodes(request->server->core));
	nodes_format(wrong, sizeof(wrong), missing ? missing : fault->nodes);
	if (!fault->nodes)
		return fault_set(request, FAULT_INVALID, "nodes",
				 "nodes: bind, interleave and preferred name one or more of "
				 "%s; default and local none",
				 right);
	return fault_set(request, FAULT_INVALID, "nodes",
			 missing ? "nodes: there is no node %s; there are %s"
				 : "nodes: %s: no memory there for Varbos; there is on %s",
			 wrong, right);
}

/* "; node 0: 2 MiB of 64 MiB free, node 1: ...", where there is more than one to tell apart. */
static void nodes_append(struct request *request, char *buf, size_t size, uint64_t nodes,
			 uint32_t page_shift)
{
	const char *between = "; ";

	buf[0] = '\0';
	if (!request->server->places)
		return;
	for (uint64_t rest = nodes; rest; rest &= rest - 1) {
		struct stats_node node = core_rung_view(request->server->core, page_shift,
							(uint32_t)__builtin_ctzll(rest));
		size_t used = strlen(buf);
		char one[64];

		snprintf(one, sizeof(one), "%snode %u: %s of %s free", between,
			 (unsigned)node.node, bytes(node.capacity - node.committed).text,
			 bytes(node.capacity).text);
		if (used + strlen(one) + sizeof(", ...") > size) {
			strcpy(buf + used, ", ...");
			return;
		}
		strcpy(buf + used, one);
		between = ", ";
	}
}

static int invalid_fault(struct request *request, const char *which,
			 const struct core_fault *fault)
{
	static const struct {
		const char *which, *rule;
	} rules[] = {
		{"name", "1 to 63 of A-Z a-z 0-9 . _ -, not starting with . or -"},
		{"mode", "like a file's, 0 to 0777"},
		{"weight", "1 to 10000"},
		{"limit", "at least one byte"},
		{"client_limit", "at least one byte"},
		{"uid",
		 "4294967295 is nobody's; and a reserve grows before or after, not with it"},
		{"gid", "4294967295 is nobody's"},
		{"size", "at least one byte"},
		{"align", "a power of two, at most 1 GiB"},
		{"roles", "1 sends, 2 receives, 3 both"},
		{"capacity", "at most 4096 references"},
		{"ttl", "at most 34 years"},
		{"holder", "holder.open comes before a channel's end is opened or closed"},
	};

	if (!strcmp(which, "nodes"))
		return nodes_fault(request, fault);
	if (!strcmp(which, "reserve"))
		return fault_set(request, FAULT_INVALID, which,
				 "a reserve of %s is above the limit, which is %s",
				 bytes(fault->requested).text, bytes(fault->max).text);
	if (!strcmp(which, "placement"))
		return placement_fault(request);
	if (!strcmp(which, "policy"))
		return policy_fault(request);
	if (!strcmp(which, "capacity") && request->method != WIRE_CHANNEL_OPEN)
		return fault_set(request, FAULT_INVALID, which,
				 "capacity: %s asked; at least one byte, and at most the "
				 "space's limit, which is %s",
				 bytes(fault->requested).text, bytes(fault->max).text);
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!strcmp(which, rules[i].which))
			return fault_set(request, FAULT_INVALID, which, "%s: %s", which,
					 rules[i].rule);
	return fault_set(request, FAULT_INVALID, which, "%s: not a value that works here",
			 which);
}

/* Which limit, how much of it is taken, by whom. */
static int limit_fault(struct request *request, const char *which,
		       const struct core_fault *fault)
{
	const char *what = which;

	if (!strcmp(which, "ids"))
		return fault_set(
			request, FAULT_LIMIT, which,
			"all %llu ids of the space are taken, by processes and channels",
			(unsigned long long)fault->max);
	for (size_t i = 0; i < ARRAY_SIZE(quota_infos); i++)
		if (!strcmp(which, quota_infos[i].key))
			what = quota_infos[i].what;
	request->fault.remaining = fault->max > fault->held ? fault->max - fault->held : 0;
	if (fault->all)
		return fault_set(request, FAULT_LIMIT, which,
				 "%s: all uids together have %llu %s, and the last of %llu are "
				 "kept for those that have none",
				 which, (unsigned long long)fault->held, what,
				 (unsigned long long)fault->max);
	return fault_set(request, FAULT_LIMIT, which,
			 "%s: this uid has %llu of at most %llu %s", which,
			 (unsigned long long)fault->held, (unsigned long long)fault->max, what);
}

/* What is missing: a right that the space's mode would give, or a right to open it anew with. */
static int permission_fault(struct request *request, const char *which,
			    const struct core_fault *fault)
{
	static const struct {
		const char *which, *text;
	} rights[] = {
		{"write", "this session has opened the space read-only"},
		{"owner", "only its owner and root may do that"},
		{"root", "only root gives a space to another user"},
		{"group", "an owner may choose only among the groups that he is in"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rights); i++)
		if (!strcmp(which, rights[i].which) && !fault->opening)
			return fault_set(request, FAULT_PERMISSION, which,
					 "permission denied: %s", rights[i].text);
	if (!strcmp(which, "revoked"))
		return fault_set(
			request, FAULT_PERMISSION, which,
			"permission denied: uid %u has lost the right by which it opened "
			"it (its mode is 0%03o, its owner uid %u, its group gid %u): what "
			"it has it keeps, and gets no more",
			(unsigned)request->client->credentials.uid, (unsigned)fault->mode,
			(unsigned)fault->uid, (unsigned)fault->gid);
	if (fault->opening)
		return fault_set(request, FAULT_PERMISSION, which,
				 "permission denied: uid %u may not %s it: its mode is 0%03o, "
				 "its owner uid %u, its group gid %u",
				 (unsigned)request->client->credentials.uid, which,
				 (unsigned)fault->mode, (unsigned)fault->uid,
				 (unsigned)fault->gid);
	return fault_set(request, FAULT_PERMISSION, which, "permission denied: %s", which);
}

/* Which rung the limit reaches, and what each has. */
static int rung_fault(struct request *request, const struct core_fault *fault)
{
	const struct server *server = request->server;
	char region[PAGES_TEXT_MAX];

	return fault_set(
		request, FAULT_BUDGET, "rung",
		"limit: %s asked, %s left in pages of %s, which spaces of %s %s take; "
		"there are %s",
		bytes(fault->requested).text, bytes(fault->remaining).text,
		bytes((uint64_t)1 << fault->page_shift).text, bytes(server->large.from).text,
		fault->page_shift == server->large.page_shift ? "and more" : "and more do not",
		pages_format(server, region));
}

static int not_found_fault(struct request *request, const char *which)
{
	bool by_name = request->method == WIRE_SPACE_OPEN ||
		       request->method == WIRE_SPACE_REMOVE ||
		       request->method == WIRE_SPACE_CHANGE;

	if (!strcmp(which, "channel") || !strcmp(which, "cache") || !strcmp(which, "window"))
		return fault_set(request, FAULT_NOT_FOUND, which, "no such %s", which);
	return fault_set(request, FAULT_NOT_FOUND, which,
			 by_name ? "no such space" : "no such space is open in this session");
}

int fault_from_core(struct request *request, int code, const struct core_fault *fault)
{
	const char *which = fault->which ? fault->which : "";
	char nodes[128];

	request->fault = (struct wire_fault){
		.requested = fault->requested,
		.available = fault->available,
		.largest = fault->largest,
		.max = fault->max,
		.remaining = fault->remaining,
		.pinned = fault->pinned,
	};
	switch (code) {
	case CORE_E_MEMORY:
		nodes_append(request, nodes, sizeof(nodes), fault->nodes, fault->page_shift);
		return fault_set(request, FAULT_MEMORY,
				 request->server->places ? "nodes" : which,
				 "%s asked, %s available, longest free run %s%s",
				 bytes(fault->requested).text, bytes(fault->available).text,
				 bytes(fault->largest).text, nodes);
	case CORE_E_TOO_LARGE:
		return fault_set(request, FAULT_TOO_LARGE, which,
				 "%s asked, at most %s can be had in one piece",
				 bytes(fault->requested).text, bytes(fault->max).text);
	case CORE_E_BUDGET:
		if (!strcmp(which, "rung"))
			return rung_fault(request, fault);
		if (!strcmp(which, "nodes"))
			return fault_set(request, FAULT_BUDGET, which,
					 "limit: %s asked, nodes %s have %s together",
					 bytes(fault->requested).text,
					 nodes_format(nodes, sizeof(nodes), fault->nodes),
					 bytes(fault->remaining).text);
		if (fault->pinned)
			return fault_set(
				request, FAULT_BUDGET, which,
				"%s asked, %s left in the budget of the %s, whose views "
				"keep %s",
				bytes(fault->requested).text, bytes(fault->remaining).text,
				which, bytes(fault->pinned).text);
		return fault_set(request, FAULT_BUDGET, which,
				 "%s asked, %s left in the budget of the %s",
				 bytes(fault->requested).text, bytes(fault->remaining).text,
				 which);
	case CORE_E_REFERENCE:
		return reference_fault(request, which);
	case CORE_E_INVALID:
		return invalid_fault(request, which, fault);
	case CORE_E_NOT_FOUND:
		return not_found_fault(request, which);
	case CORE_E_EXISTS:
		return fault_set(request, FAULT_EXISTS, which,
				 request->method == WIRE_SPACE_OPEN
					 ? "this session has that space open already"
				 : !strcmp(which, "channel") ? "a channel of that name exists"
				 : !strcmp(which, "cache")   ? "a cache of that name exists"
							     : "a space of that name exists");
	case CORE_E_PERMISSION:
		return permission_fault(request, which, fault);
	case CORE_E_IN_USE:
		return fault_set(request, FAULT_IN_USE, which, "in use by %llu session%s",
				 (unsigned long long)fault->available,
				 fault->available == 1 ? "" : "s");
	case CORE_E_LIMIT:
		return limit_fault(request, which, fault);
	}
	abort(); /* no other code of the core is a fault */
}

static int lock_fault(struct request *request, const struct sys_shortage *shortage)
{
	request->fault.requested = shortage->asked;
	request->fault.available = shortage->available;
	request->fault.max = shortage->cap;
	if (shortage->cap == UINT64_MAX)
		return fault_set(request, FAULT_MEMORY, "lock",
				 "memory.lock: the kernel cannot lock another %s: %s",
				 bytes(shortage->asked).text,
				 strerror((int)request->fault.system_errno));
	return fault_set(request, FAULT_MEMORY, "lock",
			 "memory.lock: %s cannot be locked: %s left of the %s that varbosd may "
			 "lock (RLIMIT_MEMLOCK)",
			 bytes(shortage->asked).text, bytes(shortage->available).text,
			 bytes(shortage->cap).text);
}

int fault_from_system(struct request *request, int error, const struct sys_shortage *shortage)
{
	request->fault = (struct wire_fault){.system_errno = (uint64_t)-error};
	if (shortage && shortage->asked && shortage->of_lock)
		return lock_fault(request, shortage);
	if (shortage && shortage->asked && shortage->of_node) {
		request->fault.requested = shortage->asked;
		request->fault.available = shortage->available;
		request->fault.max = shortage->cap;
		return fault_set(
			request, FAULT_MEMORY, "nodes",
			"node %u cannot spare %s: %s available, of which Varbos takes at "
			"most %s%s",
			shortage->node, bytes(shortage->asked).text,
			bytes(shortage->available).text, bytes(shortage->cap).text,
			shortage->misplaced ? "; the kernel gave pages of other nodes" : "");
	}
	if (shortage && shortage->asked) {
		request->fault.requested = shortage->asked;
		request->fault.available = shortage->available;
		request->fault.max = shortage->cap;
		return fault_set(
			request, FAULT_MEMORY, "host",
			"the machine cannot spare %s: %s available, of which Varbos takes "
			"at most %s",
			bytes(shortage->asked).text, bytes(shortage->available).text,
			bytes(shortage->cap).text);
	}
	return fault_set(request, FAULT_SYSTEM, NULL, "the system refused: %s",
			 strerror(-error));
}

int fault_from_wire(struct request *request, int code, const struct wire_trouble *trouble)
{
	request->fault = (struct wire_fault){};
	switch (code) {
	case WIRE_E_METHOD:
		return fault_set(request, FAULT_METHOD, trouble->which, "%s", trouble->text);
	case WIRE_E_FIELD:
		return fault_set(request, FAULT_INVALID, trouble->which, "%s", trouble->text);
	default:
		return fault_set(request, FAULT_PROTOCOL, trouble->which, "%s", trouble->text);
	}
}
