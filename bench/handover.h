/*
 * Handover - one process allocates shared blocks of 64 to 1087 bytes, writes the first word and
 * passes them on, as many at a time as `size` says; another process, on another processor, reads
 * the word and frees them. ns a block, until all of a round are freed.
 *
 * Each side of the two is one table of functions; they are processes from before anything of what
 * is measured is there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bench/contender.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HANDOVER_BATCH_MAX = 32 };

/* In the process that sends. The word of a block is its number. */
void handover_send_start(const struct contender *contender);
void handover_send(const uint32_t *sizes, size_t n, uint64_t first);
void handover_send_stop(void);

/* In the one that receives: up to n blocks, at least one; each is freed. How many. */
void handover_receive_start(const struct contender *contender);
size_t handover_receive(size_t n, uint64_t first);

#ifdef __cplusplus
}
#endif
