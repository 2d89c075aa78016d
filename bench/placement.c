/*
 * placement - how each policy keeps a window of 8 GiB under random death: no daemon, and no
 * memory behind it, but the window and the policies that the daemon uses, asked as it asks them.
 *
 * An operation is a request while less than the load is taken, else the death of one extent, each
 * as likely as any other: so the load is held from below, and passed by no more than one request.
 * A request for which the window has no place is counted as failed and forgotten: it is not tried
 * again, makes nobody die, and the next operation is another request, of a size of its own.
 *
 *   whole   2 MiB pages in which nothing is taken, by those there would be if all that is free
 *           lay together: the mean of samples, one for each SAMPLE operations
 *   failed  of the requests
 *   ns      of processor time an operation takes, its bookkeeping here included
 *
 * Sizes in slices of 64 KiB: lognormal with a median of 4 and a sigma of 1, at most 1024; bimodal
 * as in the table below. All pages count as committed, as they would be after a while.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"
#include "bench/harness.h"
#include "daemon/core/window.h"

enum {
	WINDOW_SHIFT = 33,
	SLICES = 1 << (WINDOW_SHIFT - SLICE_SHIFT),
	OPERATIONS = 60000, /* to warm up, then to measure */
	SAMPLE = 500,
	SIZES = 1 << 16, /* drawn before the clock runs */
	WINDOWS = 8,     /* each with a seed of its own */
	WINDOWS_QUICK = 2,
};

struct extent {
	uint32_t first, count;
};

struct sim {
	struct window *window;
	struct unit_sums sums;
	uint64_t state; /* of the dice */
	uint32_t load;  /* slices */
	uint32_t *sizes, n_sizes;
	struct extent *extents;
	uint32_t n_extents, used;
	uint64_t requests, failed;
};

struct result {
	double whole;
	uint64_t samples, requests, failed, ns, operations;
};

static uint64_t dice(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 11;
}

/* [0, 1) */
static double uniform(uint64_t *state)
{
	return (double)dice(state) / (double)((uint64_t)1 << 53);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((dice(state) >> 21) * n >> 32);
}

static uint32_t lognormal(uint64_t *state)
{
	double radius = sqrt(-2 * log(1 - uniform(state)));
	double normal = radius * cos(2 * M_PI * uniform(state));

	return (uint32_t)ceil(fmin(4 * exp(normal), 1024));
}

static uint32_t bimodal(uint64_t *state)
{
	static const struct {
		uint32_t percent, from, to;
	} parts[] = {
		{55, 1, 4},
		{30, CHUNK_SLICES, CHUNK_SLICES},
		{12, CHUNK_SLICES, 3 * CHUNK_SLICES},
		{3, 8 * CHUNK_SLICES, 24 * CHUNK_SLICES},
	};
	uint32_t percent = below(state, 100), i = 0;

	for (; percent >= parts[i].percent; ++i)
		percent -= parts[i].percent;
	return parts[i].from + below(state, parts[i].to - parts[i].from + 1);
}

static const struct mix {
	const char *name;
	uint32_t (*size)(uint64_t *state);
} mixes[] = {{"lognormal", lognormal}, {"bimodal", bimodal}};

static const uint32_t loads[] = {70, 90}; /* percent */

static void request(struct sim *sim)
{
	uint32_t count = sim->sizes[sim->n_sizes++ % SIZES], need;
	struct place place;

	++sim->requests;
	if (!window_choose(sim->window, count, 1, &place, &need)) {
		++sim->failed;
		return;
	}
	window_take(sim->window, place.run, place.first, count);
	window_use(sim->window, place.first, count, 0);
	sim->extents[sim->n_extents++] = (struct extent){place.first, count};
	sim->used += count;
}

static void death(struct sim *sim)
{
	struct extent *extent = &sim->extents[below(&sim->state, sim->n_extents)];

	window_give(sim->window, extent->first, extent->count);
	sim->used -= extent->count;
	*extent = sim->extents[--sim->n_extents];
}

static void operate(struct sim *sim, uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		if (sim->used < sim->load)
			request(sim);
		else
			death(sim);
	}
}

static double whole(const struct sim *sim)
{
	uint32_t n = 0, ideal;

	for (uint32_t unit = 0; unit < sim->window->units; ++unit)
		n += !sim->window->taken[unit];
	ideal = (SLICES - sim->used) / CHUNK_SLICES;
	return (double)n / ideal;
}

static uint64_t processor_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void simulate(struct sim *sim, struct result *result)
{
	operate(sim, OPERATIONS);
	sim->requests = sim->failed = 0;
	for (uint32_t done = 0; done < OPERATIONS; done += SAMPLE) {
		uint64_t start_ns = processor_ns();

		operate(sim, SAMPLE);
		result->ns += processor_ns() - start_ns;
		result->whole += whole(sim);
		++result->samples;
	}
	result->operations += OPERATIONS;
	result->requests += sim->requests;
	result->failed += sim->failed;
}

static void window_make(struct harness *harness, struct sim *sim,
			const struct placement *placement)
{
	struct window_place place = {
		.info = {.page_shift = CHUNK_SHIFT, .size_shift = WINDOW_SHIFT}};

	if (window_new(&sim->window, place, placement, &sim->sums))
		harness_die(harness, "placement: out of memory");
	for (uint32_t i = 0; i < window_groups(sim->window); ++i)
		window_rebuild_pages(sim->window, i, UINT64_MAX, 0);
}

static void measure(struct harness *harness, const struct placement *placement,
		    const struct mix *mix, uint32_t load, uint32_t *sizes,
		    struct extent *extents)
{
	uint32_t windows = harness->quick ? WINDOWS_QUICK : WINDOWS;
	struct result result = {0};
	double share, failed, ns;

	for (uint32_t seed = 1; seed <= windows; ++seed) {
		struct sim sim = {.state = seed << 16,
				  .load = (uint32_t)((uint64_t)SLICES * load / 100),
				  .sizes = sizes,
				  .extents = extents};
		uint64_t state = seed;

		for (uint32_t i = 0; i < SIZES; ++i)
			sizes[i] = mix->size(&state);
		window_make(harness, &sim, placement);
		simulate(&sim, &result);
		window_free(sim.window);
	}

	share = result.whole / (double)result.samples;
	failed = (double)result.failed / (double)result.requests;
	ns = (double)result.ns / (double)result.operations;
	printf("{\"bench\":\"placement\",\"impl\":\"%s\",\"mix\":\"%s\",\"load\":%" PRIu32
	       ",\"whole\":%.4f,\"failed\":%.5f,\"ns\":%.0f,\"n\":%" PRIu64 "}\n",
	       placement->name, mix->name, load, share, failed, ns, result.operations);
	fflush(stdout);
	fprintf(stderr,
		"placement, %-9s at %" PRIu32 " %%: %-8s keeps %5.1f %% of the whole pages, "
		"fails %5.2f %%, %4.0f ns\n",
		mix->name, load, placement->name, 100 * share, 100 * failed, ns);
}

void bench_placement(struct harness *harness)
{
	uint32_t *sizes = calloc(SIZES, sizeof(*sizes));
	struct extent *extents = calloc(SLICES, sizeof(*extents));

	if (!sizes || !extents)
		harness_die(harness, "placement: out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(mixes); ++i)
		for (size_t j = 0; j < ARRAY_SIZE(loads); ++j)
			for (uint32_t id = 0; id < PLACEMENTS; ++id)
				measure(harness, placement_at(id), &mixes[i], loads[j], sizes,
					extents);
	free(extents);
	free(sizes);
}
