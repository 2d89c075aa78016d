/*
 * Scopes, and what ends with an arena, on memory without a daemon.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <varbos/arena.h>
#include <varbos/scope.h>

#include "client/arena.h"
#include "client/scope.h"
#include "tests/suite.h"
#include "tests/unit/fake_source.h"

static struct fake_source fake;
static char story[256]; /* what was called, in order */

static void set_up(void)
{
	fake = (struct fake_source){.mutex = PTHREAD_MUTEX_INITIALIZER};
	*story = '\0';
}

static void tear_down(void)
{
	fake_expect_empty(&fake);
}

static void tell(void *what)
{
	strcat(story, what);
}

static struct varbos_scope *scope_in_fake(void)
{
	struct source source = fake_in(&fake);
	struct varbos_scope *scope;

	ck_assert_int_eq(scope_new(&scope, &source), 0);
	return scope;
}

static struct varbos_arena *arena_in_fake(uint32_t flags)
{
	struct source source = fake_in(&fake);
	struct arena *arena;

	ck_assert_int_eq(
		arena_new(&arena, &source,
			  &(struct varbos_arena_options){.initial = 1024, .flags = flags}),
		0);
	return &arena->front;
}

static struct varbos_scope *scope_in(struct varbos_source source)
{
	struct varbos_scope *scope;

	ck_assert_msg(!varbos_scope_begin(&scope, source), "%s", varbos_error()->message);
	return scope;
}

static void *must(void *memory)
{
	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

static void defer(struct varbos_scope *scope, const char *text)
{
	ck_assert_int_eq(varbos_scope_defer(scope, tell, (void *)(uintptr_t)text), 0);
}

static void expect(int r, enum varbos_code code, const char *which)
{
	ck_assert_msg(r == (int)code && varbos_error()->code == code, "%d, %s", r,
		      varbos_error()->message);
	ck_assert_str_eq(varbos_error()->which, which);
}

/* ---- in a space ---- */

START_TEST(what_was_allocated_in_a_scope_goes_at_its_end)
{
	struct varbos_scope *scope = scope_in_fake();

	for (int i = 1; i <= 1000; i++)
		memset(must(varbos_scope_alloc(scope, (size_t)i)), 'x', (size_t)i);
	ck_assert_uint_eq(fake.held, 1000 * 1001 / 2);
	varbos_scope_end(scope);
	fake_expect_empty(&fake);
}
END_TEST

START_TEST(what_ends_with_a_scope_ends_in_reverse_order)
{
	struct varbos_scope *outer = scope_in_fake(), *inner;
	struct varbos_arena *arena;

	defer(outer, "1");
	inner = scope_in(varbos_in_scope(outer));
	defer(inner, "a");
	defer(outer, "2");
	must(varbos_scope_alloc(inner, 100));
	defer(inner, "b");
	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_scope(outer), NULL), 0);
	ck_assert_int_eq(varbos_scope_begin(&inner, varbos_in_arena(arena)), 0);
	defer(inner, "x");
	defer(outer, "3");
	varbos_scope_end(outer);
	ck_assert_str_eq(story, "3x2ba1");
}
END_TEST

START_TEST(an_inner_scope_ends_alone)
{
	struct varbos_scope *outer = scope_in_fake(), *inner = scope_in(varbos_in_scope(outer));
	char *kept = must(varbos_scope_alloc(outer, 100));

	must(varbos_scope_alloc(inner, 200));
	defer(inner, "a");
	varbos_scope_end(inner);
	ck_assert_str_eq(story, "a");
	ck_assert_uint_eq(fake.held, 100);
	memset(kept, 'k', 100);
	varbos_scope_end(outer);
}
END_TEST

static void defer_more(void *scope)
{
	strcat(story, "1");
	defer(scope, "2");
	must(varbos_scope_alloc(scope, 100));
}

START_TEST(what_an_end_adds_to_its_scope_ends_too)
{
	struct varbos_scope *scope = scope_in_fake();

	defer(scope, "3");
	ck_assert_int_eq(varbos_scope_defer(scope, defer_more, scope), 0);
	varbos_scope_end(scope);
	ck_assert_str_eq(story, "123");
}
END_TEST

START_TEST(what_is_moved_out_of_a_scope_stays)
{
	struct varbos_scope *scope = scope_in_fake(), *inner = scope_in(varbos_in_scope(scope));
	struct source source = fake_in(&fake);
	struct varbos_arena *arena;
	char *block, *other;

	must(varbos_scope_alloc(scope, 1000));
	block = must(varbos_scope_alloc(scope, 100));
	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_scope(scope), NULL), 0);
	other = must(varbos_scope_alloc(scope, 50));
	ck_assert_int_eq(varbos_scope_release(scope, block), 0);
	ck_assert_int_eq(varbos_scope_release(scope, arena), 0);
	ck_assert_int_eq(varbos_scope_release(scope, inner), 0);
	expect(varbos_scope_release(scope, block), VARBOS_E_OBJECT, "scope");
	expect(varbos_scope_release(scope, arena), VARBOS_E_OBJECT, "scope");
	expect(varbos_scope_release(scope, other + 1), VARBOS_E_OBJECT, "scope");
	varbos_scope_end(scope);

	memset(block, 'b', 100);
	must(varbos_arena_alloc(arena, 100000));
	must(varbos_scope_alloc(inner, 10));
	varbos_scope_end(inner);
	varbos_arena_destroy(arena);
	source_give(&source, block);
}
END_TEST

START_TEST(what_is_given_to_a_scope_goes_with_it)
{
	struct varbos_scope *scope = scope_in_fake();
	struct source source = fake_in(&fake);
	void *block = NULL;

	ck_assert_int_eq(source_take(&source, 100, &block), 0);
	ck_assert_int_eq(varbos_scope_keep(scope, block), 0);
	varbos_scope_end(scope);
}
END_TEST

START_TEST(a_scope_without_memory_says_so_and_can_be_ended)
{
	struct varbos_scope *scope = scope_in_fake();

	fake.limit = 1000;
	must(varbos_scope_alloc(scope, 900));
	ck_assert_ptr_null(varbos_scope_alloc(scope, 101));
	expect((int)varbos_error()->code, VARBOS_E_BUDGET, "fake");
	varbos_scope_end(scope);
}
END_TEST

START_TEST(what_makes_no_sense_is_refused_by_name)
{
	struct varbos_scope *scope = scope_in_fake(), *none;

	expect(varbos_scope_begin(NULL, varbos_in_scope(scope)), VARBOS_E_INVALID, "ret");
	expect(varbos_scope_begin(&none, varbos_in_scope(NULL)), VARBOS_E_INVALID, "source");
	expect(varbos_scope_begin(&none, (struct varbos_source){0, &fake}), VARBOS_E_INVALID,
	       "source");
	ck_assert_ptr_null(varbos_scope_alloc(NULL, 1));
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "scope");
	expect(varbos_scope_keep(scope, NULL), VARBOS_E_INVALID, "memory");
	expect(varbos_scope_keep(NULL, scope), VARBOS_E_INVALID, "scope");
	expect(varbos_scope_defer(scope, NULL, NULL), VARBOS_E_INVALID, "call");
	expect(varbos_scope_defer(NULL, tell, NULL), VARBOS_E_INVALID, "scope");
	expect(varbos_scope_release(scope, NULL), VARBOS_E_INVALID, "what");
	expect(varbos_scope_release(NULL, scope), VARBOS_E_INVALID, "scope");
	varbos_scope_end(NULL);
	varbos_scope_end(scope);
}
END_TEST

/* ---- in an arena ---- */

START_TEST(a_scope_in_an_arena_notes_no_block_and_goes_back_to_where_it_began)
{
	struct varbos_arena *arena = arena_in_fake(0);
	struct varbos_scope *scope;
	char *before, *first;

	before = memset(must(varbos_arena_alloc(arena, 100)), 'b', 100);
	scope = scope_in(varbos_in_arena(arena));
	first = must(varbos_scope_alloc(scope, 100));
	for (int i = 0; i < 1000; i++)
		must(varbos_scope_alloc(scope, 100));
	ck_assert_uint_eq(scope->ties.room, 0);
	ck_assert_uint_eq(arena_of(arena)->ties.n, 1);
	varbos_scope_end(scope);
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 100)), first);
	ck_assert_int_eq(before[99], 'b');
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(of_scopes_in_one_arena_the_innermost_allocates)
{
	struct varbos_arena *arena = arena_in_fake(0);
	struct varbos_scope *outer = scope_in(varbos_in_arena(arena)),
			    *inner = scope_in(varbos_in_scope(outer));

	ck_assert_ptr_null(varbos_scope_alloc(outer, 1));
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "scope");
	must(varbos_scope_alloc(inner, 1));
	varbos_scope_end(inner);
	must(varbos_scope_alloc(outer, 1));
	inner = scope_in(varbos_in_arena(arena));
	ck_assert_ptr_null(varbos_scope_alloc(outer, 1));
	defer(inner, "i");
	defer(outer, "o");
	varbos_scope_end(outer);
	ck_assert_str_eq(story, "oi");
	ck_assert_ptr_null(arena_of(arena)->scope);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(going_back_ends_what_was_made_since_and_nothing_else)
{
	struct varbos_arena *arena = arena_in_fake(0), *child;
	struct varbos_scope *scope;
	struct varbos_mark mark;

	scope = scope_in(varbos_in_arena(arena));
	defer(scope, "1");
	mark = varbos_arena_mark(arena);
	defer(scope, "2");
	scope = scope_in(varbos_in_scope(scope));
	defer(scope, "3");
	ck_assert_int_eq(varbos_arena_create(&child, varbos_in_arena(arena), NULL), 0);
	must(varbos_arena_alloc(child, 100));
	ck_assert_int_eq(varbos_arena_rewind(arena, mark), 0);
	ck_assert_str_eq(story, "32");
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	ck_assert_str_eq(story, "321");
	ck_assert_ptr_null(arena_of(arena)->scope);
	varbos_arena_destroy(arena);
}
END_TEST

static void reset_and_trim(void *arena)
{
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	ck_assert_uint_gt(varbos_arena_trim(arena), 0);
}

START_TEST(an_end_that_resets_the_arena_it_goes_with_does_no_harm)
{
	struct varbos_arena *arena = arena_in_fake(0);
	struct varbos_scope *scope;

	must(varbos_arena_alloc(arena, 1000));
	scope = scope_in(varbos_in_arena(arena));
	for (int i = 0; i < 10; i++)
		must(varbos_scope_alloc(scope, 1000));
	ck_assert_int_eq(varbos_scope_defer(scope, reset_and_trim, arena), 0);
	varbos_scope_end(scope);
	ck_assert_uint_eq(fake.held, 1024);
	must(varbos_arena_alloc(arena, 1024));
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(an_arena_takes_what_was_made_in_it_along)
{
	struct varbos_arena *arena = arena_in_fake(0);

	defer(scope_in(varbos_in_arena(arena)), "1");
	defer(scope_in(varbos_in_arena(arena)), "2");
	varbos_arena_destroy(arena);
	ck_assert_str_eq(story, "21");
}
END_TEST

START_TEST(memory_of_an_arena_cannot_be_moved_out_of_a_scope)
{
	struct varbos_arena *arena = arena_in_fake(0);
	struct varbos_scope *scope = scope_in(varbos_in_arena(arena));
	void *block = must(varbos_scope_alloc(scope, 1));

	expect(varbos_scope_release(scope, block), VARBOS_E_INVALID, "scope");
	expect(varbos_scope_keep(scope, block), VARBOS_E_INVALID, "scope");
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(what_several_threads_use_and_what_goes_back_do_not_mix)
{
	struct varbos_arena *shared = arena_in_fake(VARBOS_ARENA_SHARED),
			    *local = arena_in_fake(0), *arena;
	struct varbos_scope *scope;

	expect(varbos_scope_begin(&scope, varbos_in_arena(shared)), VARBOS_E_INVALID, "source");
	expect(varbos_arena_create(
		       &arena, varbos_in_arena(local),
		       &(struct varbos_arena_options){.flags = VARBOS_ARENA_SHARED}),
	       VARBOS_E_INVALID, "source");
	ck_assert_int_eq(varbos_arena_create(
				 &arena, varbos_in_arena(shared),
				 &(struct varbos_arena_options){.flags = VARBOS_ARENA_SHARED}),
			 0);
	must(varbos_arena_alloc(arena, 100000));
	varbos_arena_destroy(shared);
	varbos_arena_destroy(local);
}
END_TEST

START_TEST(an_arena_in_an_arena_is_exhausted_with_it_and_both_are_named)
{
	struct source source = fake_in(&fake);
	struct varbos_arena *inner;
	struct arena *outer;

	ck_assert_int_eq(
		arena_new(&outer, &source, &(struct varbos_arena_options){.maximum = 100000}),
		0);
	ck_assert_int_eq(varbos_arena_create(&inner, varbos_in_arena(&outer->front), NULL), 0);
	while (varbos_arena_alloc(inner, 100))
		;
	expect((int)varbos_error()->code, VARBOS_E_EXHAUSTED, "arena");
	ck_assert_uint_eq(varbos_error()->max, 100000);
	arena_free(outer);
}
END_TEST

/* ---- at random, against a naive twin: every thing there is, and in which scope ---- */

enum { THINGS = 4000, STEPS = 3000 };

enum kind { GONE, SCOPE, BLOCK, CALL };

static struct thing {
	enum kind kind;
	int in; /* which thing is its scope; -1: none */
	size_t size;
	void *what; /* the scope or the block */
} things[THINGS];

static int n_things, called[THINGS], n_called, wanted[THINGS], n_wanted;

static void call(void *thing)
{
	called[n_called++] = (int)((struct thing *)thing - things);
}

/* What ends with a thing, newest first. */
static void end_twin(int at)
{
	struct thing *thing = &things[at];

	if (thing->kind == SCOPE)
		for (int i = n_things; i-- > 0;)
			if (things[i].kind != GONE && things[i].in == at)
				end_twin(i);
	if (thing->kind == CALL)
		wanted[n_wanted++] = at;
	thing->kind = GONE;
}

static int pick(enum kind kind)
{
	for (int tries = 0; n_things && tries < 50; tries++) {
		int at = rand() % n_things;

		if (things[at].kind == kind)
			return at;
	}
	return -1;
}

static struct thing *add(enum kind kind, int in)
{
	things[n_things] = (struct thing){.kind = kind, .in = in};
	return &things[n_things++];
}

static void step(void)
{
	int scope = pick(SCOPE), block = pick(BLOCK), dice = rand() % 100;
	struct source source = fake_in(&fake);
	struct thing *thing;

	if (scope < 0) {
		add(SCOPE, -1)->what = scope_in_fake();
	} else if (dice < 20) {
		add(SCOPE, scope)->what = scope_in(varbos_in_scope(things[scope].what));
	} else if (dice < 60) {
		thing = add(BLOCK, scope);
		thing->size = (size_t)rand() % 100 + 1;
		thing->what = must(varbos_scope_alloc(things[scope].what, thing->size));
	} else if (dice < 85) {
		thing = add(CALL, scope);
		ck_assert_int_eq(varbos_scope_defer(things[scope].what, call, thing), 0);
	} else if (dice < 92 && block >= 0) {
		ck_assert_int_eq(
			varbos_scope_release(things[things[block].in].what, things[block].what),
			0);
		source_give(&source, things[block].what);
		things[block].kind = GONE;
	} else if (dice > 97) {
		varbos_scope_end(things[scope].what);
		end_twin(scope);
	}
}

START_TEST(whatever_is_nested_ends_as_in_a_naive_twin)
{
	const char *given = getenv("VARBOS_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	uint64_t held;

	printf("VARBOS_SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < STEPS; i++) {
		step();
		held = 0;
		for (int j = 0; j < n_things; j++)
			held += things[j].kind == BLOCK ? things[j].size : 0;
		ck_assert_uint_eq(fake.held, held);
		ck_assert_int_eq(n_called, n_wanted);
		ck_assert_mem_eq(called, wanted, (size_t)n_called * sizeof(called[0]));
	}
	for (int i = 0; i < n_things; i++)
		if (things[i].kind == SCOPE && things[i].in < 0)
			varbos_scope_end(things[i].what);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scope");
	TCase *t = tcase_create("scope");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_was_allocated_in_a_scope_goes_at_its_end);
	tcase_add_test(t, what_ends_with_a_scope_ends_in_reverse_order);
	tcase_add_test(t, an_inner_scope_ends_alone);
	tcase_add_test(t, what_an_end_adds_to_its_scope_ends_too);
	tcase_add_test(t, what_is_moved_out_of_a_scope_stays);
	tcase_add_test(t, what_is_given_to_a_scope_goes_with_it);
	tcase_add_test(t, a_scope_without_memory_says_so_and_can_be_ended);
	tcase_add_test(t, what_makes_no_sense_is_refused_by_name);
	tcase_add_test(t, a_scope_in_an_arena_notes_no_block_and_goes_back_to_where_it_began);
	tcase_add_test(t, of_scopes_in_one_arena_the_innermost_allocates);
	tcase_add_test(t, going_back_ends_what_was_made_since_and_nothing_else);
	tcase_add_test(t, an_end_that_resets_the_arena_it_goes_with_does_no_harm);
	tcase_add_test(t, an_arena_takes_what_was_made_in_it_along);
	tcase_add_test(t, memory_of_an_arena_cannot_be_moved_out_of_a_scope);
	tcase_add_test(t, what_several_threads_use_and_what_goes_back_do_not_mix);
	tcase_add_test(t, an_arena_in_an_arena_is_exhausted_with_it_and_both_are_named);
	tcase_add_test(t, whatever_is_nested_ends_as_in_a_naive_twin);
	suite_add_tcase(s, t);
	return suite_run(s);
}
