/*
 * Choice - from which window, and which of its runs, a request is served.
 *
 * Of each tier of nodes in turn (daemon/core/nodes.h): 1, 2, and 3; then of each tier once more: 4.
 * So nobody is robbed of idle pages for the sake of nearness.
 *
 *   1  the policy's choice, in the lowest window that has one, if there are pages for it
 *   2  a new window, if there may be one and pages for it
 *   3  the run that needs the fewest new pages, if there are as many
 *   4  that run, with pages that other units hold idle: of the space itself first, then of the
 *      space most above its weighted share
 *
 * Only 3 and 4 walk the free runs, and only when memory is short, or a policy found no place so
 * aligned (P4).
 */
#pragma once

#include "daemon/core/core.h"
#include "daemon/core/placement.h"

struct choice {
	struct window *window; /* NULL: a new one */
	struct place place;
	uint32_t node, size_shift; /* of the new one */
	uint32_t need;             /* units to commit */
};

struct choice_wish {
	uint32_t count, align; /* slices */
	bool zeroed;           /* by a plan, wherever it is */
	const struct node_order *order;
};

struct core;
struct core_plan;
struct member;
struct node_order;
struct space;
struct window;

/*
 * `member`: who waits for it, or NULL. *ret_plan is NULL if the place is there already, free and committed. Else the plan is not
 * started, but holds the place, and its new window is there, pending.
 * CORE_E_MEMORY; CORE_E_BUSY: none, while plans are outstanding that may yield one; CORE_E_LIMIT
 * (with fault); -ENOMEM.
 */
int choice_make(struct core *core, struct space *space, struct member *member,
		const struct choice_wish *wish, struct choice *ret, struct core_plan **ret_plan,
		struct core_fault *fault);
/* For a refusal: bytes that the space could still get on these nodes, and the longest run of them. */
void choice_outlook(const struct core *core, const struct space *space, uint64_t nodes,
		    uint64_t *ret_available, uint64_t *ret_largest);
