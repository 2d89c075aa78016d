/*
 * Line - what the policies of one queue have in common: fifo, clock, lru and sieve.
 */
#pragma once

#include "daemon/core/policy/order.h"

struct line {
	struct order order;
	struct queue queue;
	uint32_t hand; /* sieve: where it looks next; POLICY_NONE: at the old end */
};

int line_init(void **ret, const struct policy_config *config);
void line_deinit(void *policy);
int line_grow(void *policy, uint32_t objects);
void line_resize(void *policy, uint64_t capacity);
void line_admit(void *policy, const struct policy_object *object);
void line_insert(void *policy, const struct policy_object *object);
void line_remove(void *policy, const struct policy_object *object, bool evicted);
void line_rename(void *policy, uint32_t from, uint32_t to);
/* Its size, as each access says. */
void line_fit(struct line *line, const struct policy_object *object);
bool line_has(const void *policy, uint32_t number);
void line_fetch_number(const void *policy, uint32_t number);
void line_fetch_beside(const void *policy, uint32_t number);
/* To the young end, as if it had just come. */
void line_renew(void *policy, uint32_t number);
const char *line_check(const void *policy, uint32_t *ret_count);
