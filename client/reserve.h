/*
 * Reserve - address space without memory, for windows to be mapped into at their number.
 */
#pragma once

#include <stdint.h>

/*
 * `windows` times 16 GiB, inaccessible, aligned for pages of any size, at `hint` if that is not
 * NULL and the room there is free. Neither forked children nor core dumps get it. 0 or -errno.
 */
int reserve_new(char **ret, char *hint, uint32_t windows);
void reserve_free(char *base, uint32_t windows);

/* Keep a fresh mapping from forked children and core dumps. 0 or -errno. */
int reserve_hide(void *memory, uint64_t size);
