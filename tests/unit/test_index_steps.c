/*
 * The index between two stores: a reader against everything that the daemon does to it, in every
 * order of their accesses that can make a difference.
 *
 * What the daemon stores does not depend on readers. So it is let do its work once, and recorded;
 * then each look-up is run against that record, which is played on by some stores before the reader
 * loads a word: by none, or up to one that changes this word. All such ways are tried. Stores to
 * memory of objects, and scans that free it, are part of the record; a scan stops the record where
 * it finds a pin.
 *
 * As on x86, a reader's own store is seen late: at its fence, or when the daemon's scan begins with
 * a membarrier.
 *
 * What a look-up answers has to be true of a moment between its beginning and its end, and what it
 * was given has to stay until it lets go of it.
 */
#include "tests/suite.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void recorded_store(_Atomic uint64_t *word, uint64_t value);
static uint64_t stepped_load(const _Atomic uint64_t *word);
static void stepped_pin(_Atomic uint64_t *hazard, uint64_t value);
static void stepped_fence(void);

#define index_store(word, value) recorded_store(word, value)
#define index_load(word) stepped_load(word)
#define index_pin(hazard, value) stepped_pin(hazard, value)
#define index_fence() stepped_fence()

#include "proto/index_read.h"
#include "proto/object.h"
#include "tests/unit/index_parts.h"

enum { KEYS = 128, PLACES = 256, EVENTS = 256, CHOICES = 64, SPACE = 5, NOWHERE = 0 };

/* Who looks for something when the daemon dies began so many events before at most. */
enum { BEFORE = 16 };

enum event_kind { STORED, WRITTEN, FREED };

struct event {
	enum event_kind kind;
	_Atomic uint64_t *word;
	uint64_t value, was;
	uint32_t place, key;
};

static struct {
	_Alignas(64) uint8_t files[2][INDEX_HEAD + 64 * sizeof(struct index_bucket)];
	uint32_t objects[PLACES]; /* which key's it is, 0: nobody's */
} world;

static uint32_t numbers[2][64 * INDEX_ENTRIES];
static struct index_layout layouts[2];
static struct index the_index;
static uint64_t hashes[KEYS]; /* key: 1 to n_keys; its number, too */
static uint32_t n_keys;
static uint32_t placed[KEYS]; /* where it is now */
static uint32_t spare[2];     /* that come after a death */

static struct event events[EVENTS];
static unsigned n_events;
static bool recording;
/* After so many events a key is at one of two places. */
static uint32_t old_place[EVENTS + 1][KEYS], new_place[EVENTS + 1][KEYS];

/* ---- the daemon ---- */

static void event_add(struct event event)
{
	if (!recording)
		return;
	ck_assert_uint_lt(n_events, EVENTS);
	events[n_events++] = event;
}

static void recorded_store(_Atomic uint64_t *word, uint64_t value)
{
	event_add((struct event){STORED, .word = word, .value = value, .was = *word});
	*word = value;
}

/* A key that leads to this bucket of the first index, with this tag. */
static uint32_t key_new(uint64_t bucket, uint32_t tag)
{
	static uint64_t state = 1;
	struct index_mix mix;

	do {
		state = state * 6364136223846793005 + 1442695040888963407;
		mix = index_mix(state, 1, layouts[0].buckets);
	} while (mix.bucket != bucket || mix.tag != tag);
	hashes[++n_keys] = state;
	ck_assert_uint_lt(n_keys, KEYS - 1);
	return n_keys;
}

static void file_new(unsigned i, uint64_t buckets, uint64_t overflow, uint64_t seed)
{
	layouts[i] = (struct index_layout){buckets, overflow};
	memset(world.files[i], 0, sizeof(world.files[i]));
	index_format(world.files[i], &(struct index_config){.layout = layouts[i],
							    .generation = i + 1,
							    .seed = seed,
							    .epoch = 1});
}

static void world_new(uint64_t buckets, uint64_t overflow)
{
	recording = false;
	n_events = 0;
	n_keys = 0;
	memset(&world, 0, sizeof(world));
	memset(placed, 0, sizeof(placed));
	file_new(0, buckets, overflow, 1);
	file_new(1, buckets + INDEX_GROUP, overflow, 2);
	index_init(&the_index, index_table(world.files[0], numbers[0]),
		   (struct index_records){hashes, sizeof(hashes[0])});
	for (uint32_t i = 0; i < ARRAY_SIZE(spare); ++i)
		spare[i] = key_new(i * INDEX_GROUP % buckets, 200);
}

static void places_note(bool ended, unsigned from)
{
	for (unsigned i = from; i <= n_events; ++i) {
		memcpy(new_place[i], placed, sizeof(placed));
		if (!ended)
			memcpy(old_place[i], placed, sizeof(placed));
	}
	if (ended)
		memcpy(old_place[n_events], placed, sizeof(placed));
}

/* What has happened since `from` made a difference: until it had all happened, both are true. */
static void changed(unsigned from, uint32_t key, uint32_t place)
{
	for (unsigned i = from + 1; i <= n_events; ++i)
		memcpy(old_place[i], old_place[from], sizeof(placed));
	placed[key] = place;
	places_note(true, from + 1);
}

static void record(void)
{
	recording = true;
	places_note(false, 0);
}

static struct index_at at_of(uint32_t key)
{
	struct index_at at;

	ck_assert(index_find(&the_index, hashes[key], &at));
	return at;
}

static void write_object(uint32_t key, uint32_t place)
{
	unsigned from = n_events;

	ck_assert_uint_eq(world.objects[place], 0);
	world.objects[place] = key;
	event_add((struct event){WRITTEN, .place = place, .key = key});
	changed(from, 0, 0);
}

/* Its memory comes back, once no pin is there. */
static void free_object(uint32_t place)
{
	unsigned from = n_events;

	event_add((struct event){FREED, .place = place, .was = world.objects[place]});
	world.objects[place] = 0;
	changed(from, 0, 0);
}

static void insert(uint32_t key, uint32_t place)
{
	unsigned from;

	write_object(key, place);
	from = n_events;
	ck_assert_int_eq(
		index_insert(&the_index, hashes[key], key, (uint64_t)place << OBJECT_SHIFT, 1),
		0);
	changed(from, key, place);
}

static void replace(uint32_t key, uint32_t place)
{
	struct index_at at = at_of(key);
	unsigned from;

	write_object(key, place);
	from = n_events;
	index_replace(&the_index, &at, key, (uint64_t)place << OBJECT_SHIFT, 1);
	changed(from, key, place);
}

static void take_out(uint32_t key)
{
	struct index_at at = at_of(key);
	unsigned from = n_events;

	index_remove(&the_index, &at);
	changed(from, key, NOWHERE);
}

static void hint(uint32_t key, uint32_t value)
{
	struct index_at at = at_of(key);
	unsigned from = n_events;

	index_hint(&the_index, &at, value);
	changed(from, 0, 0);
}

static void next_begin(void)
{
	unsigned from = n_events;

	index_next_begin(&the_index, index_table(world.files[1], numbers[1]));
	changed(from, 0, 0);
}

static void next_step(uint64_t groups)
{
	unsigned from = n_events;
	uint32_t number;

	ck_assert_int_eq(index_next_step(&the_index, groups, &number), 0);
	changed(from, 0, 0);
}

/* So many keys of a bucket, at places from here on; the first one. */
static uint32_t fill(uint64_t bucket, uint32_t n, uint32_t place)
{
	uint32_t first = n_keys + 1;

	for (uint32_t i = 0; i < n; ++i)
		insert(key_new(bucket, 100 + i), place + i);
	return first;
}

/* ---- a reader ---- */

static struct {
	unsigned value, limit;
} choices[CHOICES];
static unsigned n_choices, chosen;

static _Atomic uint64_t hazard;
static uint64_t hazard_late; /* what was stored, and is not seen yet */
static bool is_late;
static unsigned position; /* so many events have happened */
static bool with_fence, with_membarrier;
static const char *complaint;

static uint32_t tag; /* that it looks for */
static struct index_walk *walking;
static jmp_buf anew;
static const _Atomic uint64_t *last_load;
static uint64_t last_value;
static unsigned
	looks_again; /* 1: its next load is to see whether what it pinned is there; 2: was */

static unsigned choose(unsigned limit)
{
	if (chosen == n_choices) {
		ck_assert_uint_lt(n_choices, CHOICES);
		choices[n_choices].value = 0;
		choices[n_choices++].limit = limit;
	}
	return choices[chosen++].value;
}

static bool next_choices(void)
{
	while (n_choices && choices[n_choices - 1].value == choices[n_choices - 1].limit)
		--n_choices;
	if (!n_choices)
		return false;
	++choices[n_choices - 1].value;
	return true;
}

static void hazard_seen(void)
{
	if (is_late)
		hazard = hazard_late;
	is_late = false;
}

/* One event. False: it waits for a pin to go. */
static bool play(void)
{
	const struct event *event = &events[position];

	switch (event->kind) {
	case STORED:
		*event->word = event->value;
		break;
	case WRITTEN:
		world.objects[event->place] = event->key;
		break;
	case FREED:
		if (with_membarrier)
			hazard_seen();
		if (hazard == ((uint64_t)SPACE << 44 | (uint64_t)event->place << OBJECT_SHIFT))
			return false;
		world.objects[event->place] = 0;
		break;
	}
	++position;
	return true;
}

static void play_until(unsigned end)
{
	while (position < end && play())
		;
}

/* An entry as a reader sees it who looks for another tag is none. */
static uint64_t seen(const _Atomic uint64_t *word, uint64_t value)
{
	bool is_entry = (uintptr_t)word % sizeof(struct index_bucket);

	return is_entry && (uint16_t)value != tag ? 0 : value;
}

static bool matters(const struct event *event, const _Atomic uint64_t *word, uint32_t place)
{
	if (event->kind != STORED)
		return event->place == place;
	return event->word == word && seen(word, event->value) != seen(word, event->was);
}

static void play_back(void)
{
	while (position) {
		const struct event *event = &events[--position];

		if (event->kind == STORED)
			*event->word = event->was;
		else
			world.objects[event->place] = (uint32_t)event->was;
	}
}

/* On to an event that the next access of the reader would see, or not. */
static void play_some(const _Atomic uint64_t *word, uint32_t place)
{
	unsigned n = 0, pick;

	for (unsigned i = position; i < n_events; ++i)
		n += matters(&events[i], word, place);
	if (!n)
		return;
	pick = choose(n);
	for (unsigned i = position; i < n_events && pick; ++i)
		if (matters(&events[i], word, place) && !--pick)
			play_until(i + 1);
}

/*
 * A reader that begins anew does what one does that begins now, and which has to find what is true
 * from now on: that one is tried, too, so this one has come to its end.
 */
static void end_if_anew(const _Atomic uint64_t *word)
{
	const struct index_walk *walk = walking;

	if (!walk || word != &walk->view->head->state)
		return;
	if (looks_again == 2 || (last_load == &walk->view->buckets[walk->mix.bucket].control &&
				 last_value != walk->control))
		longjmp(anew, 1);
}

static uint64_t stepped_load(const _Atomic uint64_t *word)
{
	end_if_anew(word);
	play_some(word, UINT32_MAX);
	looks_again = looks_again == 1 ? 2 : 0;
	last_load = word;
	last_value = *word;
	return last_value;
}

static void stepped_pin(_Atomic uint64_t *word, uint64_t value)
{
	uint32_t place = (uint32_t)((value & (((uint64_t)1 << 44) - 1)) >> OBJECT_SHIFT);

	hazard_seen();
	if (value)
		play_some(NULL, place);
	looks_again = !!value;
	hazard_late = value;
	is_late = true;
}

static void stepped_fence(void)
{
	hazard_seen();
}

/* Where it found the key. */
static uint32_t look_up(const struct index_view *views, uint32_t key)
{
	enum index_answer answer;
	struct index_walk walk;
	uint32_t place;

	for (unsigned i = 0;; ++i) {
		walking = NULL;
		tag = index_view_mix(&views[i], hashes[key]).tag;
		index_walk_begin(&walk, &views[i], hashes[key], &hazard, SPACE);
		walking = &walk;
		while ((answer = index_walk_next(&walk, with_fence)) == INDEX_OFFERED) {
			looks_again = 0;
			place = (uint32_t)(walk.offset >> OBJECT_SHIFT);
			play_some(NULL, place);
			if (!world.objects[place])
				complaint = "it is offered what has been freed";
			if (complaint || world.objects[place] == key)
				return place;
		}
		if (answer == INDEX_MISS)
			return NOWHERE;
		if (i) {
			complaint = "it is sent beyond the next index";
			return NOWHERE;
		}
	}
}

static bool is_true(uint32_t key, uint32_t place, unsigned from, unsigned to)
{
	for (unsigned i = from; i <= to; ++i)
		if (old_place[i][key] == place || new_place[i][key] == place)
			return true;
	return false;
}

static void look_up_once(const struct index_view *views, uint32_t key, unsigned start)
{
	uint32_t place;
	unsigned end;

	play_back();
	hazard = 0;
	is_late = false;
	chosen = 0;
	complaint = NULL;
	last_load = NULL;
	looks_again = 0;
	play_until(start);
	if (setjmp(anew))
		return;
	place = look_up(views, key);
	end = position;
	if (complaint)
		return;
	if (!is_true(key, place, start, end))
		complaint = place == NOWHERE ? "it misses what is there"
					     : "it finds what is not there";
	if (place == NOWHERE)
		hazard_seen();
	play_until(n_events);
	if (place != NOWHERE && world.objects[place] != key)
		complaint = "what it has is taken away from it";
	if (place == NOWHERE && position < n_events)
		complaint = "it keeps a pin on what it has not found";
}

static uint64_t runs;

/* From each place between two events, but for the first ones. */
static void all_ways(const char *story, unsigned first)
{
	struct index_view views[2];

	for (unsigned i = 0; i < 2; ++i)
		ck_assert(index_view_open(
			&views[i], world.files[i],
			index_file_size(layouts[i].buckets, layouts[i].overflow)));
	for (uint32_t key = 1; key <= n_keys; ++key)
		for (unsigned start = first; start <= n_events; ++start) {
			n_choices = 0;
			do {
				look_up_once(views, key, start);
				++runs;
				ck_assert_msg(!complaint, "%s: key %u from %u of %u: %s", story,
					      key, start, n_events, complaint);
			} while (next_choices());
		}
}

/* A daemon that died after so many events, whose ledger is ahead of them by an operation, or not. */
static void recover(const char *story, unsigned died, unsigned ledger)
{
	struct index_table tables[2] = {0};
	uint32_t truth[KEYS];
	bool next = index_state_unpack(((struct index_head *)world.files[0])->state).next;
	uint64_t count;

	memcpy(truth, new_place[ledger], sizeof(truth));
	memcpy(placed, old_place[died], sizeof(placed));
	for (unsigned i = 0; i <= next; ++i) {
		struct index_layout layout;

		ck_assert(index_layout_of(world.files[i], sizeof(world.files[i]), &layout));
		ck_assert_uint_eq(layout.overflow, layouts[i].overflow);
		memset(numbers[i], 0x5a, sizeof(numbers[i]));
		tables[i] = index_table(world.files[i], numbers[i]);
	}
	ck_assert_msg(index_recover(&the_index, tables[0], tables[1],
				    (struct index_records){hashes, sizeof(hashes[0])}),
		      "%s: died after %u: not recovered", story, died);
	for (uint32_t key = 1; key <= n_keys; ++key) {
		uint64_t offset = (uint64_t)truth[key] << OBJECT_SHIFT;

		if (truth[key] != NOWHERE && !index_keep(&the_index, hashes[key], key, offset))
			ck_assert_int_eq(index_insert(&the_index, hashes[key], key, offset, 1),
					 0);
	}
	index_prune(&the_index);
	for (unsigned i = died + 1; i <= n_events; ++i) {
		memcpy(old_place[i], old_place[died], sizeof(truth));
		memcpy(new_place[i], truth, sizeof(truth));
	}
	memcpy(placed, truth, sizeof(placed));
	memcpy(new_place[died], truth, sizeof(truth));
	memcpy(old_place[n_events], truth, sizeof(truth));
	ck_assert_pstr_eq(index_check(&the_index, &count), NULL);
	/* What is in no ledger is freed, and what is free is used again. */
	for (uint32_t place = 1; place < PLACES; ++place) {
		bool found = false;

		for (uint32_t key = 1; key <= n_keys; ++key)
			found |= placed[key] == place;
		if (world.objects[place] && !found)
			free_object(place);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(spare); ++i)
		insert(spare[i], PLACES - 1 - i);
	ck_assert_pstr_eq(index_check(&the_index, &count), NULL);
}

static void deaths(const char *story)
{
	static struct event done[EVENTS];
	static uint32_t old_done[EVENTS + 1][KEYS], new_done[EVENTS + 1][KEYS];
	unsigned n_done = n_events;

	memcpy(done, events, sizeof(done));
	memcpy(old_done, old_place, sizeof(old_done));
	memcpy(new_done, new_place, sizeof(new_done));
	for (unsigned died = 0; died <= n_done; ++died)
		for (unsigned ahead = 0; ahead < 2 && died + ahead <= n_done; ++ahead) {
			play_back();
			memcpy(events, done, sizeof(done));
			memcpy(old_place, old_done, sizeof(old_done));
			memcpy(new_place, new_done, sizeof(new_done));
			hazard = 0;
			is_late = false;
			n_events = died;
			play_until(died);
			recording = true;
			recover(story, died, died + ahead);
			recording = false;
			position = n_events;
			all_ways(story, died < BEFORE ? 0 : died - BEFORE);
		}
}

/* By both barriers; then with the daemon dying. */
static void tried(const char *story)
{
	uint64_t count;

	recording = false;
	position = n_events;
	ck_assert_pstr_eq(index_check(&the_index, &count), NULL);
	with_fence = true;
	with_membarrier = false;
	all_ways(story, 0);
	with_fence = false;
	with_membarrier = true;
	all_ways(story, 0);
	printf("# %s: %" PRIu64 " ways", story, runs);
	deaths(story);
	printf(", %" PRIu64 " with deaths\n", runs);
}

START_TEST(whoever_looks_while_one_goes_or_comes_is_told_the_truth)
{
	uint32_t key, other, absent;

	world_new(4, 2);
	key = key_new(0, 7);
	other = key_new(0, 7);
	absent = key_new(0, 7);
	fill(0, 3, 10);
	insert(key, 1);
	record();
	hint(key, 2);
	take_out(key);
	free_object(1);
	insert(other, 1); /* where it was, in the same slot, with its tag */
	replace(other, 2);
	free_object(1);
	insert(key, 1);
	take_out(other);
	free_object(2);
	(void)absent;
	tried("go and come");
}
END_TEST

START_TEST(what_comes_closer_is_never_missed)
{
	uint32_t first, chained;

	world_new(4, 2);
	first = fill(0, INDEX_ENTRIES, 10);
	chained = fill(0, 2, 30);
	insert(key_new(1, 100), 40);
	record();
	take_out(first + 2);
	free_object(12);
	take_out(first + 3);
	free_object(13);
	insert(first + 2, 12);
	take_out(chained);
	insert(first + 3, 13);
	tried("come closer");
}
END_TEST

/* Bucket 0 has a key behind overflow buckets of which one goes, and is used again elsewhere. */
static void unchain_story(uint32_t before_it)
{
	uint32_t first, last, other;

	world_new(8, 4);
	fill(0, INDEX_ENTRIES, 10);
	fill(1, INDEX_ENTRIES, 20);
	fill(4, INDEX_ENTRIES, 30);
	/* An overflow bucket that stays, perhaps; one of which one entry stays; the last one. */
	fill(1, before_it, 40);
	first = fill(1, INDEX_ENTRIES, 50);
	last = fill(0, 1, 60);
	for (uint32_t i = 1; i < INDEX_ENTRIES; ++i)
		take_out(first + i);
	other = key_new(4, 101);
	(void)last;
	record();
	take_out(first);
	insert(other, 70);
	take_out(other);
	insert(first, 71);
	tried("unchain");
}

START_TEST(the_first_overflow_bucket_goes_unseen)
{
	unchain_story(0);
}
END_TEST

START_TEST(an_overflow_bucket_in_the_middle_goes_unseen)
{
	unchain_story(INDEX_ENTRIES);
}
END_TEST

START_TEST(moving_on_hides_nothing_and_shows_nothing_twice)
{
	uint32_t first, absent, twin;

	world_new(8, 4);
	first = fill(0, INDEX_ENTRIES, 10);
	fill(0, 1, 30);
	fill(5, 2, 40);
	twin = key_new(0, 100);
	absent = key_new(0, 101);
	record();
	next_begin();
	next_step(1);
	take_out(first);
	free_object(10);
	insert(twin, 10);
	replace(first + 1, 50);
	free_object(11);
	next_step(1);
	(void)absent;
	tried("move on");
}
END_TEST

START_TEST(an_index_with_another_seed_is_begun_and_used)
{
	uint32_t first, absent;

	world_new(4, 2);
	first = fill(1, 2, 10);
	absent = key_new(1, 100);
	record();
	insert(absent, 20);
	next_begin();
	take_out(first);
	next_step(1);
	insert(first, 21);
	free_object(10);
	replace(absent, 10);
	tried("another seed");
}
END_TEST

static Suite *steps_suite(void)
{
	Suite *suite = suite_create("index_steps");
	TCase *tcase = tcase_create("index_steps");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, whoever_looks_while_one_goes_or_comes_is_told_the_truth);
	tcase_add_test(tcase, what_comes_closer_is_never_missed);
	tcase_add_test(tcase, the_first_overflow_bucket_goes_unseen);
	tcase_add_test(tcase, an_overflow_bucket_in_the_middle_goes_unseen);
	tcase_add_test(tcase, moving_on_hides_nothing_and_shows_nothing_twice);
	tcase_add_test(tcase, an_index_with_another_seed_is_begun_and_used);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(steps_suite());
}
