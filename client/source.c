#include "client/source.h"

#include <varbos/arena.h>

#include "client/arena.h"
#include "client/error.h"
#include "client/fork.h"
#include "client/scope.h"

/* What a public function gave; the line of a failure starts with the name of the outer one. */
static int taken(void *memory, const char *function, void **ret)
{
	if (!memory)
		return error_within(function);
	error_enter(function);
	*ret = memory;
	return 0;
}

static int space_take(const struct source *source, uint64_t size, void **ret)
{
	const char *function = error_entered();

	return taken(varbos_alloc(source->of, size), function, ret);
}

static void space_give(const struct source *source, void *memory)
{
	const char *function = error_entered();

	varbos_free(source->of, memory);
	error_enter(function);
}

static int arena_take(const struct source *source, uint64_t size, void **ret)
{
	const char *function = error_entered();

	return taken(varbos_arena_alloc(source->of, size), function, ret);
}

static void arena_give(const struct source *source, void *memory)
{
	(void)source;
	(void)memory;
}

static const struct source_ops in_space = {.take = space_take, .give = space_give};
static const struct source_ops in_arena = {.take = arena_take, .give = arena_give};

static int arena_resolve(struct source *ret, struct varbos_arena *front)
{
	struct arena *arena = arena_of(front);

	if (arena->stamp != fork_count())
		return error_parents("the source");
	*ret = (struct source){
		.ops = &in_arena,
		.of = front,
		.ties = &arena->ties,
		.arena = arena,
		.keeps = true,
		.shared = arena->shared,
	};
	return 0;
}

static int scope_resolve(struct source *ret, struct varbos_scope *scope)
{
	if (scope->stamp != fork_count())
		return error_parents("the source");
	*ret = scope->source;
	return 0;
}

int source_resolve(struct source *ret, const struct varbos_source *source, bool shared)
{
	int r = 0;

	if (!source->of)
		return error_null("source");
	switch (source->kind) {
	case VARBOS_IN_SPACE:
		*ret = (struct source){.ops = &in_space, .of = source->of, .shared = true};
		break;
	case VARBOS_IN_ARENA:
		r = arena_resolve(ret, source->of);
		break;
	case VARBOS_IN_SCOPE:
		r = scope_resolve(ret, source->of);
		break;
	default:
		r = error_set(VARBOS_E_INVALID, "source", "there is no source of kind %d",
			      (int)source->kind);
	}
	if (!r && shared && !ret->shared)
		return error_set(VARBOS_E_INVALID, "source",
				 "what several threads use needs memory that several threads "
				 "may take: a space, or an arena with VARBOS_ARENA_SHARED");
	return r;
}
