/*
 * Mempolicy - pages for this thread from one node, and a look at where pages came from.
 *
 * M1  Between bind and restore a page that the calling thread allocates comes from the node, or
 *     the allocation fails; other threads notice nothing.
 * M2  A count looks at the pages themselves (move_pages): what is asked for is not believed.
 */
#pragma once

#include <stdint.h>

struct mempolicy {
	int mode;
	unsigned long nodes[16];
};

/* 0, or why the kernel lets us place nothing: -EPERM (a sandbox), -ENOSYS. */
int mempolicy_possible(void);

/* *ret is what to restore. */
int mempolicy_bind(uint32_t node, struct mempolicy *ret);
int mempolicy_restore(const struct mempolicy *before);

/*
 * How many bytes of the pages in a range of a file lie on the node, and how many elsewhere. A page
 * that is not there any more counts nowhere.
 */
int mempolicy_count(int fd, uint32_t page_shift, uint64_t offset, uint64_t size, uint32_t node,
		    uint64_t *ret_here, uint64_t *ret_elsewhere);
