/*
 * Sys - what the daemon asks of the kernel, as one table that tests replace.
 *
 * S1  0 is done, -errno is the kernel's refusal; a refusal leaves nothing behind.
 * S2  No open file description is shared with a client: what a client gets is reopened.
 * S3  The host comes first: memory is committed in steps, and before each one the machine, the
 *     cgroup and the hugepage pool are asked whether they can spare it.
 * S4  Memory passes from space to space through the kernel only: punched, committed afresh.
 * S5  Every call may be made from any thread; calls on one file touch disjoint ranges.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/topology.h"
#include "daemon/sys/words.h"

/* What the machine could give, in bytes. */
struct sys_host {
	uint64_t total;     /* of memory */
	uint64_t available; /* without swapping: the least of MemAvailable and cgroup room */
	uint64_t cap; /* the most that Varbos may take of it, leaving the host its share */
	/* Pools, in bytes; free: neither used nor reserved by others */
	uint64_t huge_total, huge_free;   /* of 2 MiB pages */
	uint64_t giant_total, giant_free; /* of 1 GiB pages */
	uint64_t pools; /* bit n: there are hugepages of 2^n bytes, or there could be */
};

/* One NUMA node, in bytes. */
struct sys_node {
	uint64_t total;
	uint64_t available;               /* free, or in clean pages of files */
	uint64_t huge_total, huge_free;   /* its pool of 2 MiB pages */
	uint64_t giant_total, giant_free; /* of 1 GiB pages */
	uint64_t misplaced; /* committed here, came from elsewhere, was given back */
	uint32_t cpus;
};

struct sys_nodes {
	struct topology topology;
	int refused; /* 0, or the -errno by which the system lets us choose no node: a sandbox */
	struct sys_node node[TOPOLOGY_NODES_MAX];
};

/* For commit: whatever node the kernel likes. */
#define SYS_NODE_ANY UINT32_MAX

/* Why commit said -ENOMEM or -ENOSPC. */
struct sys_shortage {
	uint64_t asked, available, cap;
	bool of_node; /* it is `node` that cannot spare it, not the machine */
	bool of_lock; /* it cannot be locked: `available` of `cap` (UINT64_MAX: no limit) is left */
	uint32_t node;
	uint64_t misplaced; /* bytes that came from other nodes, and were given back */
};

enum sys_access { SYS_READ, SYS_READ_WRITE };

/* Embedded first in whatever the table's functions need to remember. */
struct sys {
	const struct sys_table *table;
};

struct sys_table {
	/* A window's data: mode 0600, size sealed for good, holes throughout. */
	int (*window_create)(struct sys *sys, const char *name, uint64_t size,
			     uint32_t page_shift, int *ret_fd);
	/* Take its pages away, whoever still maps it, and close it. */
	void (*window_destroy)(struct sys *sys, int fd, uint32_t page_shift);
	/*
	 * A window's words file (words.h), which the daemon does not map: sealed, holes throughout.
	 * Its pages belong to who touches them, like what programs have in memory of their own.
	 */
	int (*words_create)(struct sys *sys, const char *name, uint32_t n_slices, int *ret_fd);
	void (*words_destroy)(struct sys *sys, int fd);
	/* words_sweep() and words_read() of words.h. */
	int (*words_sweep)(struct sys *sys, int fd, uint32_t n_slices,
			   const struct words_run *run, const struct block_ids *dead,
			   struct words_found *ret);
	/* orphan_locks() of orphan.h; `fd` is a window's data. */
	int (*orphan_locks)(struct sys *sys, int fd, uint32_t page_shift, uint64_t position,
			    const struct block_ids *dead);
	int (*words_read)(struct sys *sys, int fd, uint64_t offset, uint32_t *ret);
	/*
	 * A file that the daemon maps, at *ret_memory: mode 0600, committed whole. What clients
	 * write it cannot grow.
	 */
	int (*file_create)(struct sys *sys, const char *name, uint64_t size,
			   enum sys_access clients, int *ret_fd, void **ret_memory);
	void (*file_unmap)(struct sys *sys, void *memory, uint64_t size);
	/*
	 * One of SYS_READ is `size` bytes from now on, committed; and mapped once more, `span`
	 * bytes of it: what lies beyond `size` may be touched when it has grown so far. span 0:
	 * its mapping goes far enough, and nothing is written to ret_memory.
	 */
	int (*file_grow)(struct sys *sys, int fd, uint64_t size, uint64_t span,
			 void **ret_memory);
	/*
	 * What an earlier process made by the calls above, and left: kind, size, seals, mode and
	 * pages are looked at, and -EBADFD says that it is not what those make. The descriptor is
	 * the caller's in either case.
	 */
	int (*window_adopt)(struct sys *sys, int fd, uint64_t size, uint32_t page_shift);
	int (*words_adopt)(struct sys *sys, int fd, uint32_t n_slices);
	/* Mapped as by file_grow(): `span` bytes of it (0: all); *ret_size is what it has. */
	int (*file_adopt)(struct sys *sys, int fd, enum sys_access clients, uint64_t span,
			  uint64_t *ret_size, void **ret_memory);
	/*
	 * A file for the daemon alone, mapped, which stays a hole where nothing is stored; and one that
	 * was left. Gone by file_unmap() and close().
	 */
	int (*ledger_create)(struct sys *sys, uint64_t size, int *ret_fd, void **ret_memory);
	int (*ledger_adopt)(struct sys *sys, int fd, uint64_t *ret_size, void **ret_memory);
	/* Where its last data between two offsets ends, in whole pages; `from`: there is none. */
	int (*data_end)(struct sys *sys, int fd, uint64_t from, uint64_t to, uint64_t *ret);
	/*
	 * A window's data, all of it, to be touched by guard.h alone, and where it is committed; gone
	 * by file_unmap().
	 */
	int (*data_map)(struct sys *sys, int fd, uint64_t size, void **ret_memory);
	/*
	 * Pages for a range of a window, from one node; undone if it fails halfway, or if any
	 * came from elsewhere. *ret is written on -ENOMEM and -ENOSPC only.
	 */
	int (*commit)(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		      uint64_t offset, uint64_t size, struct sys_shortage *ret);
	int (*punch)(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size);
	/*
	 * Punch what was never committed, and so was never taken from what is held: nothing is
	 * given back to it either.
	 */
	int (*scrub)(struct sys *sys, int fd, uint64_t offset, uint64_t size);
	/* Zeros into pages that are committed. -EFAULT: a client has punched them. */
	int (*zero)(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		    uint64_t size);
	/* Bytes that a file really holds. */
	int (*blocks)(struct sys *sys, int fd, uint64_t *ret);
	/* A fresh description of the file, for a client. */
	int (*reopen)(struct sys *sys, int fd, enum sys_access access, int *ret_fd);
	int (*host)(struct sys *sys, struct sys_host *ret);
	/* One at least has memory for us. */
	int (*nodes)(struct sys *sys, struct sys_nodes *ret);
	/*
	 * Set how many bytes of hugepages of a size are Varbos's, committed or not. What of them is not
	 * committed is held, so that a stranger's touch of a hole gets SIGBUS, not a page: commit
	 * takes from it, punch and window_destroy give back to it. -ENOMEM: the pool has not that
	 * many, and nothing has changed.
	 */
	int (*reserve)(struct sys *sys, uint32_t page_shift, uint64_t bytes);
	/* What holds them, to be left to the next process; -1: nothing does. It stays the table's. */
	int (*reserve_file)(struct sys *sys, uint32_t page_shift);
	/*
	 * Instead of reserve(): `bytes` are Varbos's, and `taken` of them committed; what was left holds
	 * the rest, as far as it does. Takes the descriptor (-1: there is none). -EBADFD: it is no
	 * such file, and is closed.
	 */
	int (*reserve_adopt)(struct sys *sys, uint32_t page_shift, int fd, uint64_t bytes,
			     uint64_t taken);
	/*
	 * From now on what is committed in 4 KiB pages stays in memory, never swapped; a commit that
	 * cannot be locked fails. -ENOMEM, -EPERM: so many bytes may not be locked, *ret_limit
	 * (UINT64_MAX: none) is the limit, and nothing has changed.
	 */
	int (*lock)(struct sys *sys, uint64_t bytes, uint64_t *ret_limit);
	/* What was committed before that, in a window that was adopted after it. */
	int (*relock)(struct sys *sys, int fd, uint64_t offset, uint64_t size);
	/*
	 * From now on 2 MiB that are committed in 4 KiB pages become a transparent hugepage where the
	 * kernel has one. -EINVAL: this kernel makes none.
	 */
	int (*collapse)(struct sys *sys);
	/*
	 * The process at the other end of a socket; *ret_birth (never 0) tells its pid's lives
	 * apart. -ESRCH: it has ended.
	 */
	int (*peer)(struct sys *sys, int socket, uint32_t *ret_uid, uint32_t *ret_gid,
		    uint32_t *ret_pid, int *ret_pidfd, uint64_t *ret_birth);
	/* The process that had this pid and birth. -ESRCH: it has ended. */
	int (*process)(struct sys *sys, uint32_t pid, uint64_t birth, int *ret_pidfd);
	/*
	 * So many of those who wait on a futex in a file that clients map: how many there were. Each
	 * costs time: all of them are a worker's to wake.
	 */
	uint32_t (*wake)(struct sys *sys, const _Atomic uint32_t *word, uint32_t most);
	uint64_t (*now_ns)(struct sys *sys);   /* CLOCK_MONOTONIC */
	uint64_t (*spent_ns)(struct sys *sys); /* by this thread, of a processor: slow to ask */
	uint64_t (*machine_ns)(struct sys *sys); /* the machine's time: goes on in a suspend */
	/*
	 * A full barrier in all threads of the processes that have registered for it
	 * (MEMBARRIER_CMD_GLOBAL_EXPEDITED). -EINVAL, -ENOSYS: not here.
	 */
	int (*barrier)(struct sys *sys);
};

/* The kernel itself. */
int sys_real_new(struct sys **ret);
void sys_real_free(struct sys *sys);

/* Of the pool of hugepages of this size, what is free. */
static inline uint64_t *sys_host_pool(struct sys_host *host, uint32_t page_shift)
{
	return page_shift == 30 ? &host->giant_free : &host->huge_free;
}

/*
 * Could the host spare `asked` bytes in pages of this size? Pure. -ENOMEM: no, and *ret has the
 * numbers; else *ret is untouched.
 */
int sys_host_check(const struct sys_host *host, uint64_t asked, uint32_t page_shift,
		   struct sys_shortage *ret);
/* The same of one node, which keeps 5 % of its memory, 16 MiB at least, for others. */
int sys_node_check(const struct sys_node *node, uint64_t asked, uint32_t page_shift,
		   struct sys_shortage *ret);
