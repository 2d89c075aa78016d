/*
 * Nodes - the machine's NUMA nodes, as the kernel tells of them.
 *
 * O1  A node that the cpuset of this process leaves out (Mems_allowed) is there, but has no memory
 *     for us.
 * O2  A kernel that knows nothing of nodes has one, 0, with all the memory and processors.
 * O3  What cannot be read counts as absent: no pool is no hugepage, no distance is not known.
 */
#pragma once

#include "daemon/sys/sys.h"

/* `root` stands before /proc and /sys: "" but in tests. */
int nodes_read(const char *root, struct sys_nodes *ret);
/* Of one node, what changes: memory and pools. */
int nodes_read_one(const char *root, uint32_t node, struct sys_node *ret);
