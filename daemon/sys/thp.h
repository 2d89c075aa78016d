/*
 * Thp - transparent hugepages out of committed 4 KiB pages.
 *
 * fallocate() makes them by itself only where shmem_enabled is `always` or `within_size`: `advise`
 * means mappings, and it has none. MADV_COLLAPSE, from Linux 6.1 on, makes them whatever
 * shmem_enabled says, unless that is `deny`; it copies, which costs as much as three commits.
 *
 * T1  A chunk is collapsed after it was committed, before anyone looks at its pages, locks them, or
 *     gets them. Where the kernel has no 2 MiB in one piece, the chunk stays as it is.
 */
#pragma once

#include <stdint.h>

/* Does the kernel make any? 0; -EINVAL: no; -errno. Takes 2 MiB for as long as that takes. */
int thp_possible(void);

/* Whole chunks of 2 MiB. */
void thp_collapse(int fd, uint64_t offset, uint64_t size);
