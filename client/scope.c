#include "client/scope.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "client/error.h"
#include "client/fork.h"

static void scope_freep(struct varbos_scope **scope)
{
	scope_free(*scope);
}

static void end_tied(struct tie *tie)
{
	scope_free(container_of(tie, struct varbos_scope, tie));
}

static void free_block(void *source, void *block)
{
	source_give(source, block);
}

int scope_new(struct varbos_scope **ret, const struct source *source)
{
	_cleanup_(scope_freep) struct varbos_scope *scope = NULL;
	int r;

	r = fork_watch();
	if (r)
		return error_system(r, "watching forks");
	scope = calloc(1, sizeof(*scope));
	if (!scope)
		return error_system(ENOMEM, "a scope");
	scope->stamp = fork_count();
	scope->source = *source;
	scope->tie = (struct tie){.handle = scope, .end = end_tied};
	if (source->arena) {
		scope->arena = source->arena;
		scope->mark = varbos_arena_mark(&source->arena->front);
		scope->outer = source->arena->scope;
	} else {
		scope->source.ties = &scope->ties;
	}
	if (source->ties && ties_add(source->ties, TIE_CHILD, &scope->tie, NULL))
		return error_system(ENOMEM, "a note of what is made in the source");
	if (scope->arena)
		scope->arena->scope = scope;

	*ret = TAKE_PTR(scope);
	return 0;
}

void scope_free(struct varbos_scope *scope)
{
	struct arena *arena;

	if (!scope)
		return;
	arena = scope->arena;
	tie_cut(&scope->tie);
	/* In a forked child there is nothing but our records. */
	if (scope->stamp == fork_count()) {
		ties_end(&scope->ties, 0, free_block, &scope->source);
		/* Not yet the innermost: it could not be tied. */
		if (arena && arena->scope != scope->outer) {
			varbos_arena_rewind(&arena->front, scope->mark);
			arena->scope = scope->outer;
		}
	}
	ties_deinit(&scope->ties);
	free(scope);
}

_public_ int varbos_scope_begin(struct varbos_scope **ret, struct varbos_source of)
{
	struct source source;
	int r;

	error_enter("varbos_scope_begin");
	if (!ret)
		return error_null("ret");
	r = source_resolve(&source, &of, false);
	if (r)
		return r;
	if (source.arena && source.arena->shared)
		return error_set(VARBOS_E_INVALID, "source",
				 "a scope in an arena goes back to where it began, and that is "
				 "not for an arena that several threads use");
	return scope_new(ret, &source);
}

_public_ void varbos_scope_end(struct varbos_scope *scope)
{
	error_enter("varbos_scope_end");
	scope_free(scope);
}

static int check(const struct varbos_scope *scope)
{
	if (!scope)
		return error_null("scope");
	if (scope->stamp != fork_count())
		return error_parents("the scope");
	return 0;
}

static int error_noted(void)
{
	return error_system(ENOMEM, "a note of what ends with the scope");
}

static int scope_alloc(struct varbos_scope *scope, uint64_t size, void **ret)
{
	void *memory = NULL;
	int r;

	r = check(scope);
	if (r)
		return r;
	if (scope->arena && scope->arena->scope != scope && !mutant(scope_inner_unseen))
		return error_set(VARBOS_E_INVALID, "scope",
				 "a scope that was begun later in the same arena is open, and "
				 "would free this at its end");
	r = source_take(&scope->source, size, &memory);
	if (r)
		return r;
	if (!scope->arena && ties_add(&scope->ties, TIE_BLOCK, memory, NULL)) {
		source_give(&scope->source, memory);
		return error_noted();
	}
	*ret = memory;
	return 0;
}

_public_ void *varbos_scope_alloc(struct varbos_scope *scope, size_t size)
{
	void *memory = NULL;

	error_enter("varbos_scope_alloc");
	return scope_alloc(scope, size, &memory) ? NULL : memory;
}

static int check_in_space(const struct varbos_scope *scope)
{
	int r = check(scope);

	if (r || !scope->arena)
		return r;
	return error_set(VARBOS_E_INVALID, "scope",
			 "the scope is in an arena, whose memory goes all at once");
}

_public_ int varbos_scope_keep(struct varbos_scope *scope, void *memory)
{
	int r;

	error_enter("varbos_scope_keep");
	r = check_in_space(scope);
	if (r)
		return r;
	if (!memory)
		return error_null("memory");
	return ties_add(&scope->ties, TIE_BLOCK, memory, NULL) ? error_noted() : 0;
}

_public_ int varbos_scope_defer(struct varbos_scope *scope, void (*call)(void *what),
				void *what)
{
	int r;

	error_enter("varbos_scope_defer");
	r = check(scope);
	if (r)
		return r;
	if (!call)
		return error_null("call");
	return ties_add(scope->source.ties, TIE_CALL, what, call) ? error_noted() : 0;
}

_public_ int varbos_scope_release(struct varbos_scope *scope, void *what)
{
	int r;

	error_enter("varbos_scope_release");
	r = check_in_space(scope);
	if (r)
		return r;
	if (!what)
		return error_null("what");
	if (!ties_remove(&scope->ties, what))
		return error_set(VARBOS_E_OBJECT, "scope", "%p does not end with this scope",
				 what);
	return 0;
}
