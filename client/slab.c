#include "client/slab.h"

#include <errno.h>
#include <stdlib.h>

#include "client/error.h"

enum {
	SLAB_BYTES = 4096, /* no slab is smaller, if there are to be that many objects */
	/*
	 * Up to here a slab adds a quarter, so that at most a fifth lies idle; from there on it
	 * doubles: the table ends long after the ids do.
	 */
	SLABS_PATIENT = 32,
};

void slabs_init(struct slabs *slabs, const struct source *source, uint64_t size, uint64_t align,
		uint64_t max)
{
	slabs->source = *source;
	slabs->align = align;
	slabs->stride = u64_max(u64_align_down(size + align - 1, align), SOURCE_ALIGN);
	slabs->reciprocal = UINT64_MAX / slabs->stride + 1;
	slabs->max = max;
	slabs->hollow = ID_NONE;
}

void slabs_deinit(struct slabs *slabs, bool memory)
{
	uint32_t n = atomic_load_explicit(&slabs->n, memory_order_relaxed);

	while (n--) {
		if (memory)
			slab_give(slabs, &slabs->slabs[n]);
		free(slabs->slabs[n].slots);
	}
}

/* What the memory of a slab takes; the source knows of no greater alignment than its own. */
static uint64_t leased(const struct slabs *slabs, const struct slab *slab)
{
	return slab->bytes + (slabs->align > SOURCE_ALIGN ? slabs->align - SOURCE_ALIGN : 0);
}

static int slab_lease(struct slabs *slabs, struct slab *slab)
{
	void *memory = NULL;
	uintptr_t base;
	int r;

	r = source_take(&slabs->source, leased(slabs, slab), &memory);
	if (r)
		return r;
	slab->memory = memory;
	base = ((uintptr_t)memory + slabs->align - 1) & ~(uintptr_t)(slabs->align - 1);
	slabs->held += leased(slabs, slab);
	atomic_store_explicit(&slab->base, base, memory_order_relaxed);
	return 0;
}

void slab_give(struct slabs *slabs, struct slab *slab)
{
	if (!slab->memory)
		return;
	atomic_store_explicit(&slab->base, 0, memory_order_relaxed);
	slabs->held -= leased(slabs, slab);
	source_give(&slabs->source, TAKE_PTR(slab->memory));
}

static int slab_new(struct slabs *slabs, uint64_t n)
{
	uint32_t at = atomic_load_explicit(&slabs->n, memory_order_relaxed);
	struct slab *slab = &slabs->slabs[at];
	int r;

	slab->slots = calloc(n, sizeof(*slab->slots));
	if (!slab->slots)
		return error_system(ENOMEM, "notes of %llu objects", (unsigned long long)n);
	slab->n = (uint32_t)n;
	slab->bytes = n * slabs->stride;
	r = slab_lease(slabs, slab);
	if (r) {
		free(TAKE_PTR(slab->slots));
		return r;
	}
	slabs->slots += n;
	/* Release: who finds an address in it sees the rest of it. */
	atomic_store_explicit(&slabs->n, at + 1, memory_order_release);
	return 0;
}

static bool is_lack(int r)
{
	return r == VARBOS_E_MEMORY || r == VARBOS_E_BUDGET || r == VARBOS_E_TOO_LARGE ||
	       r == VARBOS_E_EXHAUSTED;
}

/* As large as it should be, or as there is memory for. */
static int slab_add(struct slabs *slabs, uint64_t want)
{
	uint32_t n_slabs = atomic_load_explicit(&slabs->n, memory_order_relaxed);
	bool patient = n_slabs < SLABS_PATIENT;
	uint64_t n =
		u64_max(patient ? slabs->slots / 4 : slabs->slots, SLAB_BYTES / slabs->stride);
	uint64_t least = patient ? 1 : u64_max(slabs->slots / 8, 1);
	int r;

	if (n_slabs == SLABS_MAX)
		return error_set(
			VARBOS_E_EXHAUSTED, "slabs",
			"the pool has grown %u times, by no more than it had memory for",
			n_slabs);
	/* Slots of objects that are gone may be on stacks still, so there can be more than max. */
	if (slabs->slots < slabs->max)
		n = u64_min(n, slabs->max - slabs->slots);
	n = u64_max(u64_min(u64_max(n, want), SLAB_SLOTS_MAX), least);
	r = slab_new(slabs, n);
	while (is_lack(r) && n > least) {
		n = u64_max(n / 2, least);
		r = slab_new(slabs, n);
	}
	return r;
}

int slabs_take(struct slabs *slabs, uint64_t want, uint32_t *ret)
{
	uint32_t n = atomic_load_explicit(&slabs->n, memory_order_relaxed);
	uint32_t id = slabs->hollow;
	struct slab *slab;
	int r = 0;

	if (id == ID_NONE && (!n || slabs->slabs[n - 1].used == slabs->slabs[n - 1].n)) {
		r = slab_add(slabs, want);
		n++;
	}
	if (r)
		return r;
	slab = id != ID_NONE ? slab_of(slabs, id) : &slabs->slabs[n - 1];
	r = slab->memory ? 0 : slab_lease(slabs, slab);
	if (r)
		return r;
	if (id != ID_NONE)
		slabs->hollow =
			atomic_load_explicit(&slot_of(slabs, id)->below, memory_order_relaxed);
	*ret = id != ID_NONE ? id : id_of(n - 1, slab->used++);
	return 0;
}

void slabs_return(struct slabs *slabs, uint32_t id)
{
	atomic_store_explicit(&slot_of(slabs, id)->below, slabs->hollow, memory_order_relaxed);
	slabs->hollow = id;
}
