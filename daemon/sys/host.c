#include "daemon/sys/host.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/sys/procfile.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t host_share(uint64_t total)
{
	return u64_max(total / 100 * HOST_SHARE_PERCENT, HOST_SHARE_MIN);
}

static void pool_read(const char *root, struct sys_host *host)
{
	uint64_t total, unused, reserved;

	if (!procfile_number(root, POOL "nr_hugepages", &total) ||
	    !procfile_number(root, POOL "free_hugepages", &unused) ||
	    !procfile_number(root, POOL "resv_hugepages", &reserved))
		return;
	host->huge_total = total << HOST_HUGE_SHIFT;
	host->huge_free = (unused > reserved ? unused - reserved : 0) << HOST_HUGE_SHIFT;
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
	pool_read(root, &host);

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
	bool huge = page_shift >= HOST_HUGE_SHIFT;
	uint64_t available = huge ? host->huge_free : host->available;
	uint64_t cap = huge ? host->huge_free : host->cap;

	if (asked <= cap)
		return 0;
	*ret = (struct sys_shortage){.asked = asked, .available = available, .cap = cap};
	return -ENOMEM;
}
