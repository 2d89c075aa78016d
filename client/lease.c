#include "client/lease.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "proto/layout.h"

enum {
	LEASE_SLICES_MAX = 64,
	KEEP_SLICES = 1 << (CHUNK_SHIFT - SLICE_SHIFT),
	KEEP_SHIFT = 3, /* an eighth */
};

static uint64_t mask(uint32_t slices)
{
	return slices == 64 ? ~(uint64_t)0 : ((uint64_t)1 << slices) - 1;
}

void leases_init(struct leases *leases, struct lease_source *source, struct store *store)
{
	*leases = (struct leases){.source = source, .store = store};
}

static void open_insert(struct leases *leases, struct lease *lease)
{
	lease->next = leases->open;
	lease->at = &leases->open;
	if (lease->next)
		lease->next->at = &lease->next;
	leases->open = lease;
}

static void open_remove(struct lease *lease)
{
	*lease->at = lease->next;
	if (lease->next)
		lease->next->at = lease->at;
	lease->at = NULL;
	lease->next = NULL;
}

/* The first of `slices` ones in a row, or 64. */
static uint32_t find_run(uint64_t free, uint32_t slices)
{
	for (uint32_t left = slices - 1; left && free;) {
		uint32_t step = left > (slices - left) ? slices - left : left;

		free &= free >> step;
		left -= step;
	}
	return free ? (uint32_t)__builtin_ctzll(free) : 64;
}

/* With the lock held. */
static bool take_open(struct leases *leases, uint32_t slices, struct run *ret)
{
	for (struct lease *lease = leases->open; lease; lease = lease->next) {
		uint32_t first = find_run(lease->free, slices);

		if (first == 64)
			continue;
		if (lease->free == mask(lease->slices))
			leases->idle -= lease->slices;
		lease->free &= ~(mask(slices) << first);
		leases->free -= slices;
		if (!lease->free)
			open_remove(lease);
		*ret = (struct run){.leases = leases,
				    .lease = lease,
				    .base = lease->base + ((uint64_t)first << SLICE_SHIFT),
				    .first = first,
				    .slices = slices};
		return true;
	}
	return false;
}

bool leases_have(struct leases *leases, uint32_t slices)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct lease *lease;

	lock_acquire(&leases->lock);
	lock = &leases->lock;
	for (lease = leases->open; lease; lease = lease->next)
		if (find_run(lease->free, slices) != 64)
			return true;
	return false;
}

/* With the lock held: what is wholly free, down to `keep` slices of it, off the books. */
static struct lease *drop_idle(struct leases *leases, uint64_t keep)
{
	struct lease *dropped = NULL, *lease, *next;

	for (lease = leases->open; lease && leases->idle > keep; lease = next) {
		next = lease->next;
		if (lease->free != mask(lease->slices))
			continue;
		open_remove(lease);
		leases->held -= lease->slices;
		leases->free -= lease->slices;
		leases->idle -= lease->slices;
		lease->next = dropped;
		dropped = lease;
	}
	return dropped;
}

/* Without the lock: what was dropped goes back. */
static uint64_t give_back(struct leases *leases, struct lease *dropped)
{
	struct lease *last = NULL;
	uint64_t n = 0;

	for (struct lease *lease = dropped; lease; lease = lease->next) {
		leases->source->give(leases->source, lease->base, lease->slices);
		n += lease->slices;
		last = lease;
	}
	if (last) {
		lock_acquire(&leases->lock);
		last->next = leases->spare;
		leases->spare = dropped;
		lock_release(&leases->lock);
	}
	return n;
}

uint64_t leases_trim(struct leases *leases)
{
	struct lease *dropped;

	lock_acquire(&leases->lock);
	dropped = drop_idle(leases, 0);
	lock_release(&leases->lock);
	return give_back(leases, dropped);
}

static struct lease *lease_new(struct leases *leases)
{
	struct lease *lease;

	lock_acquire(&leases->lock);
	lease = leases->spare;
	if (lease)
		leases->spare = lease->next;
	lock_release(&leases->lock);
	return lease ? lease : store_get(leases->store, sizeof(*lease));
}

/* As many as are held already, so that each lease doubles them. */
static uint32_t growth(const struct leases *leases, uint32_t slices)
{
	uint32_t want = (uint32_t)u64_min(leases->held, LEASE_SLICES_MAX);

	return want > slices ? want : slices;
}

/* As much as would be good to have; else what is needed, for which all that is idle goes first. */
static int take_new(struct leases *leases, uint32_t want, uint32_t need, struct lease *ret)
{
	struct lease_source *source = leases->source;
	int r;

	ret->slices = want;
	r = source->take(source, want, &ret->base);
	if (!r || (!leases_trim(leases) && want == need))
		return r;
	ret->slices = need;
	return source->take(source, need, &ret->base);
}

int leases_take(struct leases *leases, uint32_t slices, struct run *ret)
{
	struct lease *lease, taken = {};
	uint32_t want;
	bool done;
	int r;

	assert(slices && slices <= LEASE_SLICES_MAX);
	lock_acquire(&leases->lock);
	done = take_open(leases, slices, ret);
	want = growth(leases, slices);
	lock_release(&leases->lock);
	if (done)
		return 0;

	r = take_new(leases, want, slices, &taken);
	if (r)
		return r;
	lease = lease_new(leases);
	if (!lease) {
		leases->source->give(leases->source, taken.base, taken.slices);
		return -ENOMEM;
	}
	taken.free = mask(taken.slices) & ~mask(slices);
	*lease = taken;

	lock_acquire(&leases->lock);
	leases->held += lease->slices;
	leases->free += lease->slices - slices;
	if (lease->free)
		open_insert(leases, lease);
	lock_release(&leases->lock);
	*ret = (struct run){
		.leases = leases, .lease = lease, .base = lease->base, .slices = slices};
	return 0;
}

void run_give(const struct run *run)
{
	struct lease *lease = run->lease, *dropped = NULL;
	struct leases *leases = run->leases;

	lock_acquire(&leases->lock);
	if (!lease->free)
		open_insert(leases, lease);
	lease->free |= mask(run->slices) << run->first;
	leases->free += run->slices;
	if (lease->free == mask(lease->slices)) {
		leases->idle += lease->slices;
		dropped = drop_idle(leases, u64_max(leases->held >> KEEP_SHIFT, KEEP_SLICES));
	}
	lock_release(&leases->lock);
	give_back(leases, dropped);
}
