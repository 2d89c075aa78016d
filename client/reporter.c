#include "client/reporter.h"

#include <stddef.h>

#include "base/base.h"

static void put(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

/* ---- with the lock held ---- */

static bool row_claim(struct reporter *reporter, struct tally *tally, uint64_t key)
{
	struct report *report = reporter->report;

	for (uint32_t i = 0; i < REPORT_ROWS && !reporter->full; i++) {
		if (atomic_load_explicit(&report->rows[i].key, memory_order_relaxed))
			continue;
		put(&report->rows[i].key, key);
		if (atomic_load_explicit(&report->used, memory_order_relaxed) <= i)
			put(&report->used, i + 1);
		tally->row = i + 1;
		return true;
	}
	reporter->full = true;
	return false;
}

static void tally_write(struct reporter *reporter, struct tally *tally, uint64_t key)
{
	struct report_row *row;

	if (!reporter->report || (!tally->row && !row_claim(reporter, tally, key)))
		return;
	row = &reporter->report->rows[tally->row - 1];
	put(&row->slices, tally->slices);
	put(&row->live, tally->live);
}

static void row_drop(struct reporter *reporter, struct tally *tally)
{
	struct report_row *row;

	if (!reporter->report || !tally->row)
		return;
	row = &reporter->report->rows[tally->row - 1];
	put(&row->key, 0);
	put(&row->slices, 0);
	put(&row->live, 0);
	tally->row = 0;
}

/* Whoever sees the turn sees what was written before it. */
static void turn(const struct reporter *reporter)
{
	if (reporter->report)
		atomic_fetch_add_explicit(&reporter->report->turn, 1, memory_order_release);
}

static void write_class(struct tallies *tallies, uint32_t class_plus_1)
{
	struct report_key key = {
		.space = tallies->space,
		.shared = tallies->shared,
		.class_plus_1 = class_plus_1,
	};

	tally_write(tallies->reporter, &tallies->of[class_plus_1], report_key_pack(key));
}

static void change(struct tallies *tallies, uint32_t class_plus_1, int64_t slices, int64_t live)
{
	tallies->of[class_plus_1].slices += (uint64_t)slices;
	tallies->of[class_plus_1].live += (uint64_t)live;
	write_class(tallies, class_plus_1);
}

/* ---- of a session ---- */

void reporter_open(struct reporter *reporter, struct report *report)
{
	lock_acquire(&reporter->lock);
	reporter->report = report;
	for (struct tallies *tallies = reporter->first; tallies; tallies = tallies->next)
		for (uint32_t i = 0; i <= CLASSES; i++)
			if (tallies->of[i].slices || tallies->of[i].live)
				write_class(tallies, i);
	turn(reporter);
	lock_release(&reporter->lock);
}

void reporter_forget(struct reporter *reporter)
{
	lock_acquire(&reporter->lock);
	reporter->report = NULL;
	reporter->first = NULL;
	reporter->full = false;
	lock_release(&reporter->lock);
}

/* ---- of a space ---- */

void tallies_open(struct tallies *tallies, struct reporter *reporter, uint32_t space,
		  bool shared)
{
	*tallies = (struct tallies){.reporter = reporter, .space = space, .shared = shared};
	lock_acquire(&reporter->lock);
	tallies->next = reporter->first;
	reporter->first = tallies;
	lock_release(&reporter->lock);
}

void tallies_close(struct tallies *tallies)
{
	struct reporter *reporter = tallies->reporter;
	struct tallies **at;

	lock_acquire(&reporter->lock);
	for (at = &reporter->first; *at && *at != tallies; at = &(*at)->next)
		;
	if (*at) {
		*at = tallies->next;
		for (uint32_t i = 0; i <= CLASSES; i++)
			row_drop(reporter, &tallies->of[i]);
		reporter->full = false;
		turn(reporter);
	}
	lock_release(&reporter->lock);
	*tallies = (struct tallies){};
}

void tallies_lease(struct tallies *tallies, int64_t slices)
{
	lock_acquire(&tallies->reporter->lock);
	change(tallies, 0, slices, 0);
	turn(tallies->reporter);
	lock_release(&tallies->reporter->lock);
}

void tallies_cut(struct tallies *tallies, uint32_t class, int64_t slices, int64_t live)
{
	lock_acquire(&tallies->reporter->lock);
	if (slices)
		change(tallies, 0, -slices, 0);
	change(tallies, 1 + class, slices, live);
	turn(tallies->reporter);
	lock_release(&tallies->reporter->lock);
}

struct tallies_sum tallies_sum(struct tallies *tallies)
{
	struct tallies_sum sum = {};

	lock_acquire(&tallies->reporter->lock);
	for (uint32_t i = 0; i <= CLASSES; i++) {
		sum.leased += tallies->of[i].slices << SLICE_SHIFT;
		if (i)
			sum.live += tallies->of[i].live * size_classes[i - 1].size;
	}
	lock_release(&tallies->reporter->lock);
	return sum;
}
