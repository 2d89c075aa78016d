/*
 * Belady - the object that is asked for latest from now on goes: the policy that knows the future.
 *
 * BE1  Where objects count the same, no policy that inserts what misses has fewer misses (Belady,
 *      1966). With sizes it is a figure to compare with, and no bound.
 * BE2  Its host is a sim_cache, which knows what is asked for next. It refuses no victim.
 */
#pragma once

#include "daemon/core/policy/policy.h"

extern const struct policy policy_belady;
