/*
 * Extents - memory from the daemon, and references to it.
 *
 * X1  What is refused here is refused from the slice map, which the daemon alone writes; what
 *     passes here the daemon checks again. The map may change between, so an answer holds for
 *     the moment at which the slice's word was loaded.
 * X2  A second free of a private extent is refused also before the daemon has processed the
 *     first: each window remembers, slice by slice, the tag that was freed from here last.
 *     (Tags come back after 2^20 allocations in a space; an allocation made here forgets what
 *     its slice remembers.) Who may free a shared one, its word says (shared.h).
 * X3  Offsets in answers are used only when they lie inside a mapped window and the slice map
 *     agrees with them.
 */
#pragma once

#include <stddef.h>

#include <varbos/varbos.h>

#include "proto/layout.h"

struct call;

/* After space_enter(). 0 or a VARBOS_E_ code. (What `options` say of sharing, `kind` does.) */
int extent_alloc(struct varbos_space *space, size_t size, enum extent_kind kind,
		 const struct varbos_alloc_options *options, void **ret);
/* What the program frees; what is shared, by its word (shared.h). */
int extent_free(struct varbos_space *space, const void *memory);
/* One that this process got from extent_alloc(), and nobody uses any more. */
void extent_give(struct varbos_space *space, const void *memory);

/* The same for a caller on node `caller` - 1, where the policy asks; 0: as the caller is. */
int extent_alloc_for(struct varbos_space *space, size_t size, enum extent_kind kind,
		     const struct varbos_alloc_options *options, uint64_t caller, void **ret);

/* The node that the calling thread runs on, + 1; 0: the kernel does not say. */
uint64_t extent_caller(void);

/* The same, asked ahead; nothing is waited for. NULL: not now. */
struct call *extent_ask(struct varbos_space *space, size_t size, enum extent_kind kind,
			const struct varbos_alloc_options *options, uint64_t caller);
/* What was asked so. The call has ended. */
int extent_collect(struct varbos_space *space, struct call *call, size_t size,
		   enum extent_kind kind, void **ret);

/* Of the extent that starts there; 0 on failure. */
size_t extent_size(struct varbos_space *space, const void *memory);
/* The same; what is shared, or private to another process, is refused, too. */
size_t extent_size_private(struct varbos_space *space, const void *memory);
