/*
 * Copies of any size, the way that suits the size and this machine: through the caches where
 * what was copied has room there, past them where it has not, and by several threads where that
 * is seen to pay.
 *
 *     varbos_copy(frame, picture, size);
 *
 * These need no connection, and may be called by any thread, also in a forked child. What is
 * copied may be shown to others by a release store, as after memcpy(). What overlaps is copied
 * wrongly. NULL is fine where `size` is 0.
 *
 * From 32 MiB on a call may start up to three threads, on processors that the calling thread
 * may run on. They are gone when it returns. All signals are blocked in them but those that a fault
 * of their own raises: memory that goes away meanwhile may be found missing by one of them.
 */
#ifndef VARBOS_COPY_H
#define VARBOS_COPY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void varbos_copy(void *to, const void *from, size_t size);

/* Zeros instead. */
void varbos_zero(void *to, size_t size);

/*
 * Where a program is compiled with optimization, few bytes are copied on the spot, and more by libc
 * up to where the library knows better. Both functions are there all the same, to be called
 * without this (with VARBOS_NO_INLINE defined) or from elsewhere.
 */
#if defined(__GNUC__) && defined(__ELF__) && defined(__OPTIMIZE__) && !defined(VARBOS_NO_INLINE)

enum { VARBOS_COPY_FEW = 2048 };

void library_varbos_copy(void *to, const void *from, size_t size) __asm__("varbos_copy");
void library_varbos_zero(void *to, size_t size) __asm__("varbos_zero");

/* 16 to 64 bytes from both ends on; and not 0 of libc, which wants pointers even then. */
extern __inline__ __attribute__((gnu_inline, always_inline)) void
varbos_copy(void *to, const void *from, size_t size)
{
	char *target = (char *)to;
	const char *source = (const char *)from;

	if (!__builtin_constant_p(size) && size - 16 <= 48) {
		if (size > 32) {
			__builtin_memcpy(target + 16, source + 16, 16);
			__builtin_memcpy(target + size - 32, source + size - 32, 16);
		}
		__builtin_memcpy(target, source, 16);
		__builtin_memcpy(target + size - 16, source + size - 16, 16);
	} else if (size - 1 < VARBOS_COPY_FEW - 1) {
		__builtin_memcpy(to, from, size);
	} else {
		library_varbos_copy(to, from, size);
	}
}

extern __inline__ __attribute__((gnu_inline, always_inline)) void varbos_zero(void *to,
									      size_t size)
{
	char *target = (char *)to;

	if (!__builtin_constant_p(size) && size - 16 <= 48) {
		if (size > 32) {
			__builtin_memset(target + 16, 0, 16);
			__builtin_memset(target + size - 32, 0, 16);
		}
		__builtin_memset(target, 0, 16);
		__builtin_memset(target + size - 16, 0, 16);
	} else if (size - 1 < VARBOS_COPY_FEW - 1) {
		__builtin_memset(to, 0, size);
	} else {
		library_varbos_zero(to, size);
	}
}

#endif

#ifdef __cplusplus
}
#endif
#endif
