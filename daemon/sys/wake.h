/*
 * Wake - a futex in memory that processes share.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* Everyone who waits on it, in whatever process. */
void wake_all(const _Atomic uint32_t *word);
