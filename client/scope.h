/*
 * Scope - what goes at its end.
 *
 * O1  A scope in a space has ties of its own. One in an arena ties all to the arena, above its
 *     mark, so that going back there, by its end or otherwise, ends everything in order.
 * O2  arena->scope is the innermost scope in an arena, and alone allocates there: what an outer
 *     one got meanwhile would go with the inner.
 */
#pragma once

#include <stdint.h>

#include <varbos/scope.h>

#include "client/arena.h"
#include "client/source.h"
#include "client/ties.h"

struct varbos_scope {
	uint32_t stamp;       /* fork count of all this */
	struct source source; /* of memory; its ties: of what is made in the scope */
	struct ties ties;     /* of a scope in a space */
	struct arena *arena;  /* of one in an arena */
	struct varbos_mark mark;
	struct varbos_scope *outer; /* in that arena */
	struct tie tie;
};

/* Without the checks of the public function. */
int scope_new(struct varbos_scope **ret, const struct source *source);
void scope_free(struct varbos_scope *scope);
