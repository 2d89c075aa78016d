/*
 * Zero - zeros into a range of a window, where others may have written, and may punch meanwhile.
 *
 * Its pages are committed: it asks the host for nothing. Unlike a punch it gives the range to
 * nobody else than it was.
 */
#pragma once

#include <stdint.h>

/* -EFAULT: a page was not there, or no more. */
int zero_range(int fd, uint32_t page_shift, uint64_t offset, uint64_t size);
