/*
 * Terms - what a space may have, and who may use it.
 *
 * TM1 reserve <= limit, client_limit <= limit <= ceiling.
 * TM2 The claims (space_claim()) of one uid's spaces stay within its share: whoever would pass it
 *     by a limit, or by being given a space, is refused. Those on one rung stay within what it has.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/core.h"

struct rung;
struct space;

enum { WEIGHT_DEFAULT = 100, WEIGHT_MAX = 10000, MODE_DEFAULT = 0600, MODE_MAX = 0777 };

/*
 * What this uid may still own on a rung (NULL: on all together), but for one space (or NULL), and
 * the budget that says so.
 */
uint64_t terms_share(const struct core *core, uint32_t uid, const struct space *but,
		     const struct rung *rung, const char **ret_which);
/* The nodes that memory by this policy may come from. */
uint64_t terms_nodes(struct numa numa);
uint64_t terms_client_default(uint64_t limit);
/* As they are now. */
struct space_terms terms_of(const struct space *space);
/* From now on: recorded, and true for all its members. */
void terms_apply(struct core *core, struct space *space, const struct space_terms *terms);
