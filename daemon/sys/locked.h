/*
 * Locked - committed memory that the kernel never swaps.
 *
 * A memfd has no lock of its own: its pages stay in memory as long as a locked mapping has them. So
 * the daemon maps each window's data, never looks at it, and locks exactly what is committed: 8 bytes
 * of page table for each 4 KiB, and RLIMIT_MEMLOCK counts what is committed, not holes. Only 4 KiB
 * pages come here: hugepages are never swapped.
 *
 * L1  A range is locked after it was committed, and unlocked before it is punched.
 * L2  What cannot be locked is an error of whoever asked for it; what was locked stays so.
 * L3  The mappings are in no core dump.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct locked_file {
	char *memory; /* NULL: this descriptor's file is not here */
	uint64_t size;
};

struct locked {
	pthread_mutex_t lock; /* of what follows; the kernel's calls are made without it */
	bool active;
	uint64_t limit;            /* what may be locked; UINT64_MAX: no end */
	uint64_t bytes;            /* locked */
	struct locked_file *files; /* by descriptor */
	uint32_t n_files;
};

void locked_init(struct locked *locked);
void locked_deinit(struct locked *locked);

/*
 * Begin, if `bytes` may be locked: tried, on memory that is not there. The limit is raised as far
 * as that goes, *ret_limit is what it is then. -ENOMEM, -EPERM: it is less, and nothing begins.
 */
int locked_start(struct locked *locked, uint64_t bytes, uint64_t *ret_limit);

/* The rest does nothing before that, or for a file that was not added. */
int locked_file_add(struct locked *locked, int fd, uint64_t size);
/* `bytes` of it were locked. */
void locked_file_remove(struct locked *locked, int fd, uint64_t bytes);

int locked_add(struct locked *locked, int fd, uint64_t offset, uint64_t size);
void locked_drop(struct locked *locked, int fd, uint64_t offset, uint64_t size);

/* UINT64_MAX for a limit that is none. */
void locked_view(struct locked *locked, uint64_t *ret_bytes, uint64_t *ret_limit);
