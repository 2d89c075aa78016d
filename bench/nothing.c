/*
 * nothing - an allocator that does nothing: in the program (`empty`), and in a library (`calls`).
 */
#include <stddef.h>

#include "base/base.h"

void *empty_allocate(size_t size);
void empty_release(void *memory);

static _Thread_local _Alignas(64) char block[4096]
	__attribute__((tls_model("initial-exec"), used));

_public_ __attribute__((noinline)) void *empty_allocate(size_t size)
{
	__asm__ volatile("" : : "r"(size));
	return block;
}

_public_ __attribute__((noinline)) void empty_release(void *memory)
{
	__asm__ volatile("" : : "r"(memory));
}
