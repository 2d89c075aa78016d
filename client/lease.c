#include "client/lease.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "proto/layout.h"

enum {
	LEASE_SLICES_MAX = 64,
	KEEP_SLICES = 1 << (CHUNK_SHIFT - SLICE_SHIFT),
	KEEP_SHIFT = 3,    /* an eighth */
	GROWTH_SHIFT = 6,  /* a 64th */
	AHEAD_SLICES = 16, /* who holds less asks for nothing ahead */
};

#define LOOK_NS ((uint64_t)1000000000)

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

/* With the lock held: out of one that is in use, or of the smallest, so that others stay whole. */
static struct lease *find_open(const struct leases *leases, uint32_t slices,
			       uint32_t *ret_first)
{
	uint32_t least = LEASE_SLICES_MAX + 1;
	struct lease *best = NULL;

	for (struct lease *lease = leases->open; lease && least; lease = lease->next) {
		uint32_t size = lease->free == mask(lease->slices) ? lease->slices : 0;
		uint32_t first = size < least ? find_run(lease->free, slices) : 64;

		if (first == 64)
			continue;
		best = lease;
		least = size;
		*ret_first = first;
	}
	return best;
}

/* With the lock held. */
static bool take_open(struct leases *leases, uint32_t slices, struct run *ret)
{
	struct lease *lease;
	uint32_t first = 0;

	lease = find_open(leases, slices, &first);
	if (!lease)
		return false;
	if (lease->free == mask(lease->slices)) {
		leases->idle -= lease->slices;
		leases->low = u64_min(leases->low, leases->idle);
	}
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

/* With the lock held: what is wholly free, but for `keep` slices of it, off the books. */
static struct lease *drop_idle(struct leases *leases, uint64_t keep)
{
	struct lease *dropped = NULL, *lease, *next;

	for (lease = leases->open; lease && leases->idle > keep; lease = next) {
		next = lease->next;
		if (lease->free != mask(lease->slices) || leases->idle - lease->slices < keep)
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

/* The power of two below a 64th of what is held: such extents fill chunks. */
static uint32_t growth(const struct leases *leases, uint32_t slices)
{
	uint32_t want = (uint32_t)u64_min(leases->held >> GROWTH_SHIFT, LEASE_SLICES_MAX);

	if (want)
		want = (uint32_t)1 << (31 - __builtin_clz(want));
	return want > slices ? want : slices;
}

/* On the books, `slices` of it taken. 0 or -ENOMEM: it has gone back. */
static int lease_add(struct leases *leases, const struct lease *taken, uint32_t slices,
		     struct run *ret)
{
	struct lease *lease = lease_new(leases);

	if (!lease) {
		leases->source->give(leases->source, taken->base, taken->slices);
		return -ENOMEM;
	}
	*lease = *taken;
	lease->free = mask(taken->slices) & ~mask(slices);
	lock_acquire(&leases->lock);
	leases->held += lease->slices;
	leases->free += lease->slices - slices;
	if (lease->free)
		open_insert(leases, lease);
	if (!slices)
		leases->idle += lease->slices;
	lock_release(&leases->lock);
	if (slices)
		*ret = (struct run){.leases = leases,
				    .lease = lease,
				    .base = lease->base,
				    .slices = slices};
	return 0;
}

/* ---- ahead ---- */

/* With the lock held: so little is left that the next lease should be on its way. */
static bool ask_soon(struct leases *leases)
{
	if (!leases->source->ask || leases->asked || leases->held < AHEAD_SLICES ||
	    leases->free > growth(leases, 1) / 4)
		return false;
	leases->asked = ASKED_SOON;
	leases->asked_slices = growth(leases, 1);
	return true;
}

static void set_asked(struct leases *leases, enum lease_asked asked)
{
	lock_acquire(&leases->lock);
	leases->asked = asked;
	lock_release(&leases->lock);
}

/* After ask_soon(). */
static void send_ask(struct leases *leases)
{
	bool asked = leases->source->ask(leases->source, leases->asked_slices);

	set_asked(leases, asked ? ASKED : ASKED_NOTHING);
}

static void ask_ahead(struct leases *leases)
{
	bool ask;

	lock_acquire(&leases->lock);
	ask = ask_soon(leases);
	lock_release(&leases->lock);
	if (ask)
		send_ask(leases);
}

/* Did it come? What was refused is asked again by who needs it. */
static bool collect_asked(struct leases *leases)
{
	struct lease taken = {};
	bool mine;
	int r;

	lock_acquire(&leases->lock);
	mine = leases->asked == ASKED;
	if (mine)
		leases->asked = ASKED_COLLECTING;
	taken.slices = leases->asked_slices;
	lock_release(&leases->lock);
	if (!mine)
		return false;
	r = leases->source->collect(leases->source, taken.slices, &taken.base);
	if (!r)
		r = lease_add(leases, &taken, 0, NULL);
	set_asked(leases, ASKED_NOTHING);
	return !r;
}

/* With the lock held: what was idle for a second, off the books. */
static struct lease *drop_old(struct leases *leases)
{
	struct lease *dropped = NULL;
	uint64_t now;

	if (!leases->source->now_ns)
		return NULL;
	now = leases->source->now_ns(leases->source);
	if (now - leases->looked_ns < LOOK_NS)
		return NULL;
	if (leases->looked_ns && leases->low && !mutant(lease_idle_kept))
		dropped = drop_idle(leases, leases->idle - leases->low);
	leases->looked_ns = now;
	leases->low = leases->idle;
	return dropped;
}

uint64_t leases_trim(struct leases *leases)
{
	struct lease *dropped;

	collect_asked(leases);
	lock_acquire(&leases->lock);
	dropped = drop_idle(leases, 0);
	lock_release(&leases->lock);
	return give_back(leases, dropped);
}

/* As much as would be good to have; else what is needed, for which all that is idle goes first. */
static int take_new(struct leases *leases, uint32_t want, uint32_t need, struct lease *ret)
{
	struct lease_source *source = leases->source;
	int r;

	ret->slices = want;
	r = source->take(source, want, want != need, &ret->base);
	if (!r || (!leases_trim(leases) && want == need))
		return r;
	ret->slices = need;
	return source->take(source, need, false, &ret->base);
}

static bool take_held(struct leases *leases, uint32_t slices, uint32_t *ret_want,
		      struct run *ret)
{
	struct lease *dropped;
	bool done, ask;

	lock_acquire(&leases->lock);
	done = take_open(leases, slices, ret);
	*ret_want = growth(leases, slices);
	ask = done && ask_soon(leases);
	dropped = drop_old(leases);
	lock_release(&leases->lock);
	if (ask)
		send_ask(leases);
	give_back(leases, dropped);
	return done;
}

int leases_take(struct leases *leases, uint32_t slices, struct run *ret)
{
	struct lease taken = {};
	uint32_t want;
	int r;

	assert(slices && slices <= LEASE_SLICES_MAX);
	do
		if (take_held(leases, slices, &want, ret))
			return 0;
	while (collect_asked(leases));
	r = take_new(leases, want, slices, &taken);
	if (!r)
		r = lease_add(leases, &taken, slices, ret);
	if (!r)
		ask_ahead(leases); /* a lease of one slice is used up at once */
	return r;
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
	if (!dropped)
		dropped = drop_old(leases);
	lock_release(&leases->lock);
	give_back(leases, dropped);
}
