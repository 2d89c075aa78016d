/*
 * Policy twin - an eviction policy once more, as slow and as plain as its definition: arrays,
 * searched from end to end.
 *
 * What is gone, 2q and s3fifo remember here as a list of hashes. It says what the compact ghost
 * says while the capacity is at most 4096, no bucket overflows, and no two hashes look alike there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/policy/policy.h"

struct policy_twin;

/* NULL: this policy has none. */
struct policy_twin *policy_twin_new(uint32_t policy, uint64_t capacity);
void policy_twin_free(struct policy_twin *twin); /* NULL is fine */

void policy_twin_admit(struct policy_twin *twin, const struct policy_object *object);
void policy_twin_insert(struct policy_twin *twin, const struct policy_object *object);
void policy_twin_access(struct policy_twin *twin, const struct policy_object *object);
/* Is this what it would offer, or as good? Asked once for each victim. */
bool policy_twin_offers(struct policy_twin *twin, uint32_t number);
void policy_twin_refuse(struct policy_twin *twin, uint32_t number);
void policy_twin_remove(struct policy_twin *twin, const struct policy_object *object,
			bool evicted);
void policy_twin_rename(struct policy_twin *twin, uint32_t from, uint32_t to);
/* None that has a ghost. */
void policy_twin_resize(struct policy_twin *twin, uint64_t capacity);
bool policy_twin_has_ghost(const struct policy_twin *twin);
