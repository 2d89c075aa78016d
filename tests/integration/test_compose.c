/*
 * Arenas, pools and scopes on the memory of a space, as a program meets them.
 */
#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/arena.h>
#include <varbos/pool.h>
#include <varbos/scope.h>

#include "tests/integration/daemon.h"
#include "tests/suite.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static struct test_daemon daemon_;
static struct varbos *vb;
static struct varbos_space *space;

static void set_up(void)
{
	setenv("VARBOS_QUIET", "1", 1);
	test_daemon_start(&daemon_, "64M", NULL);
	ck_assert_int_eq(varbos_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(
		varbos_space_open(&space, vb, "work",
				  &(struct varbos_space_options){.limit = 16 * MIB,
								 .client_limit = 16 * MIB}),
		0);
}

static void tear_down(void)
{
	varbos_disconnect(vb);
	test_daemon_stop(&daemon_);
}

static void expect(int r, enum varbos_code code, const char *which)
{
	ck_assert_msg(r == (int)code && (int)varbos_error()->code == r, "%s: %s",
		      varbos_code_name(r), varbos_error()->message);
	if (which)
		ck_assert_str_eq(varbos_error()->which, which);
}

static void *must(void *memory)
{
	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

static uint64_t used(void)
{
	struct varbos_space_info *infos;
	uint64_t found = 0;
	size_t n;

	varbos_trim(space);
	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, "work"))
			found = infos[i].used;
	free(infos);
	return found;
}

START_TEST(an_arena_uses_the_whole_space_and_gives_all_of_it_back)
{
	struct varbos_arena *arena;
	uint64_t n = 0;

	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_space(space), NULL), 0);
	while (varbos_arena_alloc(arena, 4 * KIB))
		n++;
	ck_assert_uint_ge(n * 4 * KIB, 15 * MIB);
	ck_assert_msg(varbos_error()->code == VARBOS_E_BUDGET ||
			      varbos_error()->code == VARBOS_E_MEMORY,
		      "%s", varbos_error()->message);
	ck_assert_int_eq(
		strncmp(varbos_error()->message, "varbos_arena_alloc: varbos_alloc: ", 34), 0);
	ck_assert_uint_ge(used(), 15 * MIB);
	varbos_arena_destroy(arena);
	ck_assert_uint_le(used(), MIB);
}
END_TEST

START_TEST(what_lies_in_an_arena_can_be_lent_by_reference)
{
	struct varbos_space *others;
	struct varbos_arena *arena;
	struct varbos *other;
	char *text, *seen;

	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_space(space), NULL), 0);
	must(varbos_arena_alloc(arena, 100));
	text = strcpy(must(varbos_arena_alloc(arena, 100)), "lent");
	ck_assert_int_eq(varbos_connect(&other, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&others, other, "work", NULL), 0);
	seen = varbos_ref_get(others, varbos_ref_of(space, text));
	ck_assert_str_eq(must(seen), "lent");
	varbos_disconnect(other);
	varbos_arena_destroy(arena);
}
END_TEST

static _Atomic int alive;

static int construct(void *object, void *context)
{
	(void)context;
	memset(object, 'x', 1000);
	alive++;
	return 0;
}

static void destruct(void *object, void *context)
{
	(void)context;
	ck_assert_int_eq(((char *)object)[999], 'x');
	alive--;
}

static const struct varbos_pool_options of_1000 = {
	.size = 1000, .min = 10, .construct = construct, .destruct = destruct};

START_TEST(a_scope_ends_all_that_is_in_it_however_deep)
{
	struct varbos_pool_options local = of_1000;
	struct varbos_scope *scope, *inner;
	struct varbos_arena *arena;
	struct varbos_pool *pool;
	uint64_t before = used();

	local.kind = VARBOS_POOL_LOCAL;
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(varbos_scope_begin(&scope, varbos_in_space(space)), 0);
		must(varbos_scope_alloc(scope, 3 * MIB));
		ck_assert_int_eq(varbos_scope_keep(scope, must(varbos_alloc(space, 100))), 0);
		ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_scope(scope), NULL), 0);
		must(varbos_arena_alloc(arena, 3 * MIB));
		ck_assert_int_eq(varbos_pool_create(&pool, varbos_in_arena(arena), &local), 0);
		for (int i = 0; i < 100; i++)
			must(varbos_pool_get(pool));
		ck_assert_int_eq(varbos_scope_begin(&inner, varbos_in_arena(arena)), 0);
		must(varbos_scope_alloc(inner, MIB));
		ck_assert_int_eq(varbos_scope_begin(&inner, varbos_in_scope(scope)), 0);
		ck_assert_int_eq(varbos_pool_create(&pool, varbos_in_scope(inner), &of_1000),
				 0);
		must(varbos_pool_get(pool));
		ck_assert_int_ge(alive, 110);
		varbos_scope_end(scope);
		ck_assert_int_eq(alive, 0);
	}
	ck_assert_uint_eq(used(), before);
}
END_TEST

START_TEST(a_block_that_is_moved_out_of_a_scope_is_freed_like_any)
{
	struct varbos_scope *scope;
	char *block;

	ck_assert_int_eq(varbos_scope_begin(&scope, varbos_in_space(space)), 0);
	block = must(varbos_scope_alloc(scope, 5000));
	ck_assert_int_eq(varbos_scope_release(scope, block), 0);
	varbos_scope_end(scope);
	memset(block, 'b', 5000);
	ck_assert_int_eq(varbos_free(space, block), 0);
	expect(varbos_free(space, block), VARBOS_E_REFERENCE, "freed");
}
END_TEST

START_TEST(a_space_that_can_only_be_read_is_no_source)
{
	struct varbos_space *reader;
	struct varbos_arena *arena;
	struct varbos_scope *scope;
	struct varbos_pool *pool;
	struct varbos *other;

	ck_assert_int_eq(varbos_connect(&other, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&reader, other, "work",
					   &(struct varbos_space_options){
						   .flags = VARBOS_SPACE_READ_ONLY}),
			 0);
	expect(varbos_arena_create(&arena, varbos_in_space(reader), NULL), VARBOS_E_PERMISSION,
	       NULL);
	ck_assert_int_eq(strncmp(varbos_error()->message, "varbos_arena_create: ", 21), 0);
	expect(varbos_pool_create(&pool, varbos_in_space(reader), &of_1000),
	       VARBOS_E_PERMISSION, NULL);
	ck_assert_int_eq(varbos_scope_begin(&scope, varbos_in_space(reader)), 0);
	ck_assert_ptr_null(varbos_scope_alloc(scope, 1));
	expect((int)varbos_error()->code, VARBOS_E_PERMISSION, NULL);
	varbos_scope_end(scope);
	varbos_disconnect(other);
}
END_TEST

static bool in_child;

static void not_in_the_child(void *what)
{
	(void)what;
	if (in_child)
		abort();
}

/* In the child of who made them. */
static void use_the_parents(struct varbos_arena *arena, struct varbos_pool *pool,
			    struct varbos_scope *scope, void *object)
{
	struct varbos_scope *inner;

	ck_assert_ptr_null(varbos_arena_more(arena, 16, 1));
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "process");
	expect(varbos_arena_reset_all(arena), VARBOS_E_INVALID, "process");
	ck_assert_ptr_null(varbos_pool_get(pool));
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "process");
	expect(varbos_pool_put(pool, object), VARBOS_E_INVALID, "process");
	expect(varbos_pool_tidy(pool, NULL), VARBOS_E_INVALID, "process");
	ck_assert_ptr_null(varbos_scope_alloc(scope, 1));
	expect((int)varbos_error()->code, VARBOS_E_INVALID, "process");
	expect(varbos_scope_begin(&inner, varbos_in_scope(scope)), VARBOS_E_INVALID, "process");
	expect(varbos_scope_begin(&inner, varbos_in_arena(arena)), VARBOS_E_INVALID, "process");
	varbos_pool_destroy(pool);
	varbos_arena_destroy(arena);
	varbos_scope_end(scope);

	/* But it can have its own. */
	ck_assert_int_eq(varbos_scope_begin(&scope, varbos_in_space(space)), 0);
	memset(must(varbos_scope_alloc(scope, 100)), 'c', 100);
	varbos_scope_end(scope);
}

START_TEST(a_forked_child_is_refused_what_its_parent_made_and_ends_it_without_harm)
{
	struct varbos_scope *scope;
	struct varbos_arena *arena;
	struct varbos_pool *pool;
	int status;
	void *object;
	pid_t child;

	ck_assert_int_eq(varbos_scope_begin(&scope, varbos_in_space(space)), 0);
	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_scope(scope), NULL), 0);
	ck_assert_int_eq(varbos_pool_create(&pool, varbos_in_scope(scope), &of_1000), 0);
	object = must(varbos_pool_get(pool));
	must(varbos_scope_alloc(scope, 100));
	ck_assert_int_eq(varbos_scope_defer(scope, not_in_the_child, NULL), 0);
	child = fork();
	if (!child) {
		in_child = true;
		use_the_parents(arena, pool, scope, object);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status 0x%x", status);

	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	must(varbos_arena_alloc(arena, 100));
	varbos_arena_destroy(arena);
	varbos_pool_destroy(pool);
	ck_assert_int_eq(alive, 0);
	varbos_scope_end(scope);
}
END_TEST

enum { THREADS = 4, ROUNDS = 20000 };

static void *work(void *shared)
{
	struct varbos_pool *pool = shared;

	for (int i = 0; i < ROUNDS; i++) {
		char *object = varbos_pool_get(pool);

		if (!object || object[500] != 'x' || varbos_pool_put(pool, object))
			abort();
	}
	return NULL;
}

START_TEST(pools_of_all_kinds_serve_threads_on_the_memory_of_a_space)
{
	for (int kind = VARBOS_POOL_LOCKED; kind <= VARBOS_POOL_STEALING; kind++) {
		struct varbos_pool_options options = of_1000;
		struct varbos_pool_stats stats;
		pthread_t threads[THREADS];
		struct varbos_pool *pool;

		if (kind == VARBOS_POOL_LOCAL)
			continue;
		options.kind = (enum varbos_pool_kind)kind;
		options.max = THREADS;
		options.min = 1;
		ck_assert_int_eq(varbos_pool_create(&pool, varbos_in_space(space), &options),
				 0);
		for (int i = 0; i < THREADS; i++)
			ck_assert(!pthread_create(&threads[i], NULL, work, pool));
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		ck_assert_int_eq(varbos_pool_stats(pool, &stats), 0);
		ck_assert_uint_eq(stats.hits + stats.misses, THREADS * ROUNDS);
		varbos_pool_destroy(pool);
	}
	ck_assert_int_eq(alive, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("compose");
	TCase *t = tcase_create("compose");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_arena_uses_the_whole_space_and_gives_all_of_it_back);
	tcase_add_test(t, what_lies_in_an_arena_can_be_lent_by_reference);
	tcase_add_test(t, a_scope_ends_all_that_is_in_it_however_deep);
	tcase_add_test(t, a_block_that_is_moved_out_of_a_scope_is_freed_like_any);
	tcase_add_test(t, a_space_that_can_only_be_read_is_no_source);
	tcase_add_test(t,
		       a_forked_child_is_refused_what_its_parent_made_and_ends_it_without_harm);
	tcase_add_test(t, pools_of_all_kinds_serve_threads_on_the_memory_of_a_space);
	suite_add_tcase(s, t);
	return suite_run(s);
}
