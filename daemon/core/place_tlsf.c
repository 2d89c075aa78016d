/*
 * TLSF - two-level segregated fit: a list of runs for each class of lengths, found by two words
 * of bits; of the first runs of a list the shortest that will do, the lowest address among equals.
 *
 * Below 64 slices each length is a class; above, each power of two is 32 classes. insert and
 * remove take a constant number of steps, and so does find: it looks at no more than PLACE_LOOKS
 * runs of a class, in those classes first of which some runs may be too short, or lie such that
 * no aligned place is in them. Looking at so many rather than taking the first is what makes it
 * as good as best fit (ARCHITECTURE.md has figures).
 *
 * The last inserted run of a class is the first to be looked at: which run is chosen depends on
 * history, and after a recovery it may be another.
 */
#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/place_tree.h"
#include "daemon/core/placement.h"

enum {
	SUB_BITS = 5,
	SUBS = 1 << SUB_BITS,
	LEVELS = 32 - SUB_BITS + 1,
};

/* Links are slice + 1; 0 is none. */
struct node {
	uint32_t next, prev, count;
};

struct tlsf {
	uint32_t slices;
	uint32_t levels;       /* a bit for each level that has a run */
	uint32_t subs[LEVELS]; /* in each, a bit for each class that has one */
	uint32_t heads[LEVELS * SUBS];
	struct node nodes[]; /* [0] is none */
};

/* Classes are numbered through: level * SUBS + sub. */
static uint32_t class_of(uint32_t count)
{
	uint32_t shift;

	if (count < SUBS)
		return count;
	shift = 31 - (uint32_t)__builtin_clz(count) - SUB_BITS;
	return (shift + 1) * SUBS + (count >> shift) - SUBS;
}

/* The first class all of whose runs have at least so many slices. */
static uint32_t class_above(uint32_t count)
{
	uint32_t found = class_of(count);

	if (mutant(tlsf_rounds_down))
		return found;
	return class_of(count - 1) == found ? found + 1 : found;
}

/* The first class from this one on that has a run; LEVELS * SUBS if there is none. */
static uint32_t class_from(const struct tlsf *index, uint32_t class)
{
	uint32_t level = class / SUBS, bits;

	if (level >= LEVELS)
		return LEVELS * SUBS;
	bits = index->subs[level] & UINT32_MAX << class % SUBS;
	if (!bits) {
		bits = (uint32_t)((uint64_t)index->levels >> (level + 1) << (level + 1));
		if (!bits)
			return LEVELS * SUBS;
		level = (uint32_t)__builtin_ctz(bits);
		bits = index->subs[level];
	}
	return level * SUBS + (uint32_t)__builtin_ctz(bits);
}

static int tlsf_init(void **ret, uint32_t slices)
{
	struct tlsf *index;

	index = calloc(1, sizeof(*index) + ((size_t)slices + 1) * sizeof(index->nodes[0]));
	if (!index)
		return -ENOMEM;
	index->slices = slices;
	*ret = index;
	return 0;
}

static void tlsf_insert(void *data, uint32_t first, uint32_t count)
{
	struct tlsf *index = data;
	uint32_t link = first + 1, class = class_of(count), head = index->heads[class];

	index->nodes[link] = (struct node){.next = head, .count = count};
	if (head)
		index->nodes[head].prev = link;
	index->heads[class] = link;
	index->subs[class / SUBS] |= (uint32_t)1 << class % SUBS;
	index->levels |= (uint32_t)1 << class / SUBS;
}

static void tlsf_remove(void *data, uint32_t first, uint32_t count)
{
	struct tlsf *index = data;
	uint32_t link = first + 1, class = class_of(count);
	struct node *node = &index->nodes[link];

	assert(node->count == count);
	if (node->next)
		index->nodes[node->next].prev = node->prev;
	if (node->prev) {
		index->nodes[node->prev].next = node->next;
	} else {
		assert(index->heads[class] == link);
		index->heads[class] = node->next;
	}
	*node = (struct node){0};
	if (index->heads[class])
		return;
	index->subs[class / SUBS] &= ~((uint32_t)1 << class % SUBS);
	if (!index->subs[class / SUBS])
		index->levels &= ~((uint32_t)1 << class / SUBS);
}

/* The best of the first `looks` runs of a class. */
static bool find_in(const struct tlsf *index, uint32_t class, uint32_t looks, uint32_t count,
		    uint32_t align, struct place *ret)
{
	uint32_t best = 0, length = UINT32_MAX;
	struct place place;

	for (uint32_t at = index->heads[class]; at && looks; at = index->nodes[at].next) {
		const struct node *node = &index->nodes[at];

		--looks;
		if (node->count > length || (node->count == length && at > best) ||
		    !place_in_run(at - 1, node->count, count, align, &place))
			continue;
		best = at;
		length = node->count;
		*ret = place;
	}
	return best;
}

/* In the first of the classes from..end-1 that has a place among so many runs. */
static bool find_between(const struct tlsf *index, uint32_t from, uint32_t end, uint32_t looks,
			 uint32_t count, uint32_t align, struct place *ret)
{
	for (uint32_t class = class_from(index, from); class < end;
	     class = class_from(index, class + 1))
		if (find_in(index, class, looks, count, align, ret))
			return true;
	return false;
}

static bool tlsf_find(const void *data, uint32_t count, uint32_t align, struct place *ret)
{
	const struct tlsf *index = data;
	uint32_t from = class_of(count), sure = class_above(place_sure(count, align));

	return find_between(index, from, LEVELS * SUBS, PLACE_LOOKS, count, align, ret) ||
	       (align == 1 && find_between(index, from, sure, UINT32_MAX, count, 1, ret));
}

/* Of the last class, unless it is of one length, each: they are few, for they are long. */
static uint32_t tlsf_largest(const void *data)
{
	const struct tlsf *index = data;
	uint32_t level, class, largest = 0;

	if (!index->levels)
		return 0;
	level = 31 - (uint32_t)__builtin_clz(index->levels);
	class = level * SUBS + 31 - (uint32_t)__builtin_clz(index->subs[level]);
	if (class < 2 * SUBS)
		return class;
	for (uint32_t at = index->heads[class]; at; at = index->nodes[at].next)
		if (index->nodes[at].count > largest)
			largest = index->nodes[at].count;
	return largest;
}

static const char *class_check(const struct tlsf *index, uint32_t class, uint32_t *count)
{
	uint32_t prev = 0;

	for (uint32_t at = index->heads[class]; at; at = index->nodes[at].next) {
		const struct node *node;

		if (at > index->slices || ++*count > index->slices)
			return "tlsf: a list leaves the window, or has no end";
		node = &index->nodes[at];
		if (!node->count || node->count > index->slices - (at - 1))
			return "tlsf: a run outside the window";
		if (class_of(node->count) != class)
			return "tlsf: a run in the list of another class";
		if (node->prev != prev)
			return "tlsf: a list reads differently backwards";
		prev = at;
	}
	return NULL;
}

static const char *tlsf_check(const void *data, uint32_t *ret_count)
{
	const struct tlsf *index = data;
	uint32_t count = 0;

	for (uint32_t class = 0; class < LEVELS * SUBS; ++class) {
		uint32_t level = class / SUBS;
		const char *wrong = class_check(index, class, &count);

		if (wrong)
			return wrong;
		if ((index->subs[level] >> class % SUBS & 1) != !!index->heads[class])
			return "tlsf: the bit of a class is wrong";
		if ((index->levels >> level & 1) != !!index->subs[level])
			return "tlsf: the bit of a level is wrong";
	}
	*ret_count = count;
	return NULL;
}

const struct placement place_tlsf = {
	.name = "tlsf",
	.init = tlsf_init,
	.deinit = free,
	.insert = tlsf_insert,
	.remove = tlsf_remove,
	.find = tlsf_find,
	.largest = tlsf_largest,
	.check = tlsf_check,
};
