#include "client/ctl/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/size.h"

enum {
	NOFILE_LEAST = 1024, /* a daemon with a few spaces and some hundred clients */
	NOFILE_GOOD = 65536,
};

#define CLIENTS_GROUP "varbos-clients"

struct text {
	char text[SIZE_TEXT_MAX];
};

static struct text bytes(uint64_t n)
{
	struct text text;

	size_format(text.text, sizeof(text.text), n);
	return text;
}

/* `text` and, after a newline, what to do. */
static void find(struct findings *findings, enum finding_level level, const char *check,
		 const char *format, ...) _printf_(4, 5);

static void find(struct findings *findings, enum finding_level level, const char *check,
		 const char *format, ...)
{
	static const char *const names[] = {"OK", "note", "warning", "FAIL"};
	struct finding *row = &findings->rows[findings->count];
	char text[512], *todo;
	va_list args;

	if (findings->count == DOCTOR_FINDINGS_MAX)
		return;
	++findings->count;
	++findings->of_level[level];
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	todo = strchr(text, '\n');
	if (todo)
		*todo++ = '\0';
	row->level = level;
	snprintf(row->level_name, sizeof(row->level_name), "%s", names[level]);
	snprintf(row->check, sizeof(row->check), "%s", check);
	snprintf(row->text, sizeof(row->text), "%.*s", (int)sizeof(row->text) - 1, text);
	snprintf(row->todo, sizeof(row->todo), "%.*s", (int)sizeof(row->todo) - 1,
		 todo ? todo : "");
}

/* Bytes that the daemon has still to get from the machine. */
static uint64_t wanted(const struct machine *machine)
{
	if (!machine->answered)
		return machine->size;
	/* On hugepages it holds all of its region from its start. */
	if (machine->page > 4096)
		return 0;
	return machine->region > machine->committed ? machine->region - machine->committed : 0;
}

static bool wants_huge(const struct machine *machine, enum doctor_pages pages)
{
	return !machine->answered && machine->pages == pages;
}

static void check_daemon(const struct machine *machine, struct findings *findings)
{
	if (machine->answered) {
		find(findings, FINDING_OK, "daemon", "varbosd %s serves %s in pages of %s",
		     machine->version, bytes(machine->region).text, bytes(machine->page).text);
		if (*machine->pages_why)
			find(findings, FINDING_WARNING, "daemon",
			     "it fell back to small pages: %.150s\n"
			     "reserve hugepages (below), and restart it",
			     machine->pages_why);
		if (!machine->isolates)
			find(findings, FINDING_NOTE, "daemon",
			     "it runs as an ordinary user: spaces are not isolated from other "
			     "programs of that user\n"
			     "for isolation run the system's: systemctl enable --now varbosd");
		return;
	}
	switch (machine->socket_state) {
	case SOCKET_SERVED:
		find(findings, FINDING_FAIL, "daemon",
		     "whoever serves %.100s does not answer like a varbosd\n"
		     "varbosctl status --socket %.100s says why",
		     machine->socket, machine->socket);
		break;
	case SOCKET_BUSY:
		find(findings, FINDING_FAIL, "daemon",
		     "the daemon at %.100s does not accept: it hangs, or is stopped\n"
		     "varbosctl stats says since when; systemctl restart varbosd",
		     machine->socket);
		break;
	case SOCKET_NONE:
	case SOCKET_STALE:
	case SOCKET_DENIED:
	case SOCKET_OTHER:
	case SOCKET_TOO_LONG:
		find(findings, FINDING_NOTE, "daemon",
		     "no daemon answers; below is what one of %s would meet (--size, --pages)\n"
		     "systemctl start varbosd, or varbosd --socket %.100s --size %" PRIu64 "M",
		     bytes(machine->size).text, machine->socket, machine->size >> 20);
		break;
	}
}

static void check_config(const struct machine *machine, struct findings *findings)
{
	static const char *const names[] = {
		[PAGES_AUTO] = "auto", [PAGES_4K] = "4K", [PAGES_2M] = "2M", [PAGES_1G] = "1G"};

	switch (machine->config) {
	case CONFIG_NOT_ASKED:
		break;
	case CONFIG_NOT_THERE:
		find(findings, machine->answered ? FINDING_NOTE : FINDING_WARNING, "config",
		     "no varbosd is found here, so what it would be told is not known\n"
		     "install it, or name it: VARBOS_DAEMON=/path/of/varbosd");
		break;
	case CONFIG_WRONG:
		find(findings, machine->answered ? FINDING_WARNING : FINDING_FAIL, "config",
		     "%.180s%s\nvarbosd --check-config says all that is wrong",
		     machine->config_why,
		     machine->answered ? ": it would not start again" : "");
		break;
	case CONFIG_GOOD:
		find(findings, FINDING_OK, "config", "%s (%.80s), pages %s (%.80s)%s",
		     bytes(machine->size).text, machine->size_origin, names[machine->pages],
		     machine->pages_origin, machine->lock ? ", locked" : "");
		break;
	}
	if (*machine->told_socket && strcmp(machine->told_socket, machine->socket))
		find(findings, FINDING_NOTE, "config",
		     "varbosd is told to serve %.101s, this looks at another socket\n"
		     "varbosctl --socket %.101s, or VARBOS_SOCKET",
		     machine->told_socket, machine->told_socket);
}

static void check_socket(const struct machine *machine, struct findings *findings)
{
	switch (machine->socket_state) {
	case SOCKET_SERVED:
	case SOCKET_BUSY:
		find(findings, FINDING_OK, "socket", "%.150s is served", machine->socket);
		break;
	case SOCKET_NONE:
		find(findings, FINDING_OK, "socket", "%.150s is free to be served",
		     machine->socket);
		break;
	case SOCKET_STALE:
		find(findings, FINDING_WARNING, "socket",
		     "%.100s was left by a daemon that is gone\n"
		     "start varbosd: it takes its place",
		     machine->socket);
		break;
	case SOCKET_DENIED:
		find(findings, FINDING_FAIL, "socket",
		     "%.100s: permission denied\n%s %.60s, and log in again", machine->socket,
		     "usermod -aG " CLIENTS_GROUP, machine->user);
		break;
	case SOCKET_OTHER:
		find(findings, FINDING_FAIL, "socket",
		     "%.100s is there, and is no varbosd's socket\n"
		     "move it away, or choose another path with --socket",
		     machine->socket);
		break;
	case SOCKET_TOO_LONG:
		find(findings, FINDING_FAIL, "socket",
		     "the path has %zu bytes, a socket's at most %" PRIu64 "\n"
		     "choose a shorter one with --socket, as /run/varbos/varbos.sock",
		     strlen(machine->socket), machine->socket_max);
		break;
	}
}

static void check_group(const struct machine *machine, struct findings *findings)
{
	if (!machine->has_group || !machine->has_user)
		find(findings, FINDING_NOTE, "group",
		     "this machine has no %s: only root and the daemon's own user may connect "
		     "to a system's daemon\n"
		     "systemd-sysusers, or: useradd -r varbos; groupadd -r " CLIENTS_GROUP,
		     machine->has_group ? "user varbos" : "group " CLIENTS_GROUP);
	if (!machine->has_group)
		return;
	if (machine->root || machine->member == MEMBER_YES)
		find(findings, FINDING_OK, "group", "%.60s may use the system's daemon",
		     machine->user);
	else if (machine->member == MEMBER_SINCE)
		find(findings, FINDING_WARNING, "group",
		     "%.60s is in " CLIENTS_GROUP ", but this session is older than that\n"
		     "log in again, or: newgrp " CLIENTS_GROUP,
		     machine->user);
	else
		find(findings, FINDING_WARNING, "group",
		     "%.60s is not in " CLIENTS_GROUP ", so may not use the system's daemon\n"
		     "usermod -aG " CLIENTS_GROUP " %.60s, and log in again",
		     machine->user, machine->user);
}

static void check_memory(const struct machine *machine, struct findings *findings)
{
	uint64_t need = wanted(machine);
	bool huge = machine->pages == PAGES_2M || machine->pages == PAGES_1G;

	if (!machine->host_known) {
		find(findings, FINDING_FAIL, "memory",
		     "/proc/meminfo says nothing: the daemon would not start\n"
		     "mount -t proc proc /proc");
		return;
	}
	if (huge && !machine->answered)
		need = 0; /* the pool has it, or not */
	if (need > machine->host.cap)
		find(findings, machine->answered ? FINDING_WARNING : FINDING_FAIL, "memory",
		     "%s %s, the machine can spare %s (of %s available, the host keeps its "
		     "share)\nuse less (--size %" PRIu64 "M), or end what else uses memory",
		     bytes(need).text,
		     machine->answered ? "of the region are still to be committed"
				       : "are asked",
		     bytes(machine->host.cap).text, bytes(machine->host.available).text,
		     (machine->host.cap >> 21) << 1);
	else
		find(findings, FINDING_OK, "memory",
		     "%s available, of which Varbos could take %s",
		     bytes(machine->host.available).text, bytes(machine->host.cap).text);
}

static void check_cgroup(const struct machine *machine, struct findings *findings)
{
	uint64_t size = machine->answered ? machine->region : machine->size;

	if (machine->cgroup_limit == UINT64_MAX)
		find(findings, FINDING_OK, "cgroup", "no memory limit above this process");
	else if (machine->cgroup_limit < size)
		find(findings, FINDING_WARNING, "cgroup",
		     "a limit of %s is above this process, less than a region of %s: a daemon "
		     "here would be refused memory\n"
		     "start it outside (systemctl start varbosd), or raise memory.max, "
		     "MemoryMax=",
		     bytes(machine->cgroup_limit).text, bytes(size).text);
	else
		find(findings, FINDING_OK, "cgroup", "limit %s, of which %s are left",
		     bytes(machine->cgroup_limit).text, bytes(machine->cgroup_room).text);
}

/* How many pages of this size the daemon would want: of 1 GiB, whole ones beside memory.small. */
static uint64_t pages_wanted(const struct machine *machine, enum doctor_pages pages)
{
	uint64_t page = (uint64_t)1 << pages;
	uint64_t small = machine->small ? machine->small : machine->size / 4;

	if (pages == PAGES_1G)
		return small < machine->size ? (machine->size - small) / page : 0;
	return (machine->size + page - 1) / page;
}

static void check_pool(const struct machine *machine, struct findings *findings,
		       const struct machine_pool *pool, enum doctor_pages pages,
		       const char *folder)
{
	const char *name = pages == PAGES_2M ? "2 MiB" : "1 GiB";
	uint64_t need = pages_wanted(machine, pages);
	bool asked = wants_huge(machine, pages);

	if (!pool->there) {
		if (asked)
			find(findings, FINDING_FAIL, "hugepages",
			     "this machine has no pages of %s\nuse --pages %s", name,
			     pages == PAGES_1G ? "2M" : "4K");
		return;
	}
	if (machine->answered ||
	    (!asked && (machine->pages != PAGES_AUTO || pages != PAGES_2M))) {
		find(findings, FINDING_OK, "hugepages",
		     "%s: %" PRIu64 " reserved, %" PRIu64 " free", name, pool->total,
		     pool->free);
		return;
	}
	if (!need)
		find(findings, FINDING_FAIL, "hugepages",
		     "a region of %s has no room for a page of 1 GiB: memory.small is %s\n"
		     "use --pages 2M, or a larger --size",
		     bytes(machine->size).text,
		     machine->small ? bytes(machine->small).text : "a quarter of it");
	else if (pool->free >= need)
		find(findings, FINDING_OK, "hugepages",
		     "%s: %" PRIu64 " free of %" PRIu64 ", %" PRIu64 " wanted", name,
		     pool->free, pool->total, need);
	else
		find(findings, asked ? FINDING_FAIL : FINDING_WARNING, "hugepages",
		     "%s: %" PRIu64 " free of %" PRIu64 ", %" PRIu64 " wanted: %s\n"
		     "echo %" PRIu64 " > /sys/kernel/mm/hugepages/%s/nr_hugepages",
		     name, pool->free, pool->total, need,
		     asked ? "the daemon would not start" : "it would fall back to 4 KiB pages",
		     pool->total - pool->free + need, folder);
}

static void check_hugepages(const struct machine *machine, struct findings *findings)
{
	check_pool(machine, findings, &machine->huge, PAGES_2M, "hugepages-2048kB");
	check_pool(machine, findings, &machine->giant, PAGES_1G, "hugepages-1048576kB");
}

static void check_node(const struct machine *machine, uint32_t node, bool others_have,
		       struct findings *findings)
{
	const struct sys_node *at = &machine->nodes.node[node];

	if (at->huge_total || at->giant_total)
		find(findings, FINDING_OK, "numa",
		     "node %u: %" PRIu64 " of %" PRIu64 " pages of 2 MiB free, %" PRIu64
		     " of %" PRIu64 " of 1 GiB",
		     node, at->huge_free >> PAGES_2M, at->huge_total >> PAGES_2M,
		     at->giant_free >> PAGES_1G, at->giant_total >> PAGES_1G);
	else if (others_have && at->total)
		find(findings, FINDING_WARNING, "numa",
		     "node %u has no hugepages, others have: a space bound to it gets "
		     "none\n"
		     "echo N > /sys/devices/system/node/node%u/hugepages/"
		     "hugepages-2048kB/nr_hugepages",
		     node, node);
}

static void check_numa(const struct machine *machine, struct findings *findings)
{
	const struct topology *topology = &machine->nodes.topology;
	int memory = 0, allowed = __builtin_popcountll(topology->memory);
	bool pooled = false;

	for (uint64_t rest = topology->nodes; rest; rest &= rest - 1) {
		const struct sys_node *node = &machine->nodes.node[__builtin_ctzll(rest)];

		memory += !!node->total;
		pooled |= node->huge_total || node->giant_total;
	}
	if (memory <= 1) {
		find(findings, FINDING_OK, "numa", "one node with memory");
		return;
	}
	if (allowed < memory)
		find(findings, FINDING_WARNING, "numa",
		     "this process may use the memory of %d of %d nodes (cpuset.mems)\n"
		     "start the daemon outside of that cpuset: systemctl start varbosd",
		     allowed, memory);
	else
		find(findings, FINDING_OK, "numa", "%d nodes with memory, all of them allowed",
		     memory);
	for (uint64_t rest = topology->nodes; rest; rest &= rest - 1)
		check_node(machine, (uint32_t)__builtin_ctzll(rest), pooled, findings);
	if (machine->balancing_known && machine->balancing)
		find(findings, FINDING_NOTE, "numa",
		     "automatic balancing scans mappings and may move pages of 4 KiB away from "
		     "where a space wants them\nsysctl kernel.numa_balancing=0");
}

static void check_swap(const struct machine *machine, struct findings *findings)
{
	bool small = machine->answered ? machine->page == 4096 : machine->pages == PAGES_4K;

	if (small && machine->lock)
		find(findings, FINDING_OK, "swap", "memory.lock keeps pages out of it");
	else if (!machine->swap_total)
		find(findings, FINDING_OK, "swap",
		     "none: nothing of Varbos can be swapped out");
	else if (!small)
		find(findings, FINDING_OK, "swap", "%s; hugepages are never swapped out",
		     bytes(machine->swap_total).text);
	else
		find(findings, FINDING_WARNING, "swap",
		     "%s, swappiness %" PRIu64
		     ": pages of 4 KiB can be swapped out, and hits then take a disk's time\n"
		     "use hugepages; or sysctl vm.swappiness=1; or swapoff -a",
		     bytes(machine->swap_total).text, machine->swappiness);
}

/* "always [madvise] never": the word in brackets. */
static bool chosen(const char *text, const char *word)
{
	char bracketed[32];

	snprintf(bracketed, sizeof(bracketed), "[%s]", word);
	return strstr(text, bracketed);
}

static void check_thp(const struct machine *machine, struct findings *findings)
{
	if (!*machine->thp_shmem)
		find(findings, FINDING_NOTE, "thp",
		     "this kernel has no transparent hugepages\n"
		     "hugepages from the pool are the better choice anyway (above)");
	else if (chosen(machine->thp_shmem, "never") || chosen(machine->thp_shmem, "deny"))
		find(findings, FINDING_NOTE, "thp",
		     "off for shared memory: regions of 4 KiB pages get none unasked\n"
		     "memory.thp = \"always\" in varbosd.toml; or "
		     "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled");
	else
		find(findings, FINDING_OK, "thp", "shared memory may have them");
	if (chosen(machine->thp, "always"))
		find(findings, FINDING_NOTE, "thp",
		     "always on for programs' own memory: they grow, and leave less for a "
		     "region\n"
		     "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void check_limits(const struct machine *machine, struct findings *findings)
{
	if (machine->nofile_hard < NOFILE_LEAST)
		find(findings, FINDING_FAIL, "limits",
		     "at most %" PRIu64
		     " descriptors a process: windows and clients take several "
		     "each\nulimit -Hn %d, LimitNOFILE=%d, or /etc/security/limits.conf",
		     machine->nofile_hard, NOFILE_GOOD, NOFILE_GOOD);
	else if (machine->nofile_hard < NOFILE_GOOD)
		find(findings, FINDING_WARNING, "limits",
		     "at most %" PRIu64
		     " descriptors a process: enough for some hundred clients\n"
		     "LimitNOFILE=%d, or nofile in /etc/security/limits.conf",
		     machine->nofile_hard, NOFILE_GOOD);
	else
		find(findings, FINDING_OK, "limits", "descriptors: %s",
		     machine->nofile_hard == UINT64_MAX ? "no limit" : "enough");
	if (machine->memlock_soft < machine->size && !machine->root && machine->lock &&
	    (machine->pages == PAGES_AUTO || machine->pages == PAGES_4K))
		find(findings, machine->pages == PAGES_4K ? FINDING_FAIL : FINDING_WARNING,
		     "limits",
		     "memory.lock is set, and %s may be locked: a region of %s on 4 KiB pages "
		     "could not be\nLimitMEMLOCK=infinity, or memlock in "
		     "/etc/security/limits.conf",
		     bytes(machine->memlock_soft).text, bytes(machine->size).text);
	else if (machine->memlock_soft < machine->size && !machine->root)
		find(findings, FINDING_NOTE, "limits",
		     "%s may be locked: a region of %s on 4 KiB pages could not be kept out of "
		     "swap\nLimitMEMLOCK=infinity, or memlock in /etc/security/limits.conf",
		     bytes(machine->memlock_soft).text, bytes(machine->size).text);
	else
		find(findings, FINDING_OK, "limits", "memory may be locked");
}

static void check_kernel(const struct machine *machine, struct findings *findings)
{
	const struct {
		bool there, must;
		const char *name, *without;
	} features[] = {
		{machine->memfd, true, "memfd with seals (3.17)", "nothing works"},
		{machine->pidfd, true, "pidfd (5.3)", "the end of a client is not seen"},
		{machine->memfd_huge || !machine->huge.there, false,
		 "memfd on hugepages (4.16)", "regions have 4 KiB pages"},
		{machine->membarrier, false, "membarrier (4.16)",
		 "each hit costs a fence more"},
		{machine->peer_pidfd, false, "SO_PEERPIDFD (6.5)",
		 "who connects is told by pid and user"},
		{machine->pass_rights, false, "SO_PASSRIGHTS (6.16)",
		 "uninvited descriptors are closed after they came in"},
	};
	uint32_t missing = 0;

	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].there)
			continue;
		missing++;
		if (features[i].must)
			find(findings, FINDING_FAIL, "kernel",
			     "%.60s has no %s: %s\ninstall a newer kernel, or allow the system "
			     "call "
			     "(seccomp, containers)",
			     machine->release, features[i].name, features[i].without);
		else
			find(findings, FINDING_NOTE, "kernel",
			     "%.60s has no %s: %s\nnothing has to be done; a newer kernel has "
			     "it",
			     machine->release, features[i].name, features[i].without);
	}
	if (!missing)
		find(findings, FINDING_OK, "kernel", "%.60s has all that Varbos uses",
		     machine->release);
}

static const struct {
	const char *name;
	void (*look)(const struct machine *machine, struct findings *findings);
} checks[] = {
	{"daemon", check_daemon},       {"config", check_config},
	{"socket", check_socket},       {"group", check_group},
	{"memory", check_memory},       {"cgroup", check_cgroup},
	{"hugepages", check_hugepages}, {"numa", check_numa},
	{"swap", check_swap},           {"thp", check_thp},
	{"limits", check_limits},       {"kernel", check_kernel},
};

void doctor_look(const struct machine *machine, struct findings *ret)
{
	*ret = (struct findings){0};
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i].look(machine, ret);
}
