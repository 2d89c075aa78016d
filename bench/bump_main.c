/*
 * arena - 10 thousand allocations of 8 to 64 bytes, the first word of each written, then a reset:
 * twenty times a round. ns an allocation, its share of the reset (a ten thousandth) included.
 *
 * arena_reset - as many allocations of 8 bytes as `size` says, the first word of each written, and
 * then a reset, which alone is timed. After ten of them the clock would take as long as a reset:
 * there 64 arenas are filled, and then reset in a row. `empty` says what the clock takes. ns a reset.
 */
#include <assert.h>

#include "base/base.h"
#include "bench/bump.h"
#include "bench/clock.h"
#include "bench/dice.h"

enum {
	SIZE_LEAST = 8,
	SIZE_MOST = 64,
	ALLOCATIONS = 10000,
	FILLS = 20,
	MANY = 1000, /* allocations; of arenas that hold so many there is one */
	ARENAS = 64,
	RESETS = 100, /* of all of them, in a round */
};

static struct bump arenas[ARENAS];
static uint64_t state = 1, fill_count;
static unsigned n_arenas, n_resets;

static void write_to(void *memory, uint64_t value)
{
	*(uint64_t *)memory = value;
	__asm__ volatile("" : : : "memory");
}

static void arena_start(const struct contender *contender)
{
	(void)contender;
	bump_make(&arenas[0]);
}

static uint64_t arena_round(void)
{
	uint64_t start_ns = now_ns();

	for (unsigned fill = 0; fill < FILLS; fill++) {
		for (uint64_t i = 0; i < ALLOCATIONS; i++)
			write_to(bump(&arenas[0],
				      SIZE_LEAST +
					      dice_below(&state, SIZE_MOST - SIZE_LEAST + 1)),
				 i);
		bump_reset(&arenas[0]);
	}
	return (now_ns() - start_ns) * 1000 / (FILLS * ALLOCATIONS);
}

static void reset_start(const struct contender *contender)
{
	bool many = contender->size >= MANY;

	fill_count = contender->size;
	n_arenas = many ? 1 : ARENAS;
	n_resets = many ? 1 : RESETS;
	for (unsigned i = 0; i < n_arenas; i++)
		bump_make(&arenas[i]);
}

static uint64_t reset_round(void)
{
	uint64_t ns = 0, n = (uint64_t)n_resets * n_arenas;

	assert(n);
	for (unsigned reset = 0; reset < n_resets; reset++) {
		uint64_t start_ns;

		for (unsigned i = 0; i < n_arenas; i++)
			for (uint64_t j = 0; j < fill_count; j++)
				write_to(bump(&arenas[i], sizeof(uint64_t)), j);
		start_ns = now_ns();
		for (unsigned i = 0; i < n_arenas; i++)
			bump_reset(&arenas[i]);
		ns += now_ns() - start_ns;
	}
	return ns * 1000 / n;
}

static const struct contender_row rows[] = {
	{"arena", arena_start, arena_round, 3},
	{"arena_reset", reset_start, reset_round, 2},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), bump_start, bump_stop);
}
