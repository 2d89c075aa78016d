/*
 * Reserve - the pages that a space is guaranteed, hence has from the start.
 *
 * All of them or none: first without taking idle pages from other spaces, then with. Nodes come in
 * the order of the space's NUMA policy; on each, absent units of its windows are used first, then
 * new windows.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/core.h"

struct core_plan;
struct space;

/*
 * Add to a plan what commits so many more units, not from the nodes to avoid; `bytes` is the reserve that they are for. What
 * fails has left no window behind. CORE_E_MEMORY, CORE_E_BUSY, CORE_E_LIMIT (with fault); -ENOMEM.
 */
int reserve_plan(struct core *core, struct core_plan *plan, struct space *space, uint32_t units,
		 uint64_t bytes, uint64_t avoid, struct core_fault *fault);
/* Before the plan starts: what it commits is held. */
void reserve_hold(struct core *core, struct core_plan *plan);
/* The plan comes to nothing: its windows were never added. */
void reserve_undo(struct core *core, const struct core_plan *plan);
