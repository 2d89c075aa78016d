#include "daemon/core/quota.h"

#include <assert.h>
#include <stdlib.h>

#include "base/base.h"

const struct quota_info quota_infos[QUOTA_KINDS] = {
#define QUOTA(name, key, what) [QUOTA_##name] = {key, what},
#include "daemon/core/quota.def"
#undef QUOTA
};

static uint32_t bucket_of(uint32_t uid)
{
	return (uid * 0x9e3779b1U) >> 24;
}

static_assert(QUOTA_BUCKETS == 1 << 8, "bucket_of() takes the top 8 bits");

void quota_deinit(struct quota_table *table)
{
	for (uint32_t i = 0; i < QUOTA_BUCKETS; ++i) {
		struct quota *quota = TAKE_PTR(table->buckets[i]), *next;

		for (; quota; quota = next) {
			next = quota->next;
			free(quota);
		}
	}
	table->n = 0;
}

struct quota *quota_find(const struct quota_table *table, uint32_t uid)
{
	struct quota *quota = table->buckets[bucket_of(uid)];

	while (quota && quota->uid != uid)
		quota = quota->next;
	return quota;
}

struct quota *quota_ref(struct quota_table *table, uint32_t uid)
{
	struct quota *quota = quota_find(table, uid);
	struct quota **bucket = &table->buckets[bucket_of(uid)];

	if (!quota) {
		quota = calloc(1, sizeof(*quota));
		if (!quota)
			return NULL;
		quota->uid = uid;
		quota->bound = uid != 0 && uid != table->uid;
		quota->next = *bucket;
		*bucket = quota;
		++table->n;
	}
	++quota->refs;
	return quota;
}

struct quota *quota_unref(struct quota_table *table, struct quota *quota)
{
	struct quota **at;

	if (!quota || --quota->refs)
		return NULL;
	for (uint32_t i = 0; i < QUOTA_KINDS; ++i)
		assert(!quota->held[i]); /* Q1 */
	for (at = &table->buckets[bucket_of(quota->uid)]; *at != quota; at = &(*at)->next)
		;
	*at = quota->next;
	--table->n;
	free(quota);
	return NULL;
}

const struct quota *quota_next(const struct quota_table *table, const struct quota *quota)
{
	uint32_t bucket = 0;

	if (quota) {
		if (quota->next)
			return quota->next;
		bucket = bucket_of(quota->uid) + 1;
	}
	for (; bucket < QUOTA_BUCKETS; ++bucket)
		if (table->buckets[bucket])
			return table->buckets[bucket];
	return NULL;
}

/* Of all there are, what this account may fill. */
static uint64_t open_to(const struct quota_table *table, const struct quota *quota,
			enum quota_kind kind)
{
	uint64_t total = table->limits.total[kind];

	if (!table->limits.keeps_last || !quota->held[kind] || mutant(quota_takes_last))
		return total;
	return total - (total >> (quota->bound ? 3 : 4));
}

bool quota_may(struct quota_table *table, struct quota *quota, enum quota_kind kind, uint64_t n,
	       struct quota_refusal *ret)
{
	uint64_t max = quota->bound ? table->limits.max[kind] : 0, sum;
	struct quota_refusal why = {.which = quota_infos[kind].key, .requested = n};
	bool refused;

	why.max = max;
	why.held = quota->held[kind];
	refused = max && (!u64_add(quota->held[kind], n, &sum) || sum > max) &&
		  !mutant(quota_unbound);
	if (!refused && table->limits.total[kind]) {
		why.all = true;
		why.max = open_to(table, quota, kind);
		why.held = table->held[kind];
		refused = !u64_add(table->held[kind], n, &sum) || sum > why.max;
	}
	if (!refused)
		return true;
	++quota->refused[kind];
	++table->refused[kind];
	if (ret)
		*ret = why;
	return false;
}

void quota_take(struct quota_table *table, struct quota *quota, enum quota_kind kind,
		uint64_t n)
{
	quota->held[kind] += n;
	table->held[kind] += n;
}

void quota_give(struct quota_table *table, struct quota *quota, enum quota_kind kind,
		uint64_t n)
{
	assert(quota->held[kind] >= n && table->held[kind] >= n);
	if (mutant(quota_keeps))
		return;
	quota->held[kind] -= n;
	table->held[kind] -= n;
}
