/*
 * Reserve - hugepages that are Varbos's and that no one has committed yet.
 *
 * A shared hugetlb file reserves the pages of a range when that range is mapped, and gives up
 * what is cut off its end. The file here is never touched; its length is what is held.
 *
 * V1  held <= quota - taken, and less only if strangers emptied the pool in between.
 * V2  Cut before commit: pages that are held can be committed by no one, us included.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "daemon/sys/sys.h"

struct reserve_pool {
	uint32_t page_shift;
	int fd;         /* -1: nothing was ever reserved */
	uint64_t quota; /* committed or held */
	uint64_t taken; /* committed */
	uint64_t held;
};

/* One pool for each size of hugepages; calls with another size do nothing. */
struct reserve {
	pthread_mutex_t lock;
	struct reserve_pool pools[2];
};

void reserve_init(struct reserve *reserve);
void reserve_deinit(struct reserve *reserve);

/*
 * -ENOMEM: the pool has not that many; nothing has changed. `root` as for host_read(): what the
 * pool has is looked at first, for the kernel may be allowed to enlarge it, at the host's cost.
 */
int reserve_quota(struct reserve *reserve, const char *root, uint32_t page_shift,
		  uint64_t bytes);

void reserve_take(struct reserve *reserve, uint32_t page_shift, uint64_t bytes);
void reserve_give(struct reserve *reserve, uint32_t page_shift, uint64_t bytes);

/* host_read(), with what is held counted as free. */
int reserve_host(struct reserve *reserve, const char *root, struct sys_host *ret);
