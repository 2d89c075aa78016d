/*
 * Memory of another size than was asked first, or of zeros.
 */
#include <string.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/block.h"
#include "client/error.h"
#include "client/space.h"

/* Does it stay where it is? What would do with half of the place moves to a smaller one. */
static bool fits(size_t size, size_t usable)
{
	return size <= usable && (size > usable / 2 || usable <= 64);
}

static int resize(struct varbos_space *space, void *memory, size_t size, void **ret)
{
	const struct block_wish wish = {.size = size};
	struct varbos_error before;
	size_t usable = 0;
	void *other;
	int r;

	if (memory) {
		r = block_size(space, memory, &usable);
		if (r)
			return r;
		if (fits(size, usable)) {
			*ret = memory;
			return 0;
		}
	}
	before = *varbos_error();
	r = block_alloc(space, &wish, &other);
	if (r && size <= usable) { /* it may as well stay */
		error_restore(&before);
		*ret = memory;
		return 0;
	}
	if (r)
		return r;
	if (memory) {
		memcpy(other, memory, size < usable ? size : usable);
		r = block_free(space, memory);
		if (r) { /* it is whole: the copy goes */
			struct varbos_error why = *varbos_error();

			block_free(space, other);
			return error_restore(&why);
		}
	}
	*ret = other;
	return 0;
}

_public_ void *varbos_realloc(struct varbos_space *space, void *memory, size_t size)
{
	void *now;

	error_enter("varbos_realloc");
	return block_enter(space) || resize(space, memory, size, &now) ? NULL : now;
}

_public_ void *varbos_calloc(struct varbos_space *space, size_t n, size_t size)
{
	struct block_wish wish = {};
	void *memory;

	error_enter("varbos_calloc");
	if (block_enter(space))
		return NULL;
	if (__builtin_mul_overflow(n, size, &wish.size)) {
		error_set_numbers(&(struct varbos_error){.code = VARBOS_E_TOO_LARGE,
							 .requested = UINT64_MAX,
							 .max = PTRDIFF_MAX,
							 .which = "size"},
				  "%zu times %zu bytes are more than there are addresses", n,
				  size);
		return NULL;
	}
	if (block_alloc(space, &wish, &memory))
		return NULL;
	return memset(memory, 0, wish.size);
}
