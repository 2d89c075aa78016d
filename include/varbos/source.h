/*
 * Sources - what an arena, a pool or a scope takes its memory from: a space, an arena or a scope.
 *
 *     varbos_arena_create(&arena, varbos_in_space(images), NULL);
 *     varbos_pool_create(&pool, varbos_in_arena(arena), &options);
 *
 * What is made in an arena or a scope ends with it at the latest: at a scope's end, at an arena's
 * destroy, and at a reset or rewind that goes back to before it was made. Its handle is void then.
 * What is made in a space must be ended before the space is closed.
 */
#ifndef VARBOS_SOURCE_H
#define VARBOS_SOURCE_H

#include <varbos/varbos.h>

#ifdef __cplusplus
extern "C" {
#endif

struct varbos_arena;
struct varbos_pool;
struct varbos_scope;

enum varbos_source_kind {
	VARBOS_IN_SPACE = 1,
	VARBOS_IN_ARENA = 2,
	VARBOS_IN_SCOPE = 3,
};

struct varbos_source {
	enum varbos_source_kind kind;
	void *of;
};

static inline struct varbos_source varbos_in_space(struct varbos_space *space)
{
	struct varbos_source source = {VARBOS_IN_SPACE, space};

	return source;
}

static inline struct varbos_source varbos_in_arena(struct varbos_arena *arena)
{
	struct varbos_source source = {VARBOS_IN_ARENA, arena};

	return source;
}

static inline struct varbos_source varbos_in_scope(struct varbos_scope *scope)
{
	struct varbos_source source = {VARBOS_IN_SCOPE, scope};

	return source;
}

#ifdef __cplusplus
}
#endif
#endif
