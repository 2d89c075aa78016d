/*
 * Index lead - which of its tables a hash leads to, while an index moves on. Private to the files
 * of the index.
 */
#pragma once

#include "daemon/core/cache/index_table.h"

/* To which of the two, and where there. */
static inline const struct index_table *index_lead(const struct index *index, uint64_t hash,
						   struct index_mix *ret)
{
	*ret = table_mix(&index->now, hash);
	if (likely(!index->next.head) || ret->bucket >= index->moved)
		return &index->now;
	*ret = table_mix(&index->next, hash);
	return &index->next;
}

static inline struct index_table *index_lead_to(struct index *index, uint64_t hash,
						struct index_mix *ret)
{
	return (struct index_table *)index_lead(index, hash, ret);
}
