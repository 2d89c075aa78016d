/*
 * Commit - pages for a range of a file, in steps, or none.
 *
 * K1  Before the first step the whole is asked of the host, before every other one what is
 *     left.
 * K2  A commit that fails punches what it had committed.
 * K3  Pages that are to come from a node are looked at before anyone gets them: if any came from
 *     elsewhere, the commit has failed (K2). The policy is this thread's, for as long as it takes.
 * K4  A punched page is the kernel's again: whoever commits the hole next finds zeros.
 */
#pragma once

#include <stdint.h>

#include "daemon/sys/mempolicy.h"
#include "daemon/sys/sys.h"

/* Or one page. */
#define COMMIT_STEP ((uint64_t)32 << 20)

/* Where the pages come from. */
struct commit_source {
	void *userdata;
	int (*ask)(void *userdata, struct sys_host *ret);
	/* About to commit that much, or had it back. */
	void (*take)(void *userdata, uint32_t page_shift, uint64_t bytes);
	void (*give)(void *userdata, uint32_t page_shift, uint64_t bytes);
	/* Or NULL: what was taken stands in the file, or is about to be given. */
	void (*landed)(void *userdata, uint32_t page_shift, uint64_t bytes);
	/* Or NULL: what was allocated is made into larger pages, as far as it can be. */
	void (*collapse)(void *userdata, int fd, uint64_t offset, uint64_t size);
	/* Only where a node is asked for: */
	int (*ask_node)(void *userdata, uint32_t node, struct sys_node *ret);
	int (*bind)(void *userdata, uint32_t node, struct mempolicy *ret);
	int (*restore)(void *userdata, const struct mempolicy *before);
	int (*count)(void *userdata, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size, uint32_t node, uint64_t *ret_here, uint64_t *ret_elsewhere);
};

int commit_pages(const struct commit_source *source, int fd, uint32_t page_shift, uint32_t node,
		 uint64_t offset, uint64_t size, struct sys_shortage *ret);

/* The hole is made whole, or -errno; a signal does not cut it short. */
int punch_pages(int fd, uint64_t offset, uint64_t size);
