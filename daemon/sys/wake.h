/*
 * Wake - a futex in memory that processes share.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* So many of those who wait on it, in whatever process: how many there were. */
uint32_t wake_some(const _Atomic uint32_t *word, uint32_t most);
