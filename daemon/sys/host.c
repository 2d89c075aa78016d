#include "daemon/sys/host.h"

#include <errno.h>
#include <stdio.h>

#include "base/base.h"
#include "daemon/sys/procfile.h"

#define POOLS "/sys/kernel/mm/hugepages/hugepages-"

static uint64_t host_share(uint64_t total)
{
	return u64_max(total / 100 * HOST_SHARE_PERCENT, HOST_SHARE_MIN);
}

static bool pool_number(const char *root, uint32_t page_shift, const char *file, uint64_t *ret)
{
	char path[96];

	snprintf(path, sizeof(path), POOLS "%llukB/%s", 1ULL << (page_shift - 10), file);
	return procfile_number(root, path, ret);
}

static void pool_read(const char *root, uint32_t page_shift, struct sys_host *host,
		      uint64_t *ret_total, uint64_t *ret_free)
{
	uint64_t total, unused, reserved;

	if (!pool_number(root, page_shift, "nr_hugepages", &total) ||
	    !pool_number(root, page_shift, "free_hugepages", &unused) ||
	    !pool_number(root, page_shift, "resv_hugepages", &reserved))
		return;
	host->pools |= (uint64_t)1 << page_shift;
	*ret_total = total << page_shift;
	*ret_free = (unused > reserved ? unused - reserved : 0) << page_shift;
}

int host_read(const char *root, struct sys_host *ret)
{
	uint64_t total, available, room, limit, share;
	struct sys_host host = {};
	char text[4096];
	int r;

	r = procfile_read(root, "/proc/meminfo", text, sizeof(text));
	if (r)
		return r;
	if (!procfile_field(text, "MemTotal:", &total) ||
	    !procfile_field(text, "MemAvailable:", &available))
		return -EIO;

	cgroup_read(root, &room, &limit);
	host.total = u64_min(total << 10, limit);
	host.available = u64_min(available << 10, room);
	share = host_share(host.total);
	host.cap = host.available > share ? host.available - share : 0;
	pool_read(root, HOST_HUGE_SHIFT, &host, &host.huge_total, &host.huge_free);
	pool_read(root, HOST_GIANT_SHIFT, &host, &host.giant_total, &host.giant_free);

	*ret = host;
	return 0;
}

int sys_node_check(const struct sys_node *node, uint64_t asked, uint32_t page_shift,
		   struct sys_shortage *ret)
{
	uint64_t share = u64_max(node->total / 100 * HOST_SHARE_PERCENT, NODE_SHARE_MIN);
	uint64_t available = page_shift == 30   ? node->giant_free
			     : page_shift == 21 ? node->huge_free
						: node->available;
	uint64_t cap = page_shift > 12 ? available : available > share ? available - share : 0;

	if (asked <= cap)
		return 0;
	*ret = (struct sys_shortage){
		.asked = asked, .available = available, .cap = cap, .of_node = true};
	return -ENOMEM;
}

int sys_host_check(const struct sys_host *host, uint64_t asked, uint32_t page_shift,
		   struct sys_shortage *ret)
{
	uint64_t available = page_shift == HOST_GIANT_SHIFT  ? host->giant_free
			     : page_shift == HOST_HUGE_SHIFT ? host->huge_free
							     : host->available;
	uint64_t cap = page_shift >= HOST_HUGE_SHIFT ? available : host->cap;

	if (asked <= cap)
		return 0;
	*ret = (struct sys_shortage){.asked = asked, .available = available, .cap = cap};
	return -ENOMEM;
}
