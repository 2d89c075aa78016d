#include "daemon/core/slots.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"

int slots_init(struct slots *slots, uint32_t total)
{
	uint32_t bits = total, below;

	*slots = (struct slots){.total = total, .free = total};
	do {
		uint32_t n = (uint32_t)(((uint64_t)bits + 63) / 64);

		below = bits;
		assert(slots->levels < SLOTS_LEVELS);
		slots->words[slots->levels] = calloc((size_t)n + 1, sizeof(uint64_t));
		if (!slots->words[slots->levels]) {
			slots_deinit(slots);
			return -ENOMEM;
		}
		memset(slots->words[slots->levels], 0xff, below / 64 * sizeof(uint64_t));
		if (below % 64)
			slots->words[slots->levels][below / 64] =
				((uint64_t)1 << below % 64) - 1;
		++slots->levels;
		bits = n;
	} while (bits > 1);
	return 0;
}

void slots_deinit(struct slots *slots)
{
	for (uint32_t i = 0; i < slots->levels; ++i)
		free(slots->words[i]);
	*slots = (struct slots){0};
}

static bool slot_free(const struct slots *slots, uint32_t slot)
{
	return slots->words[0][slot / 64] >> slot % 64 & 1;
}

bool slots_used(const struct slots *slots, uint32_t slot)
{
	return slot < slots->total && !slot_free(slots, slot);
}

uint32_t slots_take(struct slots *slots)
{
	uint32_t slot = 0;

	if (!slots->free)
		return SLOT_NONE;
	for (uint32_t level = slots->levels; level--;)
		slot = slot * 64 + (uint32_t)__builtin_ctzll(slots->words[level][slot]);
	slots_claim(slots, slot);
	return slot;
}

void slots_claim(struct slots *slots, uint32_t slot)
{
	assert(slot < slots->total && slot_free(slots, slot));
	--slots->free;
	for (uint32_t level = 0; level < slots->levels; ++level, slot /= 64) {
		uint64_t *word = &slots->words[level][slot / 64];

		*word &= ~((uint64_t)1 << slot % 64);
		if (*word)
			break;
	}
}

void slots_put(struct slots *slots, uint32_t slot)
{
	assert(slots_used(slots, slot));
	++slots->free;
	for (uint32_t level = 0; level < slots->levels; ++level, slot /= 64) {
		uint64_t *word = &slots->words[level][slot / 64];
		uint64_t before = *word;

		*word |= (uint64_t)1 << slot % 64;
		if (before)
			break;
	}
}

uint32_t slots_next(const struct slots *slots, uint32_t slot)
{
	while (slot < slots->total) {
		uint64_t used = ~slots->words[0][slot / 64] >> slot % 64;

		if (used) {
			slot += (uint32_t)__builtin_ctzll(used);
			return slot < slots->total ? slot : SLOT_NONE;
		}
		slot = (slot / 64 + 1) * 64;
	}
	return SLOT_NONE;
}
