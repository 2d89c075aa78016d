/*
 * Reserve - hugepages that are Varbos's and that no one has committed yet.
 *
 * A shared hugetlb file reserves the pages of a range when that range is mapped, and gives up
 * what is cut off its end. The file here is never touched; its length is what is held.
 *
 * V1  held <= quota - taken, and less only if strangers emptied the pool in between, or keep pages
 *     that were punched (a pipe can, by vmsplice). As many are missing then, and no others.
 * V2  Cut before commit: pages that are held can be committed by no one, us included. What is cut
 *     for one commit is not held again for what another gives back meanwhile.
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
	uint64_t flying; /* of what is taken: cut, and not committed yet */
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

/* The file of a pool; -1: nothing was ever held. */
int reserve_file(struct reserve *reserve, uint32_t page_shift);
/*
 * A quota of which an earlier process has taken some, and held the rest in this file, as far as it
 * got (-1: none). Takes the descriptor. -EBADFD: it is not such a file.
 */
int reserve_adopt(struct reserve *reserve, uint32_t page_shift, int fd, uint64_t bytes,
		  uint64_t taken);

void reserve_take(struct reserve *reserve, uint32_t page_shift, uint64_t bytes);
/* What was taken has been committed, or is about to be given. */
void reserve_landed(struct reserve *reserve, uint32_t page_shift, uint64_t bytes);
void reserve_give(struct reserve *reserve, const char *root, uint32_t page_shift,
		  uint64_t bytes);

/* host_read(), with what is held counted as free. */
int reserve_host(struct reserve *reserve, const char *root, struct sys_host *ret);
