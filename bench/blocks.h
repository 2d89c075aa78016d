/*
 * Blocks - the rows about blocks, each compiled with each allocator.h; a round of each is the same
 * number of operations whoever runs it.
 */
#pragma once

#include "bench/contender.h"

void pair_start(const struct contender *contender);
uint64_t pair_round(void);

void churn_start(const struct contender *contender);
uint64_t churn_round(void);

void rss_start(const struct contender *contender);
uint64_t rss_round(void);
uint64_t rss_rounded_round(void);

void larson_start(const struct contender *contender);
uint64_t larson_round(void);

void prodcons_start(const struct contender *contender);
uint64_t prodcons_round(void);
