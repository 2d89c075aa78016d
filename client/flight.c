#include "client/flight.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/fork.h"
#include "client/lock.h"

enum { BUCKETS = 64 };

/* A thread, by what it leads and what it waits for. */
struct flyer {
	struct flight *awaits; /* under the lock */
};

struct flight {
	struct flight *next; /* in its bucket, until it has ended */
	uint64_t opening, hash;
	const struct flyer *leader;
	uint32_t stamp; /* fork count */
	uint32_t refs;  /* under the lock: its leader's, and of each that waits */
	uint32_t code;
	_Atomic uint32_t over;
};

static struct lock lock;
static uint32_t stamp; /* of what is in the buckets */
static struct flight *buckets[BUCKETS];

static _Thread_local struct flyer self;

/* FL3. With the lock held. */
static void forget_parents(void)
{
	if (stamp == fork_count())
		return;
	memset(buckets, 0, sizeof(buckets));
	self.awaits = NULL;
	stamp = fork_count();
}

static struct flight *find(uint64_t opening, uint64_t hash)
{
	struct flight *flight = buckets[hash % BUCKETS];

	while (flight && (flight->hash != hash || flight->opening != opening))
		flight = flight->next;
	return flight;
}

static struct flight *flight_new(uint64_t opening, uint64_t hash)
{
	struct flight *flight = calloc(1, sizeof(*flight));

	if (!flight)
		return NULL;
	*flight = (struct flight){
		.next = buckets[hash % BUCKETS],
		.opening = opening,
		.hash = hash,
		.leader = &self,
		.stamp = stamp,
		.refs = 1,
	};
	buckets[hash % BUCKETS] = flight;
	return flight;
}

static void unref_locked(struct flight *flight)
{
	if (!--flight->refs)
		free(flight);
}

/* Who leads it, leads what its leader waits for, and so on: is it this thread? There are no rings. */
static bool is_own(const struct flight *flight)
{
	for (; flight; flight = flight->leader->awaits)
		if (flight->leader == &self)
			return true;
	return false;
}

/* With the lock held, but not while it sleeps. */
static int await_locked(struct flight *flight, uint64_t deadline_ns, uint32_t *ret_code)
{
	bool over;

	flight->refs++;
	self.awaits = flight;
	lock_release(&lock);
	while (!(over = atomic_load_explicit(&flight->over, memory_order_acquire)) &&
	       clock_ns() < deadline_ns)
		futex_wait(&flight->over, 0, deadline_ns);
	lock_acquire(&lock);
	self.awaits = NULL;
	*ret_code = flight->code;
	unref_locked(flight);
	return over ? FLIGHT_E_ENDED : FLIGHT_E_OTHERS;
}

int flight_join(struct flight **ret, uint64_t opening, uint64_t hash, uint64_t deadline_ns,
		uint32_t *ret_code)
{
	struct flight *flight;
	int r = 0;

	lock_acquire(&lock);
	forget_parents();
	flight = find(opening, hash);
	if (!flight) {
		flight = flight_new(opening, hash);
		if (flight)
			*ret = flight;
		else
			r = -ENOMEM;
	} else if (is_own(flight) && !mutant(flight_waits_for_itself)) {
		r = FLIGHT_E_DEADLOCK;
	} else if (!deadline_ns) {
		r = FLIGHT_E_OTHERS;
	} else {
		r = await_locked(flight, deadline_ns, ret_code);
	}
	lock_release(&lock);
	return r;
}

void flight_end(struct flight *flight, uint32_t code)
{
	struct flight **at = &buckets[flight->hash % BUCKETS];

	lock_acquire(&lock);
	forget_parents();
	/* One that was begun before a fork is in no bucket of the child. */
	if (flight->stamp == stamp) {
		while (*at != flight)
			at = &(*at)->next;
		*at = flight->next;
	}
	flight->code = code;
	atomic_store_explicit(&flight->over, 1, memory_order_release);
	futex_wake(&flight->over, true);
	unref_locked(flight);
	lock_release(&lock);
}
