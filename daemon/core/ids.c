#include "daemon/core/ids.h"

#include <assert.h>

#include "base/base.h"

static uint64_t bit(uint32_t id)
{
	return (uint64_t)1 << id % 64;
}

static bool has(const uint64_t *words, uint32_t id)
{
	return words[id / 64] & bit(id);
}

static uint32_t count(const uint64_t *words)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ID_WORDS; ++i)
		n += (uint32_t)__builtin_popcountll(words[i]);
	return n;
}

void ids_init(struct ids *ids)
{
	*ids = (struct ids){.taken = {1}}; /* 0 is nobody's, for ever */
}

uint32_t ids_take(struct ids *ids)
{
	for (uint32_t i = 0; i < ID_WORDS; ++i) {
		uint64_t fit = ~ids->taken[i];

		if (!mutant(ids_given_swept))
			fit &= ~ids->swept[i];
		if (fit) {
			uint32_t id = i * 64 + (uint32_t)__builtin_ctzll(fit);

			ids->taken[i] |= bit(id);
			return id;
		}
	}
	return 0;
}

bool ids_claim(struct ids *ids, uint32_t id)
{
	if (id >= IDS_MAX || has(ids->taken, id))
		return false;
	ids->taken[id / 64] |= bit(id);
	return true;
}

void ids_put(struct ids *ids, uint32_t id)
{
	assert(id && has(ids->taken, id) && !has(ids->dead, id));
	ids->taken[id / 64] &= ~bit(id);
}

void ids_die(struct ids *ids, uint32_t id)
{
	assert(id && has(ids->taken, id) && !has(ids->dead, id));
	if (mutant(ids_die_free)) {
		ids_put(ids, id);
		return;
	}
	ids->dead[id / 64] |= bit(id);
}

void ids_doubt(struct ids *ids)
{
	for (uint32_t i = 0; i < ID_WORDS; ++i) {
		ids->dead[i] |= ~ids->taken[i];
		ids->taken[i] = UINT64_MAX;
	}
}

uint32_t ids_dead(const struct ids *ids)
{
	return count(ids->dead);
}

uint32_t ids_alive(const struct ids *ids)
{
	return count(ids->taken) - count(ids->dead) - 1;
}

uint32_t ids_free(const struct ids *ids)
{
	return IDS_MAX - count(ids->taken);
}

void ids_sweep_begin(struct ids *ids)
{
	for (uint32_t i = 0; i < ID_WORDS; ++i) {
		ids->swept[i] = ids->dead[i];
		if (!mutant(ids_past_kept))
			ids->swept[i] |= ids->past[i] & ~ids->taken[i];
	}
}

bool ids_swept(const struct ids *ids, uint32_t id)
{
	return has(ids->swept, id);
}

void ids_sweep_end(struct ids *ids, bool done)
{
	if (mutant(ids_swept_late))
		ids_sweep_begin(ids);
	for (uint32_t i = 0; i < ID_WORDS; ++i) {
		if (done) {
			ids->taken[i] &= ~ids->swept[i];
			ids->dead[i] &= ~ids->swept[i];
			ids->past[i] |= ids->swept[i];
		}
		ids->swept[i] = 0;
	}
}

const char *ids_check(const struct ids *ids)
{
	for (uint32_t i = 0; i < ID_WORDS; ++i) {
		if (ids->dead[i] & ~ids->taken[i])
			return "I1: an id is dead and free";
		if (ids->swept[i] & ids->taken[i] & ~ids->dead[i])
			return "I1: an id is swept that is somebody's";
	}
	if (!has(ids->taken, 0) || has(ids->dead, 0))
		return "I1: nobody's id is given";
	return NULL;
}
