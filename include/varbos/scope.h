/*
 * Scopes - what was allocated, made or deferred inside one goes at its end, in reverse order.
 *
 *     varbos_scope_begin(&scope, varbos_in_space(images));
 *     frame = varbos_scope_alloc(scope, 1 << 20);
 *     varbos_pool_create(&pool, varbos_in_scope(scope), &options);
 *     ...
 *     varbos_scope_end(scope);
 *
 * Scopes nest: an inner one is begun in varbos_in_scope(outer), and ends with it at the latest.
 * In a space a scope notes each block that it allocates. In an arena it notes none: it is a place
 * to go back to, and its end is varbos_arena_rewind(). There, what is allocated from the arena
 * directly while the scope is open goes with it too, only the innermost open scope allocates, and
 * the arena must not be VARBOS_ARENA_SHARED.
 *
 * A scope is for one thread at a time. For what becomes of it after fork() see arena.h: a child
 * that ends its parent's scope frees nothing and calls nothing.
 */
#ifndef VARBOS_SCOPE_H
#define VARBOS_SCOPE_H

#include <varbos/source.h>

#ifdef __cplusplus
extern "C" {
#endif

int varbos_scope_begin(struct varbos_scope **ret, struct varbos_source source);

/* NULL is fine. */
void varbos_scope_end(struct varbos_scope *scope);

/*
 * Memory until the scope's end, as varbos_alloc() or varbos_arena_alloc() gives it. NULL: as
 * these; and VARBOS_E_INVALID, "scope", if an inner scope is open in the same arena.
 */
void *varbos_scope_alloc(struct varbos_scope *scope, size_t size);

/* `memory`, of the scope's space, is freed at the end. In an arena: VARBOS_E_INVALID, "scope". */
int varbos_scope_keep(struct varbos_scope *scope, void *memory);

/* Call at the end. What is allocated in the scope by then is still there if it was before this. */
int varbos_scope_defer(struct varbos_scope *scope, void (*call)(void *what), void *what);

/*
 * What has this address (a block, or the handle of an arena, a pool or a scope) does not end with
 * the scope: it is the caller's. Looks at the newest first. VARBOS_E_OBJECT, "scope": it is none
 * of the scope's. In an arena nothing can be moved out: VARBOS_E_INVALID, "scope".
 */
int varbos_scope_release(struct varbos_scope *scope, void *what);

#ifdef __cplusplus
}
#endif
#endif
