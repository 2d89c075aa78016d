/*
 * Poison - what a program that debugs reads where it has no business any more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { POISON = 0xdb };

/* Is $VARBOS_DEBUG set to 1? As it was when first asked. */
bool poison_is_on(void);
void poison(void *memory, size_t size);
