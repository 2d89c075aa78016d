#include "client/debug.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/fork.h"
#include "client/lock.h"
#include "client/note.h"

enum {
	TABLE_MIN = 256,
	PAST = 0xfa,         /* beyond what was asked */
	FREED = DEBUG_FREED, /* of a freed block */
	KINDS_SAID = 20,
};

struct record {
	struct record *same; /* in its place of the table */
	struct record *next; /* in the queue */
	char *memory;
	size_t size, usable;
	bool freed;
};

struct debug {
	struct debug *next; /* among all of this process */
	uint32_t stamp;     /* fork count: a child has none of the parent's blocks */
	struct lock lock;
	char space[64];
	const char *base;
	struct record **table;
	size_t places, n;
	struct record *first, **last; /* the queue */
	size_t queued;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lock all_lock;
static struct debug *all;

bool debug_wanted(void)
{
	const char *text = getenv("VARBOS_DEBUG");

	return text && *text && strcmp(text, "0");
}

/* ---- what is noted ---- */

static struct record **place_of_address(const struct debug *debug, const void *memory)
{
	uint64_t hash = ((uintptr_t)memory >> 4) * 0x9e3779b97f4a7c15;

	return &debug->table[hash >> 20 & (debug->places - 1)];
}

static struct record **find(const struct debug *debug, const void *memory)
{
	struct record **at = place_of_address(debug, memory);

	while (*at && (*at)->memory != memory)
		at = &(*at)->same;
	return at;
}

static bool grow(struct debug *debug)
{
	struct record **old = debug->table, *record, *same;
	size_t n = debug->places;

	debug->table = calloc(2 * n, sizeof(*old));
	if (!debug->table) {
		debug->table = old;
		return false;
	}
	debug->places = 2 * n;
	for (size_t i = 0; i < n; i++)
		for (record = old[i]; record; record = same) {
			struct record **at = place_of_address(debug, record->memory);

			same = record->same;
			record->same = *at;
			*at = record;
		}
	free(old);
	return true;
}

bool debug_note(struct debug *debug, char *memory, size_t size, size_t usable)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct record *record, **at;

	memset(memory + size, PAST, usable - size);
	record = calloc(1, sizeof(*record));
	if (!record)
		return false;
	record->memory = memory;
	record->size = size;
	record->usable = usable;
	lock_acquire(&debug->lock);
	lock = &debug->lock;
	if (debug->n >= debug->places && !grow(debug)) {
		free(record);
		return false;
	}
	at = place_of_address(debug, memory);
	record->same = *at;
	*at = record;
	debug->n++;
	return true;
}

int debug_size(struct debug *debug, const void *memory, size_t *ret)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct record *record;

	lock_acquire(&debug->lock);
	lock = &debug->lock;
	record = *find(debug, memory);
	if (!record)
		return DEBUG_E_UNKNOWN;
	if (record->freed)
		return DEBUG_E_FREED;
	*ret = record->size;
	return 0;
}

/* ---- what is found ---- */

/* Where the first byte is that is not `pattern`; `end`: none. */
static size_t first_other(const char *memory, size_t begin, size_t end, uint8_t pattern)
{
	while (begin < end && (uint8_t)memory[begin] == pattern)
		begin++;
	return begin;
}

static void say(const struct debug *debug, const struct record *record, const char *what,
		size_t at)
{
	note_print(
		"the block at %p (offset 0x%llx of space %s, class %zu, %zu bytes asked) has "
		"been written %s: byte %zu",
		(void *)record->memory, (unsigned long long)(record->memory - debug->base),
		debug->space, record->usable, record->size, what, at);
}

static void check_end(const struct debug *debug, const struct record *record)
{
	size_t at = first_other(record->memory, record->size, record->usable, PAST);

	if (at < record->usable)
		say(debug, record, "past its end", at);
}

int debug_freed(struct debug *debug, const void *memory)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct record *record;

	lock_acquire(&debug->lock);
	lock = &debug->lock;
	record = *find(debug, memory);
	if (!record)
		return DEBUG_E_UNKNOWN;
	if (record->freed && !mutant(debug_freed_twice))
		return DEBUG_E_FREED;
	check_end(debug, record);
	memset(record->memory, FREED, record->usable);
	record->freed = true;
	record->next = NULL;
	*debug->last = record;
	debug->last = &record->next;
	debug->queued += record->usable;
	return 0;
}

void *debug_leave(struct debug *debug, size_t most)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct record *record;
	void *memory;
	size_t at;

	lock_acquire(&debug->lock);
	lock = &debug->lock;
	record = debug->first;
	if (!record || debug->queued <= most)
		return NULL;
	debug->first = record->next;
	if (!debug->first)
		debug->last = &debug->first;
	debug->queued -= record->usable;
	at = first_other(record->memory, 0, record->usable, FREED);
	if (at < record->usable)
		say(debug, record, "after it was freed", at);
	*find(debug, record->memory) = record->same;
	debug->n--;
	memory = record->memory;
	free(record);
	return memory;
}

/* ---- what is left ---- */

static int compare(const void *a, const void *b)
{
	const struct record *left = *(struct record *const *)a;
	const struct record *right = *(struct record *const *)b;

	if (left->usable != right->usable)
		return left->usable < right->usable ? -1 : 1;
	return left->size == right->size ? 0 : left->size < right->size ? -1 : 1;
}

static void say_left(const struct debug *debug, struct record **left, size_t n)
{
	size_t bytes = 0, kinds = 0, same;

	for (size_t i = 0; i < n; i++)
		bytes += left[i]->size;
	note_print("space %s: %zu blocks of %zu bytes together have not been freed",
		   debug->space, n, bytes);
	qsort(left, n, sizeof(left[0]), compare);
	for (size_t i = 0; i < n; i += same, kinds++) {
		for (same = 1; i + same < n && !compare(&left[i], &left[i + same]); same++)
			;
		if (kinds < KINDS_SAID)
			note_print("space %s:   class %zu: %zu of %zu bytes, one at offset "
				   "0x%llx",
				   debug->space, left[i]->usable, same, left[i]->size,
				   (unsigned long long)(left[i]->memory - debug->base));
	}
	if (kinds > KINDS_SAID)
		note_print("space %s:   and %zu more sizes", debug->space, kinds - KINDS_SAID);
}

/* With the lock held. */
static void report(struct debug *debug)
{
	struct record **left = calloc(debug->n + 1, sizeof(struct record *));
	size_t n = 0;

	for (size_t i = 0; left && i < debug->places; i++)
		for (struct record *record = debug->table[i]; record; record = record->same) {
			if (record->freed)
				continue;
			check_end(debug, record);
			left[n++] = record;
		}
	if (n)
		say_left(debug, left, n);
	free(left);
}

static void at_exit(void)
{
	lock_acquire(&all_lock);
	for (struct debug *debug = all; debug; debug = debug->next) {
		if (debug->stamp != fork_count())
			continue;
		lock_acquire(&debug->lock);
		report(debug);
		lock_release(&debug->lock);
	}
	lock_release(&all_lock);
}

static void watch_exit(void)
{
	atexit(at_exit);
}

struct debug *debug_new(const char *space, const char *base)
{
	struct debug *debug = calloc(1, sizeof(*debug));

	if (!debug)
		return NULL;
	debug->table = calloc(TABLE_MIN, sizeof(struct record *));
	if (!debug->table) {
		free(debug);
		return NULL;
	}
	debug->places = TABLE_MIN;
	debug->last = &debug->first;
	debug->stamp = fork_count();
	debug->base = base;
	snprintf(debug->space, sizeof(debug->space), "%s", space);
	pthread_once(&once, watch_exit);
	lock_acquire(&all_lock);
	debug->next = all;
	all = debug;
	lock_release(&all_lock);
	return debug;
}

void debug_free(struct debug *debug)
{
	struct debug **at;

	if (!debug)
		return;
	while (debug_leave(debug, 0)) /* the space takes the memory */
		;
	report(debug);
	lock_acquire(&all_lock);
	for (at = &all; *at != debug; at = &(*at)->next)
		;
	*at = debug->next;
	lock_release(&all_lock);
	for (size_t i = 0; i < debug->places; i++)
		while (debug->table[i]) {
			struct record *record = debug->table[i];

			debug->table[i] = record->same;
			free(record);
		}
	free(debug->table);
	free(debug);
}
