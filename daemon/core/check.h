/*
 * Check - what tests ask beyond core_check().
 */
#pragma once

#include "daemon/core/core.h"

/*
 * C5: NULL if both cores have the same records, free runs and sums, or the first thing in which
 * they differ. Counters of what happened (peaks, allocs) are not compared: they start anew.
 */
const char *core_differ(const struct core *a, const struct core *b);
