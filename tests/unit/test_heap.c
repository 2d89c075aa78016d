/*
 * Blocks in this process, over leases that a test gives: size classes, leases, spans, heaps.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/blocks.h"
#include "client/heap.h"

enum {
	SLICES = 4096, /* 256 MiB of addresses; touched is what a test uses */
	LIVE = 2000,
};

/* ---- a source of leases ---- */

static struct {
	struct lease_source source;
	char *range;
	uint8_t leased[SLICES];
	uint32_t held, limit, most;
	pthread_mutex_t lock;
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct leases leases;
static struct store store;
static struct heaps heaps;
static _Atomic uint32_t freed_twice;

/* What was told. */
static struct {
	_Atomic int64_t slices, live;
} told[CLASSES];

static void on_tell(struct heaps *of, uint32_t class, int32_t slices, int32_t live)
{
	(void)of;
	atomic_fetch_add(&told[class].slices, slices);
	atomic_fetch_add(&told[class].live, live);
}

static void mark(const char *base, uint32_t slices, const struct span *span)
{
	for (uint32_t i = 0; i < slices; i++)
		atomic_store(&heaps.spans[((base - memory.range) >> SLICE_SHIFT) + i],
			     (struct span *)(uintptr_t)span);
}

static int take(struct lease_source *source, uint32_t slices, bool or_less, char **ret)
{
	int r = -ENOSPC;

	(void)or_less;
	ck_assert_ptr_eq(source, &memory.source);
	pthread_mutex_lock(&memory.lock);
	for (uint32_t first = 0, n = 0;
	     first + n < SLICES && memory.held + slices <= memory.limit;) {
		if (memory.leased[first + n]) {
			first += n + 1;
			n = 0;
		} else if (++n == slices) {
			memset(memory.leased + first, 1, slices);
			memory.held += slices;
			if (memory.held > memory.most)
				memory.most = memory.held;
			*ret = memory.range + ((uint64_t)first << SLICE_SHIFT);
			mark(*ret, slices, &span_none);
			r = 0;
			break;
		}
	}
	pthread_mutex_unlock(&memory.lock);
	return r;
}

static void give(struct lease_source *source, char *base, uint32_t slices)
{
	uint64_t first = (uint64_t)(base - memory.range) >> SLICE_SHIFT;

	ck_assert_ptr_eq(source, &memory.source);
	pthread_mutex_lock(&memory.lock);
	for (uint32_t i = 0; i < slices; i++) {
		ck_assert(memory.leased[first + i]);
		memory.leased[first + i] = 0;
	}
	mark(base, slices, NULL);
	memory.held -= slices;
	pthread_mutex_unlock(&memory.lock);
}

static void on_freed_twice(struct heaps *of, const void *block, uint32_t size)
{
	ck_assert_uint_ge(size, 64);
	ck_assert_ptr_eq(of, &heaps);
	ck_assert_ptr_nonnull(block);
	atomic_fetch_add(&freed_twice, 1);
}

static void setup(const struct class_lookup *lookup)
{
	void *range = mmap(NULL, (uint64_t)(SLICES + 1) << SLICE_SHIFT, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(range, MAP_FAILED);
	memory.range = (char *)(((uintptr_t)range + SLICE_BYTES - 1) & ~(SLICE_BYTES - 1));
	memory.source = (struct lease_source){.take = take, .give = give};
	memory.limit = SLICES;
	memory.held = memory.most = 0;
	memset(memory.leased, 0, sizeof(memory.leased));
	freed_twice = 0;
	ck_assert_int_eq(store_init(&store, 64 << 20), 0);
	leases_init(&leases, &memory.source, &store);
	heaps = (struct heaps){
		.base = memory.range,
		.slices = SLICES,
		.lookup = lookup,
		.store = &store,
		.freed_twice = on_freed_twice,
		.tell = on_tell,
	};
	memset((void *)told, 0, sizeof(told));
	heaps.spans = calloc(SLICES, sizeof(heaps.spans[0]));
}

static void setup_spaced(void)
{
	setup(&class_spaced);
}

static void teardown(void)
{
	free((void *)heaps.spans);
	store_deinit(&store);
}

static void *alloc(struct heap *heap, size_t size)
{
	uint32_t class = class_of(heap->heaps->lookup, size);
	void *block = NULL;

	if (size > HEAP_BIN_MAX)
		heap_alloc_large(heap, class, &block);
	else
		heap_alloc(heap, class, &block);
	return block;
}

static int release(struct heap *heap, const void *block)
{
	struct span *span = heaps_span(&heaps, block);

	ck_assert_ptr_nonnull(span);
	if (span->heap != heap)
		return heap_free_remote(span, block);
	return span->owner ? heap_free_own(heap, span, block)
			   : heap_free_large(heap, span, block);
}

/* Everything is back: the source holds all of it. */
static void check_all_back(struct heap *heap)
{
	heap_trim(heap);
	leases_trim(&leases);
	ck_assert_uint_eq(memory.held, 0);
	ck_assert_uint_eq(leases.held, 0);
	ck_assert_uint_eq(leases.free, 0);
	ck_assert_uint_eq(leases.idle, 0);
	for (uint32_t class = 0; class < CLASSES; class ++) {
		ck_assert_int_eq(told[class].slices, 0);
		ck_assert_int_eq(told[class].live, 0);
	}
}

static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void random_seed(void)
{
	const char *text = getenv("VARBOS_SEED");

	random_state = text ? strtoull(text, NULL, 0) : 0;
	if (!random_state)
		random_state = (uint64_t)getpid() * 0x9e3779b97f4a7c15;
	printf("VARBOS_SEED=%llu\n", (unsigned long long)random_state);
}

/* ---- size classes ---- */

START_TEST(every_size_has_the_smallest_class_that_holds_it)
{
	const struct class_lookup *lookups[] = {&class_spaced, &class_packed};

	for (int i = 0; i < 2; i++)
		for (uint64_t size = 0; size <= CLASS_MAX; size++) {
			uint32_t class = class_of(lookups[i], size), best = class;

			for (uint32_t c = 0; c < (i ? CLASSES : CLASSES_SPACED); c++)
				if (size_classes[c].size >= size &&
				    size_classes[c].size < size_classes[best].size)
					best = c;
			if (class != best || size_classes[class].size < size)
				ck_abort_msg("%u for %lu bytes", class, (unsigned long)size);
		}
}
END_TEST

START_TEST(no_size_above_1_KiB_wastes_more_than_a_quarter)
{
	for (uint64_t size = 1025; size <= CLASS_MAX; size++) {
		const struct size_class *class = &size_classes[class_of(&class_spaced, size)];
		uint64_t run = (uint64_t) class->slices << SLICE_SHIFT;

		if (size * class->blocks * 4 < run * 3)
			ck_abort_msg("of %lu bytes", (unsigned long)size);
	}
}
END_TEST

START_TEST(only_the_start_of_a_block_is_one)
{
	for (uint32_t class = 0; class < CLASSES; class ++) {
		const struct size_class *type = &size_classes[class];
		struct span span = {.base = memory.range, .blocks = type->blocks};
		uint64_t end = (uint64_t)type->slices << SLICE_SHIFT;
		uint32_t step = type->size > 4096 ? 8 : 1, block;

		span_init(&span, type);
		ck_assert_uint_le(type->slices, RUN_SLICES_MAX);
		ck_assert_uint_le(type->blocks, GROUPS_MAX * GROUP_BLOCKS);
		for (uint64_t at = 0; at < end; at += step) {
			bool start = at % type->size == 0 && at / type->size < type->blocks;

			if (span_block(&span, memory.range + at, &block) != start ||
			    (start && block != at / type->size))
				ck_abort_msg("%u: %lu", type->size, (unsigned long)at);
		}
	}
}
END_TEST

/* ---- allocating and freeing ---- */

struct live {
	char *block;
	size_t size;
	char mark;
};

static void fill(struct live *live, size_t size)
{
	live->size = size;
	live->mark = (char)random_next();
	/* Both ends: blocks that overlap write over one of them. */
	live->block[0] = live->mark;
	live->block[size - 1] = live->mark;
}

static void churn(struct heap *heap, uint32_t steps, size_t size_max, uintptr_t align)
{
	struct live *live = calloc(LIVE, sizeof(*live));

	for (uint32_t i = 0; i < steps; i++) {
		struct live *one = &live[random_next() % LIVE];
		size_t size = 1 + random_next() % size_max;

		if (random_next() % 8 == 0)
			size = 1 + random_next() % 128;
		if (one->block) {
			ck_assert_int_eq(one->block[0], one->mark);
			ck_assert_int_eq(one->block[one->size - 1], one->mark);
			ck_assert_int_eq(release(heap, one->block), 0);
		}
		one->block = alloc(heap, size);
		ck_assert_ptr_nonnull(one->block);
		ck_assert_uint_eq((uintptr_t)one->block % align, 0);
		fill(one, size);
		if (i % 10000 == 0)
			heap_trim(heap);
	}
	for (uint32_t i = 0; i < LIVE; i++)
		if (live[i].block)
			ck_assert_int_eq(release(heap, live[i].block), 0);
	free(live);
	check_all_back(heap);
}

START_TEST(live_blocks_never_overlap_and_all_memory_comes_back)
{
	struct heap *heap = heap_take(&heaps, &leases);

	random_seed();
	churn(heap, 100000, 4096, 64);
	churn(heap, 20000, 64 << 10, 64);
}
END_TEST

START_TEST(packed_blocks_stand_at_multiples_of_16)
{
	heaps.lookup = &class_packed;
	random_seed();
	churn(heap_take(&heaps, &leases), 50000, 300, 16);
}
END_TEST

START_TEST(a_second_free_is_refused_wherever_the_block_is)
{
	struct heap *heap = heap_take(&heaps, &leases);
	char *blocks[200];

	for (int i = 0; i < 200; i++)
		blocks[i] = alloc(heap, 64);
	ck_assert_int_eq(release(heap, blocks[199]), 0); /* the bin's last */
	ck_assert_int_eq(release(heap, blocks[199]), HEAP_E_FREED);
	ck_assert_int_eq(release(heap, blocks[198]), 0); /* the bin's word */
	ck_assert_int_eq(release(heap, blocks[198]), HEAP_E_FREED);
	ck_assert_int_eq(release(heap, blocks[0]), 0); /* another group */
	ck_assert_int_eq(release(heap, blocks[0]), HEAP_E_FREED);
	ck_assert_int_eq(release(heap, blocks[199]), HEAP_E_FREED);
	for (int i = 1; i < 198; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	check_all_back(heap);
}
END_TEST

START_TEST(what_is_inside_a_block_is_refused_and_changes_nothing)
{
	struct heap *heap = heap_take(&heaps, &leases);
	char *block = alloc(heap, 192), *next = alloc(heap, 192);

	ck_assert_int_eq(release(heap, block + 16), HEAP_E_INTERIOR);
	ck_assert_int_eq(release(heap, block + 64), HEAP_E_INTERIOR);
	ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, block), block + 1),
			 HEAP_E_INTERIOR);
	/* The tail of the run, beyond its last block. */
	ck_assert_int_eq(release(heap, memory.range + 341 * 192), HEAP_E_INTERIOR);
	ck_assert_int_eq(release(heap, next), 0);
	ck_assert_int_eq(release(heap, block), 0);
	check_all_back(heap);
}
END_TEST

START_TEST(a_refusal_of_the_source_is_passed_on_and_what_is_idle_goes_first)
{
	struct heap *heap = heap_take(&heaps, &leases);
	char *blocks[64], *large;

	memory.limit = 32;
	for (int i = 0; i < 32; i++) {
		blocks[i] = alloc(heap, 65536);
		ck_assert_ptr_nonnull(blocks[i]);
	}
	ck_assert_ptr_null(alloc(heap, 65536));
	ck_assert_int_eq(
		heap_alloc_large(heap, class_of(heap->heaps->lookup, 65536), (void **)&large),
		-ENOSPC);
	for (int i = 0; i < 32; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	/* All of it is idle here, and none of it a run of four: it goes back for one. */
	large = alloc(heap, 262144);
	ck_assert_ptr_nonnull(large);
	ck_assert_int_eq(release(heap, large), 0);
	check_all_back(heap);
}
END_TEST

START_TEST(leases_grow_with_what_is_held)
{
	struct heap *heap = heap_take(&heaps, &leases);
	void *first = alloc(heap, 64), *more[300];

	ck_assert_uint_eq(memory.held, 1);
	for (int i = 0; i < 300; i++)
		more[i] = alloc(heap, 65536);
	ck_assert_uint_le(memory.held, 301 + 64);
	for (int i = 0; i < 300; i++)
		release(heap, more[i]);
	/* An eighth, and a chunk, and the leases that hold something. */
	ck_assert_uint_le(memory.held, 301 / 8 + 32 + 64);
	release(heap, first);
	check_all_back(heap);
}
END_TEST

/* ---- ahead, and with time ---- */

static struct {
	uint32_t asked, collected, slices, takes;
	uint64_t now_ns;
	bool refuses;
} ahead;

static bool ask(struct lease_source *source, uint32_t slices)
{
	ck_assert_ptr_eq(source, &memory.source);
	ck_assert_uint_eq(ahead.asked, ahead.collected); /* one at a time */
	ahead.asked++;
	ahead.slices = slices;
	return true;
}

static int collect(struct lease_source *source, uint32_t slices, char **ret)
{
	ck_assert_uint_eq(slices, ahead.slices);
	ahead.collected++;
	return ahead.refuses ? -ENOSPC : take(source, slices, false, ret);
}

static int take_counted(struct lease_source *source, uint32_t slices, bool or_less, char **ret)
{
	ahead.takes++;
	return take(source, slices, or_less, ret);
}

static uint64_t now_ns(struct lease_source *source)
{
	(void)source;
	return ahead.now_ns;
}

static struct heap *heap_that_asks_ahead(void)
{
	memset(&ahead, 0, sizeof(ahead));
	memory.source.take = take_counted;
	memory.source.ask = ask;
	memory.source.collect = collect;
	return heap_take(&heaps, &leases);
}

START_TEST(in_steady_growth_nobody_waits_for_a_lease)
{
	struct heap *heap = heap_that_asks_ahead();
	char *blocks[600];
	uint32_t before;

	for (int i = 0; i < 20; i++)
		blocks[i] = alloc(heap, 65536);
	before = ahead.takes;
	for (int i = 20; i < 600; i++) {
		blocks[i] = alloc(heap, 65536);
		ck_assert_ptr_nonnull(blocks[i]);
	}
	ck_assert_uint_gt(ahead.asked, 5);
	ck_assert_uint_eq(ahead.takes, before);
	for (int i = 0; i < 600; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	check_all_back(heap);
}
END_TEST

START_TEST(who_holds_little_asks_for_nothing_ahead)
{
	struct heap *heap = heap_that_asks_ahead();

	for (int i = 0; i < 15; i++)
		ck_assert_ptr_nonnull(alloc(heap, 65536));
	ck_assert_uint_eq(ahead.asked, 0);
	ck_assert_uint_eq(memory.held, 15);
}
END_TEST

START_TEST(what_was_refused_ahead_is_asked_again_by_who_needs_it)
{
	struct heap *heap = heap_that_asks_ahead();

	ahead.refuses = true;
	for (int i = 0; i < 100; i++)
		ck_assert_ptr_nonnull(alloc(heap, 65536));
	ck_assert_uint_gt(ahead.asked, 0);
	ck_assert_uint_gt(ahead.takes, 16);
}
END_TEST

START_TEST(what_comes_ahead_and_is_not_needed_goes_back_with_the_rest)
{
	struct heap *heap = heap_that_asks_ahead();
	char *blocks[600];
	int n = 0;

	while (ahead.asked == ahead.collected && n < 600)
		blocks[n++] = alloc(heap, 65536);
	while (n)
		ck_assert_int_eq(release(heap, blocks[--n]), 0);
	check_all_back(heap);
	ck_assert_uint_eq(ahead.asked, ahead.collected);
}
END_TEST

START_TEST(what_was_idle_for_a_second_goes_back)
{
	struct heap *heap = heap_that_asks_ahead();
	char *blocks[400], *block;
	uint32_t kept;

	memory.source.ask = NULL;
	memory.source.now_ns = now_ns;
	ahead.now_ns = 5000000000;
	for (int i = 0; i < 400; i++)
		blocks[i] = alloc(heap, 65536);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	ck_assert_uint_ge(memory.held, 300 + 32); /* for what comes next */
	/* The first may give back one more: an eighth of what is held has become less. */
	for (int i = 0; i < 2; i++) {
		kept = memory.held;
		block = alloc(heap, 65536);
		ck_assert_int_eq(release(heap, block), 0);
	}
	ck_assert_uint_eq(memory.held, kept); /* no time has passed */
	for (int i = 0; i < 2; i++) { /* seconds: the first says what was idle in the next */
		ahead.now_ns += 1000000000;
		block = alloc(heap, 65536);
		ck_assert_int_eq(release(heap, block), 0);
	}
	ck_assert_uint_le(memory.held, kept - 24);
	for (int i = 100; i < 400; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	check_all_back(heap);
}
END_TEST

/* ---- several threads ---- */

/* That its bin holds, and `last`: a span counts all of them as used. */
static uint32_t bin_blocks(struct heap *heap, uint32_t at)
{
	const struct bin *bin = heap_bin(heap, at);

	return (uint32_t)(bin->top - bin->bottom) + (heap->last_bin == at);
}

struct mail {
	_Atomic(void *) slots[64];
	struct heap *heap;
	const struct span *span; /* where the next is freed when the former was taken */
	uint32_t n;
	_Atomic uint32_t got;
};

/* What was freed there has been taken: its owner is in the midst of it. */
static void wait_until_taken(const struct span *span)
{
	for (uint32_t i = 0; i < span->groups; i++)
		while (atomic_load(&span->remote[i]))
			sched_yield();
}

static void *free_mail(void *arg)
{
	struct mail *mail = arg;

	for (uint32_t got; (got = atomic_load(&mail->got)) < mail->n;) {
		for (uint32_t i = 0; i < 64; i++) {
			void *block = atomic_exchange(&mail->slots[i], NULL);

			if (!block)
				continue;
			ck_assert_int_eq(*(uint32_t *)block, 0x5ca1ab1e);
			*(uint32_t *)block = 0;
			if (mail->span)
				wait_until_taken(mail->span);
			ck_assert_int_eq(release(NULL, block), 0);
			atomic_fetch_add(&mail->got, 1);
		}
		if (got == atomic_load(&mail->got))
			sched_yield(); /* nothing there: let its owner run */
	}
	return NULL;
}

/* More than the source has would be held if what the other thread frees did not come back. */
START_TEST(what_another_thread_frees_comes_back)
{
	struct mail mail = {.heap = heap_take(&heaps, &leases), .n = 20000};
	pthread_t thread;

	random_seed();
	memory.limit = 256;
	ck_assert_int_eq(pthread_create(&thread, NULL, free_mail, &mail), 0);
	for (uint32_t i = 0; i < mail.n; i++) {
		_Atomic(void *) *slot = &mail.slots[i % 64];
		void *block;

		while (atomic_load(slot))
			sched_yield();
		block = alloc(mail.heap, 4 + random_next() % 2000);
		ck_assert_ptr_nonnull(block);
		*(uint32_t *)block = 0x5ca1ab1e;
		atomic_store(slot, block);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(freed_twice, 0);
	check_all_back(mail.heap);
}
END_TEST

/* A few at a time, so that their owner collects some while others are being freed. */
static void collect_meanwhile(uint32_t few, uint32_t rounds, bool when_taken)
{
	struct mail mail = {.heap = heap_take(&heaps, &leases), .n = rounds * few};
	void *kept = alloc(mail.heap, 64);
	struct span *span = heaps_span(&heaps, kept);
	pthread_t thread;

	ck_assert_ptr_nonnull(span);
	mail.span = when_taken ? span : NULL;
	ck_assert_int_eq(pthread_create(&thread, NULL, free_mail, &mail), 0);
	for (uint32_t sent = 0; sent < mail.n;) {
		for (uint32_t i = 0; i < few; i++, sent++) {
			void *block = alloc(mail.heap, 64);

			ck_assert_ptr_nonnull(block);
			*(uint32_t *)block = 0x5ca1ab1e;
			atomic_store(&mail.slots[i], block);
		}
		while (atomic_load(&mail.got) < sent) {
			heap_collect(mail.heap);
			sched_yield();
		}
		heap_collect(mail.heap);
		ck_assert_uint_eq(span->used, 1 + bin_blocks(mail.heap, span->bin));
	}
	pthread_join(thread, NULL);
	ck_assert_int_eq(release(mail.heap, kept), 0);
	check_all_back(mail.heap);
}

START_TEST(no_free_is_missed_by_who_collects_meanwhile)
{
	collect_meanwhile(8, 1000, false);
}
END_TEST

START_TEST(no_free_is_missed_that_comes_in_the_midst_of_a_collection)
{
	collect_meanwhile(2, 500, true);
}
END_TEST

START_TEST(a_block_that_two_threads_free_is_found_when_it_is_collected)
{
	struct heap *heap = heap_take(&heaps, &leases);
	char *in_word = alloc(heap, 64), *last = alloc(heap, 64), *kept = alloc(heap, 64);

	ck_assert_int_eq(release(heap, last), 0);
	ck_assert_int_eq(release(heap, in_word), 0);
	ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, last), last), 0);
	ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, last), last), HEAP_E_FREED);
	ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, in_word), in_word), 0);
	heap_collect(heap);
	ck_assert_uint_eq(freed_twice, 2);
	ck_assert_int_eq(release(heap, kept), 0);
	check_all_back(heap);
}
END_TEST

/* As programs do by themselves (varbos.h). */
static bool program_free(struct heap *heap, const void *block)
{
	struct varbos_latest_heap *known = (struct varbos_latest_heap *)(void *)heap;

	if (known->last != block || known->free_class)
		return false;
	known->free_class = known->last_class;
	return true;
}

START_TEST(what_was_freed_last_is_freed_again_only_while_it_is_in_use)
{
	struct heap *heap = heap_take(&heaps, &leases);
	struct span *span;
	void *block;

	ck_assert(!program_free(heap, NULL));
	block = alloc(heap, 64);
	span = heaps_span(&heaps, block);
	ck_assert(!program_free(heap, block));
	ck_assert_int_eq(release(heap, block), 0);
	ck_assert(!program_free(heap, block));
	ck_assert_ptr_eq(alloc(heap, 64), block);
	ck_assert(program_free(heap, block));
	ck_assert_int_eq(release(heap, block), HEAP_E_FREED);

	/* Another thread frees it: it may be anyone's next. */
	ck_assert_ptr_eq(alloc(heap, 64), block);
	ck_assert_int_eq(heap_free_remote(span, block), 0);
	heap_collect(heap);
	ck_assert(!program_free(heap, block));
	ck_assert(!program_free(heap, NULL));
	check_all_back(heap);
}
END_TEST

START_TEST(a_trim_reaches_other_heaps_when_they_next_run_short)
{
	struct heap *heap = heap_take(&heaps, &leases), *other = heap_take(&heaps, &leases);
	struct heap *left = heap_take(&heaps, &leases);
	char *block = alloc(other, 64), *theirs = alloc(left, 64);

	ck_assert_int_eq(release(other, block), 0);
	heap_leave(left);
	ck_assert_int_eq(release(heap, theirs), 0);
	ck_assert_uint_eq(memory.held, 2);
	heaps_trim(&heaps, heap);
	leases_trim(&leases);
	ck_assert_uint_eq(memory.held, 1); /* what was left has been collected, and is back */
	block = alloc(other, 32768);
	ck_assert_uint_eq(memory.held, 1); /* the other slice has become a run of these */
	ck_assert_int_eq(release(other, block), 0);
	check_all_back(other);
}
END_TEST

START_TEST(a_heap_that_a_thread_left_is_the_next_ones_with_all_that_is_in_it)
{
	struct heap *heap = heap_take(&heaps, &leases), *second = heap_take(&heaps, &leases),
		    *next;
	char *block = alloc(heap, 64), *other = alloc(second, 64);

	ck_assert_ptr_ne(heap, second);
	ck_assert_int_eq(release(second, block), 0);
	heap_leave(heap);
	ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, other), other), 0);
	next = heap_take(&heaps, &leases);
	ck_assert_ptr_eq(next, heap);
	heap_trim(second);
	check_all_back(next);
}
END_TEST

START_TEST(what_others_free_of_an_ended_threads_blocks_is_used_before_more_is_leased)
{
	enum { BLOCKS = 4000, SIZE = 4096 };
	struct heap *heap = heap_take(&heaps, &leases), *other = heap_take(&heaps, &leases);
	static char *blocks[BLOCKS];
	uint32_t most;

	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = alloc(other, SIZE);
	heap_leave(other);
	most = memory.most;
	for (int i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(heap_free_remote(heaps_span(&heaps, blocks[i]), blocks[i]), 0);
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = alloc(heap, SIZE);
	/* What else it needs, it has of its own. */
	ck_assert_uint_le(memory.most, most + RUN_SLICES_MAX);
	for (int i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(release(heap, blocks[i]), 0);
	check_all_back(heap);
}
END_TEST

START_TEST(what_is_noted_of_any_span_fits_into_what_is_set_aside_for_it)
{
	for (uint32_t class = 0; class < CLASSES; class ++)
		ck_assert_uint_le(span_size(&size_classes[class]),
				  (size_t)size_classes[class].slices
					  << (class < CLASSES_SPACED ? STORE_SLICE_SHIFT
								     : STORE_PACKED_SHIFT));
}
END_TEST

/* ---- what is told ---- */

static const size_t told_sizes[] = {64, 100, 1000, 4096, 30000, 40000, 200000};

/* Blocks of one thread, counted by hand. */
struct teller {
	pthread_t thread;
	struct heap *heap;
	struct {
		void *block;
		uint32_t class;
	} slots[400];
	uint32_t live[CLASSES];
	uint64_t random;
};

static void teller_step(struct teller *teller)
{
	uint32_t slot, class;
	size_t size;

	teller->random ^= teller->random << 13;
	teller->random ^= teller->random >> 7;
	teller->random ^= teller->random << 17;
	slot = (uint32_t)(teller->random >> 8) % ARRAY_SIZE(teller->slots);
	size = told_sizes[(teller->random >> 40) % ARRAY_SIZE(told_sizes)];
	class = class_of(heaps.lookup, size);
	if (teller->slots[slot].block) {
		if (release(teller->heap, teller->slots[slot].block))
			ck_abort_msg("a free is refused");
		teller->live[teller->slots[slot].class]--;
		teller->slots[slot].block = NULL;
		return;
	}
	teller->slots[slot].block = alloc(teller->heap, size);
	if (!teller->slots[slot].block)
		ck_abort_msg("there is no memory");
	teller->slots[slot].class = class;
	teller->live[class]++;
}

static void *teller_run(void *arg)
{
	struct teller *teller = arg;

	for (int i = 0; i < 30000; i++)
		teller_step(teller);
	heap_tell(teller->heap);
	return NULL;
}

START_TEST(what_threads_tell_adds_up_to_what_they_have)
{
	enum { TELLERS = 3 };
	static struct teller tellers[TELLERS];
	uint32_t slices[CLASSES] = {};

	random_seed();
	memset(tellers, 0, sizeof(tellers));
	for (int i = 0; i < TELLERS; i++) {
		tellers[i].heap = heap_take(&heaps, &leases);
		tellers[i].random = random_next() | 1;
		ck_assert(!pthread_create(&tellers[i].thread, NULL, teller_run, &tellers[i]));
	}
	for (int i = 0; i < TELLERS; i++)
		pthread_join(tellers[i].thread, NULL);
	for (uint32_t i = 0; i < SLICES; i++) {
		const struct span *span = heaps.spans[i];

		if (span && span != &span_none)
			slices[span->class]++;
	}
	for (uint32_t class = 0; class < CLASSES; class ++) {
		uint32_t live = 0;

		for (int i = 0; i < TELLERS; i++)
			live += tellers[i].live[class];
		ck_assert_int_eq(told[class].live, live);
		ck_assert_int_eq(told[class].slices, slices[class]);
	}
	for (int i = 0; i < TELLERS; i++) {
		for (uint32_t k = 0; k < ARRAY_SIZE(tellers[i].slots); k++)
			if (tellers[i].slots[k].block)
				release(tellers[i].heap, tellers[i].slots[k].block);
		heap_trim(tellers[i].heap);
	}
	check_all_back(tellers[0].heap);
}
END_TEST

/* Without anybody asking: in use by as many as could be at hand, or not worth telling. */
START_TEST(what_is_told_unasked_is_off_by_little)
{
	static struct teller teller;

	random_seed();
	memset(&teller, 0, sizeof(teller));
	teller.heap = heap_take(&heaps, &leases);
	teller.random = random_next() | 1;
	for (int i = 0; i < 50000; i++) {
		teller_step(&teller);
		for (uint32_t k = 0; k < ARRAY_SIZE(told_sizes); k++) {
			uint32_t class = class_of(heaps.lookup, told_sizes[k]);
			int64_t off = told[class].live - (int64_t)teller.live[class];

			if (off < -(GROUP_BLOCKS + 1) || off > 2 * GROUP_BLOCKS + 1)
				ck_abort_msg("step %d, blocks of %u: told %ld, there are %u", i,
					     size_classes[class].size, (long)told[class].live,
					     teller.live[class]);
		}
	}
	for (uint32_t k = 0; k < ARRAY_SIZE(teller.slots); k++)
		if (teller.slots[k].block)
			release(teller.heap, teller.slots[k].block);
	check_all_back(teller.heap);
}
END_TEST

static Suite *heap_suite(void)
{
	Suite *suite = suite_create("heap");
	TCase *tcase = tcase_create("heap");

	tcase_add_checked_fixture(tcase, setup_spaced, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, every_size_has_the_smallest_class_that_holds_it);
	tcase_add_test(tcase, no_size_above_1_KiB_wastes_more_than_a_quarter);
	tcase_add_test(tcase, only_the_start_of_a_block_is_one);
	tcase_add_test(tcase, live_blocks_never_overlap_and_all_memory_comes_back);
	tcase_add_test(tcase, packed_blocks_stand_at_multiples_of_16);
	tcase_add_test(tcase, a_second_free_is_refused_wherever_the_block_is);
	tcase_add_test(tcase, what_is_inside_a_block_is_refused_and_changes_nothing);
	tcase_add_test(tcase, a_refusal_of_the_source_is_passed_on_and_what_is_idle_goes_first);
	tcase_add_test(tcase, leases_grow_with_what_is_held);
	tcase_add_test(tcase, what_another_thread_frees_comes_back);
	tcase_add_test(tcase, no_free_is_missed_by_who_collects_meanwhile);
	tcase_add_test(tcase, no_free_is_missed_that_comes_in_the_midst_of_a_collection);
	tcase_add_test(tcase, a_block_that_two_threads_free_is_found_when_it_is_collected);
	tcase_add_test(tcase, what_was_freed_last_is_freed_again_only_while_it_is_in_use);
	tcase_add_test(tcase,
		       a_heap_that_a_thread_left_is_the_next_ones_with_all_that_is_in_it);
	tcase_add_test(
		tcase,
		what_others_free_of_an_ended_threads_blocks_is_used_before_more_is_leased);
	tcase_add_test(tcase, what_is_noted_of_any_span_fits_into_what_is_set_aside_for_it);
	tcase_add_test(tcase, a_trim_reaches_other_heaps_when_they_next_run_short);
	tcase_add_test(tcase, what_threads_tell_adds_up_to_what_they_have);
	tcase_add_test(tcase, what_is_told_unasked_is_off_by_little);
	tcase_add_test(tcase, in_steady_growth_nobody_waits_for_a_lease);
	tcase_add_test(tcase, who_holds_little_asks_for_nothing_ahead);
	tcase_add_test(tcase, what_was_refused_ahead_is_asked_again_by_who_needs_it);
	tcase_add_test(tcase, what_comes_ahead_and_is_not_needed_goes_back_with_the_rest);
	tcase_add_test(tcase, what_was_idle_for_a_second_goes_back);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(heap_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
