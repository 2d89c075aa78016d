/*
 * Any records: a ledger that random verbs have left, spoiled as the input says, is recovered, or
 * refused as it is. What is recovered is sound, recovers again as the same, goes on with any verbs, and can be
 * ended to the last record.
 *
 *   head, 2 bytes    which ledger (of LEDGERS)  how many edits
 *   edit, 12 bytes   how:8  kind:8  slot:8  word:8  value:64
 *   the rest         dice of the verbs, two bytes each
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "tests/model/any_verb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	LEDGERS = 24,
	VERBS = 240, /* that have left one */
	VERBS_MAX = 64,
	EDITS_MAX = 32,
	HEAD_BYTES = 2,
	EDIT_BYTES = 12,
};

enum edit {
	EDIT_SET,
	EDIT_XOR,
	EDIT_FLIP,
	EDIT_ADD,
	EDIT_WORD, /* from another place of the table */
	EDIT_SLOT, /* another slot of its kind */
	EDIT_CLEAR,
	EDIT_FILL, /* all of the kind, with anything */
	EDIT_HEAD, /* of the table */
	EDITS_N
};

static struct ledger {
	struct core_config config;
	void *table;
} ledgers[LEDGERS];

static uint64_t size_; /* of each */
static void *table, *copy;

/* The dice: of an input, or, without one, of a generator. */
static const uint8_t *rest;
static size_t n_rest;
static uint64_t state;

uint32_t below(uint32_t n)
{
	uint64_t z;

	if (!state) {
		uint32_t two = n_rest < 2 ? 0 : rest[0] | (uint32_t)rest[1] << 8;

		rest += u64_min(n_rest, 2);
		n_rest -= u64_min(n_rest, 2);
		/* The high bits of what is larger would never be set. */
		return (n > 1 << 16 ? two * 0x9e3779b9U : two) % n;
	}
	state += 0x9e3779b97f4a7c15ULL;
	z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

_Noreturn void die(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	abort();
}

static void sound(const char *wrong, const char *when)
{
	if (wrong)
		die("%s: %s", when, wrong);
}

/* Nothing is outstanding: what a plan was about to make is not in the table. */
static void plans_end(void)
{
	for (uint32_t i = 0; i < PLANS; i++)
		plan_end_one();
}

static void some_verbs(uint32_t n)
{
	while (n-- && (state || n_rest)) {
		one_verb();
		core_changes_clear(core);
	}
}

static void forget(void)
{
	memset(plans, 0, sizeof(plans));
	memset(waiting, 0, sizeof(waiting));
	memset(there, 0, sizeof(there));
	memset(last_tag, 0, sizeof(last_tag));
	half_ended = false;
}

static void *table_new(void)
{
	void *memory = aligned_alloc(64, (size_ + 63) / 64 * 64);

	MUST(memory);
	return memset(memory, 0, size_);
}

/* Of pages of 4 KiB, of 2 MiB, or of both. */
static void ledger_make(uint32_t i)
{
	struct core_config *config = &ledgers[i].config;

	state = i + 1;
	forget();
	*config = (struct core_config){.page_shift = i % 3 ? 12 : 21,
				       .n_nodes = 1 + i % 2,
				       .node_bytes = {16 * MIB, i % 2 * 8 * MIB},
				       .share = 64 * MIB,
				       .seed = i};
	if (i % 3 == 2) {
		config->large.page_shift = 21;
		config->large.node_bytes[0] = 8 * MIB;
		config->large.from = 8 * MIB;
	}
	ledgers[i].table = table_new();
	records = records_init(ledgers[i].table, &capacity);
	MUST(!core_new(&core, config, records));
	some_verbs(i ? VERBS : 0);
	sound(core_check(core), "before anything is spoiled");
	/* Every second one is what a daemon leaves that dies with plans under way. */
	memcpy(copy, records, size_);
	plans_end();
	if (i % 4 < 2)
		memcpy(ledgers[i].table, copy, size_);
	core_free(core);
	state = 0;
}

static void start(void)
{
	size_ = records_size(&capacity);
	table = table_new();
	copy = table_new();
	for (uint32_t i = 0; i < LEDGERS; i++)
		ledger_make(i);
}

/* The slots of a kind: where the first one is, in bytes, and how many each has. */
static size_t slots_at(enum record_kind kind, size_t *ret_each)
{
	const struct records *intact = ledgers[0].table;
	const char *begin = records_at(intact, kind, 0);
	const char *next = records_at(intact, kind, 1);

	/* What there is one of ends where the next kind begins, or the table. */
	if (!next && kind + 1 < RECORD_KINDS)
		next = records_at(intact, kind + 1, 0);
	if (!next)
		next = (const char *)intact + size_;
	*ret_each = (size_t)(next - begin);
	return (size_t)(begin - (const char *)intact);
}

static void edit(const uint8_t *bytes)
{
	uint64_t *words = table, value;
	enum record_kind kind = (enum record_kind)(bytes[1] % RECORD_KINDS);
	uint32_t slots = capacity.slots[kind];
	size_t each, first = slots_at(kind, &each), slot = bytes[2] % slots;
	size_t at = (first + slot * each) / 8 + bytes[3] % (each / 8);

	memcpy(&value, bytes + 4, sizeof(value));
	switch ((enum edit)(bytes[0] % EDITS_N)) {
	case EDIT_SET:
		words[at] = value;
		break;
	case EDIT_XOR:
		words[at] ^= value;
		break;
	case EDIT_FLIP:
		words[at] ^= (uint64_t)1 << value % 64;
		break;
	case EDIT_ADD:
		words[at] += value;
		break;
	case EDIT_WORD:
		words[at] = words[value % (size_ / 8)];
		break;
	case EDIT_SLOT:
		memmove((char *)table + first + slot * each,
			(char *)table + first + value % slots * each, each);
		break;
	case EDIT_CLEAR:
		memset((char *)table + first + slot * each, 0, each);
		break;
	case EDIT_FILL:
		state = value | 1;
		for (at = first / 8; at < (first + slots * each) / 8; at++)
			words[at] = below(2) ? 0
					     : (uint64_t)below(UINT32_MAX) << 32 |
						       below(UINT32_MAX);
		state = 0;
		break;
	case EDIT_HEAD:
		words[bytes[3] % 8] ^= value;
		break;
	case EDITS_N:
		break;
	}
}

/* Of the records as they are now, the same core. */
static void recovers_as_it_is(const struct core_config *config, const char *when)
{
	struct core *again;

	memcpy(copy, table, size_);
	if (core_recover(&again, config, records_open(copy, size_)))
		die("%s: it does not recover", when);
	sound(core_check(again), when);
	if (!half_ended)
		sound(core_differ(core, again), when);
	core_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ledger *ledger;
	uint32_t edits;
	int r;

	if (!table)
		start();
	if (size < HEAD_BYTES)
		return 0;
	ledger = &ledgers[data[0] % LEDGERS];
	edits = (uint32_t)u64_min(data[1] % EDITS_MAX, (size - HEAD_BYTES) / EDIT_BYTES);
	memcpy(table, ledger->table, size_);
	for (uint32_t i = 0; i < edits; i++)
		edit(data + HEAD_BYTES + i * EDIT_BYTES);
	rest = data + HEAD_BYTES + edits * EDIT_BYTES;
	n_rest = size - HEAD_BYTES - edits * EDIT_BYTES;

	records = records_open(table, size_);
	if (!records)
		return 0;
	memcpy(copy, table, size_);
	r = core_recover(&core, &ledger->config, records);
	if (r && r != -EUCLEAN)
		die("refused as %d", r);
	if (r && memcmp(copy, table, size_))
		die("refused, and changed");
	if (r)
		return 0;
	forget();
	sound(core_check(core), "recovered");
	recovers_as_it_is(&ledger->config, "at once");
	some_verbs(VERBS_MAX);
	sound(core_check(core), "after verbs");
	plans_end();
	core_changes_clear(core);
	recovers_as_it_is(&ledger->config, "after verbs");
	end_all(core, records);
	core_free(core);
	return 0;
}
