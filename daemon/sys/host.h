/*
 * Host - what the machine has, and how much of it Varbos may take.
 *
 * H1  The host keeps a share: 5 % of its memory, at least 64 MiB, of what is available stays
 *     untouched, whatever is asked.
 * H2  A cgroup's limit counts like the machine's own, at every level of the process's path;
 *     file pages that the cgroup could drop count as room.
 * H3  What cannot be read counts as absent: no cgroup file is no limit, no pool is no hugepage.
 */
#pragma once

#include <stdint.h>

#include "daemon/sys/sys.h"

#define HOST_SHARE_MIN ((uint64_t)64 << 20)
#define NODE_SHARE_MIN ((uint64_t)16 << 20)
enum { HOST_SHARE_PERCENT = 5, HOST_HUGE_SHIFT = 21, HOST_GIANT_SHIFT = 30 };

/* `root` stands before /proc and /sys: "" but in tests. -EIO: /proc/meminfo makes no sense. */
int host_read(const char *root, struct sys_host *ret);

/* The least room that the cgroups of this process leave, and the least limit; UINT64_MAX: none. */
void cgroup_read(const char *root, uint64_t *ret_room, uint64_t *ret_limit);
