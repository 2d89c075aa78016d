#include "client/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "client/debug.h"
#include "client/error.h"
#include "client/fork.h"

enum { ROOM_FIRST = 8 };

#define INITIAL_DEFAULT ((uint64_t)64 << 10)
#define LARGEST_DEFAULT ((uint64_t)2 << 20)
#define SIZE_LIMIT ((uint64_t)1 << 44) /* an offset has no more bits */
#define ALIGN_MAX ((uint64_t)1 << 30)

static void arena_freep(struct arena **arena)
{
	arena_free(*arena);
}

static uint64_t align_16(uint64_t size)
{
	return (size + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1);
}

static char *align_to(char *memory, uint64_t align)
{
	return memory + ((0 - (uintptr_t)memory) & (align - 1));
}

/* What a place needs at most that is not aligned yet. */
static uint64_t padded(uint64_t size, uint64_t align)
{
	return size + (align > SOURCE_ALIGN ? align - SOURCE_ALIGN : 0);
}

/* ---- overflow chunks ---- */

static void overflows_push(struct overflows *list, struct overflow *overflow)
{
	overflow->next = list->first;
	if (!list->n++)
		list->last = overflow;
	list->first = overflow;
}

static struct overflow *overflows_pop(struct overflows *list)
{
	struct overflow *overflow = list->first;

	list->first = overflow->next;
	list->n--;
	return overflow;
}

/* All of `from` are put before what is in `to`. */
static void overflows_move(struct overflows *to, struct overflows *from)
{
	if (!from->n)
		return;
	from->last->next = to->first;
	if (!to->n)
		to->last = from->last;
	to->first = from->first;
	to->n += from->n;
	*from = (struct overflows){};
}

static void overflow_free(struct arena *arena, struct overflow *overflow)
{
	arena->held -= overflow->size;
	source_give(&arena->source, overflow->memory);
	free(overflow);
}

/* At most so many of those that are kept. */
static uint64_t kept_free(struct arena *arena, uint64_t most)
{
	uint64_t before = arena->held;

	while (arena->kept.n && most--)
		overflow_free(arena, overflows_pop(&arena->kept));
	return before - arena->held;
}

/* ---- memory of the source ---- */

static uint64_t remaining(const struct arena *arena)
{
	return arena->options.maximum ? arena->options.maximum - arena->held : SIZE_LIMIT;
}

/* Chunks after the one in use. */
static uint64_t chunks_free(struct arena *arena)
{
	uint64_t before = arena->held;
	struct chunk *chunk;

	while (arena->n > arena->front.at + 1) {
		chunk = arena->chunks[--arena->n];
		arena->held -= chunk->size;
		source_give(&arena->source, chunk->memory);
		free(chunk);
	}
	return before - arena->held;
}

/* A6: was there anything? */
static bool make_room(struct arena *arena)
{
	return kept_free(arena, UINT64_MAX) + chunks_free(arena);
}

static int error_exhausted(const struct arena *arena, uint64_t size)
{
	char asked[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];

	return error_set_numbers(
		&(struct varbos_error){
			.code = VARBOS_E_EXHAUSTED,
			.requested = size,
			.max = arena->options.maximum,
			.remaining = remaining(arena),
			.which = "arena",
		},
		"%s asked of an arena of at most %s, of which %s may still be leased",
		size_format(asked, sizeof(asked), size),
		size_format(most, sizeof(most), arena->options.maximum),
		size_format(left, sizeof(left), remaining(arena)));
}

static bool is_lack(int r)
{
	return r == VARBOS_E_MEMORY || r == VARBOS_E_BUDGET || r == VARBOS_E_TOO_LARGE ||
	       r == VARBOS_E_EXHAUSTED;
}

/* Between `least` and `wish` bytes, as much of that as there is to be had. */
static int take(struct arena *arena, uint64_t least, uint64_t wish, void **ret,
		uint64_t *ret_size)
{
	struct varbos_error before = *varbos_error();
	uint64_t size = wish;
	int r;

	if (least > remaining(arena) &&
	    (mutant(arena_kept_counts) || !make_room(arena) || least > remaining(arena)))
		return error_exhausted(arena, least);
	size = u64_min(size, u64_align_down(remaining(arena), SOURCE_ALIGN));
	r = source_take(&arena->source, size, ret);
	if (is_lack(r) && make_room(arena))
		r = source_take(&arena->source, size, ret);
	if (is_lack(r) && size > least) {
		size = least;
		r = source_take(&arena->source, size, ret);
	}
	if (r)
		return r;
	error_restore(&before); /* what went wrong on the way is nobody's concern */
	arena->held += size;
	*ret_size = size;
	return 0;
}

/* ---- chunks ---- */

/* How large the next one is to be, whatever is asked for. */
static uint64_t next_size(const struct arena *arena)
{
	const struct varbos_arena_options *options = &arena->options;
	uint64_t last;

	if (arena->front.at + 1 < arena->n)
		return arena->chunks[arena->front.at + 1]->size;
	if (!arena->n)
		return options->initial;
	last = arena->chunks[arena->n - 1]->size;
	return u64_min(align_16(last / 100 * options->growth +
				last % 100 * options->growth / 100 + options->step),
		       options->largest);
}

/* Room for one more in the table, and the record itself. */
static int chunk_record(struct arena *arena, struct chunk **ret)
{
	uint32_t room = arena->room ? 2 * arena->room : ROOM_FIRST;
	struct chunk **chunks;

	if (arena->n == arena->room) {
		chunks = reallocarray(arena->chunks, room, sizeof(struct chunk *));
		if (!chunks)
			return error_system(ENOMEM, "a table of %u chunks", room);
		arena->chunks = chunks;
		arena->room = room;
	}
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : error_system(ENOMEM, "the record of a chunk");
}

/* Adds a chunk of `least` or more after the last. */
static int chunk_add(struct arena *arena, uint64_t least)
{
	_cleanup_(freep) struct chunk *chunk = NULL;
	void *memory = NULL;
	int r;

	r = chunk_record(arena, &chunk);
	if (r)
		return r;
	/* May give back chunks after the one in use: there are none, or it fails. */
	r = take(arena, least, u64_max(least, next_size(arena)), &memory, &chunk->size);
	if (r)
		return r;
	chunk->memory = memory;
	arena->chunks[arena->n++] = TAKE_PTR(chunk);
	return 0;
}

/* chunks[at] is in use from now on, from `used`. */
static void chunk_enter(struct arena *arena, uint32_t at, uint64_t used)
{
	struct chunk *chunk = arena->chunks[at];

	arena->front.at = at;
	if (arena->shared) {
		atomic_store_explicit(&chunk->used, used, memory_order_relaxed);
		/* Whoever sees the chunk sees how much of it is used. */
		atomic_store_explicit(&arena->current, chunk, memory_order_release);
		return;
	}
	arena->front.next = chunk->memory + used;
	arena->front.end = chunk->memory + chunk->size;
}

/* The next chunk, kept or new, can hold `need`, or an overflow chunk: then *ret is its memory. */
static int overflow_take(struct arena *arena, uint64_t need, uint64_t align, void **ret)
{
	uint64_t size = padded(need, align);
	struct overflow *overflow = NULL;
	int r = 0;

	/* One that is kept and not too large is as good as a new one. */
	for (uint32_t i = 0; i < KEPT_BATCH && arena->kept.n && !overflow; i++) {
		overflow = overflows_pop(&arena->kept);
		if (overflow->size < size || overflow->size / 2 > size) {
			overflow_free(arena, overflow);
			overflow = NULL;
		}
	}
	if (!overflow) {
		overflow = calloc(1, sizeof(*overflow));
		if (!overflow)
			return error_system(ENOMEM, "the record of a chunk");
		r = take(arena, size, size, &overflow->memory, &overflow->size);
	}
	if (r) {
		free(overflow);
		return r;
	}
	overflow->number = ++arena->number;
	overflows_push(&arena->overflow, overflow);
	arena->front.slow = 1;
	*ret = align_to(overflow->memory, align);
	return 0;
}

/* Enters the next chunk if `size` goes there: then *ret stays NULL. */
static int next_chunk(struct arena *arena, uint64_t need, uint64_t align, void **ret)
{
	uint64_t size = padded(need, align);
	int r;

	if (size > next_size(arena))
		return overflow_take(arena, need, align, ret);
	kept_free(arena, KEPT_BATCH);
	if (arena->front.at + 1 == arena->n) {
		r = chunk_add(arena, size);
		if (r)
			return r;
	}
	if (!arena->shared)
		atomic_store_explicit(
			&arena->chunks[arena->front.at]->used,
			(uint64_t)(arena->front.next - arena->chunks[arena->front.at]->memory),
			memory_order_relaxed);
	chunk_enter(arena, arena->front.at + 1, 0);
	return 0;
}

/* ---- allocating ---- */

static int local_alloc(struct arena *arena, uint64_t need, uint64_t align, void **ret)
{
	struct varbos_arena *front = &arena->front;
	char *memory;
	int r;

	for (;;) {
		memory = align_to(front->next, align);
		if (memory <= front->end && need <= (uint64_t)(front->end - memory)) {
			front->next = memory + need;
			*ret = memory;
			return 0;
		}
		r = next_chunk(arena, need, align, ret);
		if (r || *ret)
			return r;
	}
}

static int shared_next_chunk(struct arena *arena, const struct chunk *full, uint64_t need,
			     uint64_t align, void **ret)
{
	int r = 0;

	lock_acquire(&arena->lock);
	/* Somebody else may have been faster. */
	if (atomic_load_explicit(&arena->current, memory_order_relaxed) == full)
		r = next_chunk(arena, need, align, ret);
	lock_release(&arena->lock);
	return r;
}

static int shared_alloc(struct arena *arena, uint64_t need, uint64_t align, void **ret)
{
	uint64_t size = padded(need, align), at, added;
	struct chunk *chunk;
	int r;

	for (;;) {
		chunk = atomic_load_explicit(&arena->current, memory_order_acquire);
		if (size <= chunk->size) {
			at = atomic_fetch_add_explicit(&chunk->used, size,
						       memory_order_relaxed);
			if (at <= chunk->size - size || mutant(arena_bounds_unchecked)) {
				*ret = align_to(chunk->memory + at, align);
				return 0;
			}
			added = at + size;
			atomic_compare_exchange_strong_explicit(&chunk->used, &added, at,
								memory_order_relaxed,
								memory_order_relaxed);
		}
		r = shared_next_chunk(arena, chunk, need, align, ret);
		if (r || *ret)
			return r;
	}
}

_public_ void *varbos_arena_more(struct varbos_arena *front, size_t align, size_t size)
{
	struct arena *arena = arena_of(front);
	uint64_t need = align_16(size ? size : 1);
	void *memory = NULL;
	int r;

	error_enter("varbos_arena_alloc");
	if (!front) {
		error_null("arena");
		return NULL;
	}
	if (arena->stamp != fork_count()) {
		error_parents("the arena");
		return NULL;
	}
	if (!align || (align & (align - 1)) || align > ALIGN_MAX) {
		error_set(VARBOS_E_INVALID, "align",
			  "an alignment of %zu is no power of two up to 1 GiB", align);
		return NULL;
	}
	if (size > SIZE_LIMIT) {
		error_set_numbers(&(struct varbos_error){.code = VARBOS_E_TOO_LARGE,
							 .requested = size,
							 .max = SIZE_LIMIT},
				  "%zu bytes fit into no space", size);
		return NULL;
	}
	align = align > SOURCE_ALIGN ? align : SOURCE_ALIGN;
	r = arena->shared ? shared_alloc(arena, need, align, &memory)
			  : local_alloc(arena, need, align, &memory);
	return r ? NULL : memory;
}

/* ---- going back ---- */

static uint64_t local_used(const struct arena *arena)
{
	return (uint64_t)(arena->front.next - arena->chunks[arena->front.at]->memory);
}

static uint64_t used_of(const struct arena *arena, uint32_t at)
{
	const struct chunk *chunk = arena->chunks[at];

	if (at == arena->front.at && !arena->shared)
		return local_used(arena);
	return u64_min(atomic_load_explicit(&chunk->used, memory_order_relaxed), chunk->size);
}

/* Under VARBOS_DEBUG: what is given up from here on is overwritten. */
static void poison_above(const struct arena *arena, uint32_t at, uint64_t used, uint64_t above)
{
	for (struct overflow *o = arena->overflow.first; o && o->number > above; o = o->next)
		memset(o->memory, DEBUG_FREED, o->size);
	for (uint32_t i = at; i <= arena->front.at; i++, used = 0)
		if (used_of(arena, i) > used)
			memset(arena->chunks[i]->memory + used, DEBUG_FREED,
			       used_of(arena, i) - used);
}

static int check(const struct varbos_arena *front, const char *function)
{
	if (front && arena_of(front)->stamp == fork_count())
		return 0;
	error_enter(function);
	return front ? error_parents("the arena") : error_null("arena");
}

/* A5 */
static void reflag(struct arena *arena)
{
	arena->front.slow =
		arena->shared || arena->poisons || arena->ties.n || arena->overflow.n;
}

_public_ int varbos_arena_reset_all(struct varbos_arena *front)
{
	struct arena *arena = arena_of(front);
	int r;

	r = check(front, "varbos_arena_reset");
	if (r)
		return r;
	if (arena->ties.n)
		ties_end(&arena->ties, 0, NULL, NULL);
	if (arena->poisons)
		poison_above(arena, 0, 0, 0);
	if (arena->overflow.n)
		overflows_move(&arena->kept, &arena->overflow);
	arena->front.epoch++;
	chunk_enter(arena, 0, 0);
	reflag(arena);
	return 0;
}

_public_ struct varbos_mark varbos_arena_mark(const struct varbos_arena *front)
{
	const struct arena *arena = arena_of(front);

	if (!front)
		return (struct varbos_mark){};
	return (struct varbos_mark){
		.epoch = arena->front.epoch,
		.chunk = arena->front.at,
		.used = used_of(arena, arena->front.at),
		.overflow = arena->number,
		.made = arena->ties.number,
	};
}

/* Can the arena go back to there? */
static bool is_behind(const struct arena *arena, const struct varbos_mark *mark)
{
	if (mark->epoch != arena->front.epoch || mark->chunk > arena->front.at)
		return false;
	return mark->chunk < arena->front.at || mark->used <= used_of(arena, arena->front.at);
}

_public_ int varbos_arena_rewind(struct varbos_arena *front, struct varbos_mark mark)
{
	struct arena *arena = arena_of(front);
	struct overflow *overflow;
	int r;

	error_enter("varbos_arena_rewind");
	r = check(front, "varbos_arena_rewind");
	if (r)
		return r;
	if (!is_behind(arena, &mark) && !mutant(arena_mark_unchecked))
		return error_set(VARBOS_E_INVALID, "mark",
				 "the mark is another arena's, or the arena has gone back to "
				 "before it since");
	ties_end(&arena->ties, mark.made, NULL, NULL);
	/* What was called at an end may have gone back further. */
	if (!is_behind(arena, &mark))
		return 0;
	if (arena->poisons)
		poison_above(arena, (uint32_t)mark.chunk, mark.used, mark.overflow);
	while (arena->overflow.n && arena->overflow.first->number > mark.overflow) {
		overflow = overflows_pop(&arena->overflow);
		overflows_push(&arena->kept, overflow);
	}
	chunk_enter(arena, (uint32_t)mark.chunk, mark.used);
	reflag(arena);
	return 0;
}

_public_ uint64_t varbos_arena_trim(struct varbos_arena *front)
{
	struct arena *arena = arena_of(front);

	error_enter("varbos_arena_trim");
	if (check(front, "varbos_arena_trim"))
		return 0;
	return kept_free(arena, UINT64_MAX) + chunks_free(arena);
}

_public_ int varbos_arena_stats(const struct varbos_arena *front,
				struct varbos_arena_stats *ret)
{
	struct arena *arena = arena_of(front);
	int r;

	error_enter("varbos_arena_stats");
	r = check(front, "varbos_arena_stats");
	if (r)
		return r;
	if (!ret)
		return error_null("ret");
	lock_acquire(&arena->lock);
	*ret = (struct varbos_arena_stats){
		.held = arena->held,
		.maximum = arena->options.maximum,
		.chunks = arena->n,
		.overflow = arena->overflow.n,
		.kept = arena->kept.n,
		.resets = (uint32_t)arena->front.epoch,
	};
	for (uint32_t i = 0; i < arena->front.at; i++)
		ret->used += arena->chunks[i]->size;
	ret->used += used_of(arena, arena->front.at);
	for (struct overflow *o = arena->overflow.first; o; o = o->next)
		ret->used += o->size;
	lock_release(&arena->lock);
	return 0;
}

/* ---- making and ending ---- */

static int check_options(struct varbos_arena_options *options)
{
	struct {
		const char *name;
		uint64_t value;
	} sizes[] = {{"initial", options->initial},
		     {"step", options->step},
		     {"largest", options->largest},
		     {"maximum", options->maximum}};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].value > SIZE_LIMIT)
			return error_set(VARBOS_E_INVALID, sizes[i].name,
					 "%s of %llu bytes is more than fits into any space",
					 sizes[i].name, (unsigned long long)sizes[i].value);
	if (options->growth && (options->growth < 100 || options->growth > 100000))
		return error_set(VARBOS_E_INVALID, "growth",
				 "a growth of %u percent is not between 100 and 100000",
				 options->growth);
	if (options->flags & ~(uint32_t)VARBOS_ARENA_SHARED)
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x are not known",
				 options->flags);

	if (!options->initial) {
		options->initial = INITIAL_DEFAULT;
		if (options->maximum)
			options->initial = u64_min(options->initial, options->maximum);
	}
	if (!options->growth)
		options->growth = options->step ? 100 : 200;
	options->initial = align_16(options->initial);
	options->largest = options->largest ? align_16(options->largest) : LARGEST_DEFAULT;
	options->largest = u64_max(options->largest, options->initial);
	return 0;
}

static void end_tied(struct tie *tie)
{
	arena_free(container_of(tie, struct arena, tie));
}

int arena_new(struct arena **ret, const struct source *source,
	      const struct varbos_arena_options *options)
{
	static _Atomic uint32_t ids;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	int r;

	r = fork_watch();
	if (r)
		return error_system(r, "watching forks");
	arena = aligned_alloc(_Alignof(struct arena), sizeof(*arena));
	if (!arena)
		return error_system(ENOMEM, "an arena");
	memset(arena, 0, sizeof(*arena));
	arena->stamp = fork_count();
	arena->source = *source;
	arena->shared = options->flags & VARBOS_ARENA_SHARED;
	arena->options = *options;
	/* From 1: a zeroed mark is nobody's. */
	arena->front.epoch = (uint64_t)(atomic_fetch_add(&ids, 1) + 1) << 32;
	arena->tie = (struct tie){.handle = &arena->front, .end = end_tied};
	arena->poisons = debug_wanted();

	r = check_options(&arena->options);
	if (!r)
		r = chunk_add(arena, arena->options.initial);
	if (r)
		return r;
	arena->front.first = arena->chunks[0]->memory;
	arena->front.first_end = arena->front.first + arena->chunks[0]->size;
	arena->ties.flag = &arena->front.slow;
	chunk_enter(arena, 0, 0);
	reflag(arena);
	if (source->ties && ties_add(source->ties, TIE_CHILD, &arena->tie, NULL))
		return error_system(ENOMEM, "a note of what is made in the source");

	*ret = TAKE_PTR(arena);
	return 0;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	tie_cut(&arena->tie);
	/* In a forked child there is nothing but our records. */
	if (arena->stamp == fork_count()) {
		ties_end(&arena->ties, 0, NULL, NULL);
		overflows_move(&arena->kept, &arena->overflow);
		kept_free(arena, UINT64_MAX);
		arena->front.at = 0;
		chunks_free(arena);
		if (arena->n)
			source_give(&arena->source, arena->chunks[0]->memory);
	}
	for (uint32_t i = 0; i < arena->n; i++)
		free(arena->chunks[i]);
	free(arena->chunks);
	ties_deinit(&arena->ties);
	free(arena);
}

_public_ int varbos_arena_create(struct varbos_arena **ret, struct varbos_source of,
				 const struct varbos_arena_options *options)
{
	static const struct varbos_arena_options defaults;
	struct source source;
	struct arena *arena;
	int r;

	error_enter("varbos_arena_create");
	if (!ret)
		return error_null("ret");
	if (!options)
		options = &defaults;
	r = source_resolve(&source, &of, options->flags & VARBOS_ARENA_SHARED);
	if (r)
		return r;
	r = arena_new(&arena, &source, options);
	if (r)
		return r;
	*ret = &arena->front;
	return 0;
}

_public_ void varbos_arena_destroy(struct varbos_arena *arena)
{
	error_enter("varbos_arena_destroy");
	if (arena)
		arena_free(arena_of(arena));
}
