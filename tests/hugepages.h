/*
 * Hugepages - a few 2 MiB pages of the machine, borrowed for a test and put back.
 *
 * One test program at a time has them; the others wait; and what the pool had to spare is out of its
 * way. They go back however it ends: a process of their own, in a session of its own, sees to that. Without root there are none, and a test
 * that needs them says so; a program of nothing else exits with HUGEPAGES_SKIPPED.
 */
#pragma once

#include <stdbool.h>

enum { HUGEPAGES_SKIPPED = 77 }; /* which meson counts as skipped */

/* From an unchecked fixture: the process that outlives each test. False, and said: skip. */
bool hugepages_borrow(unsigned pages);
void hugepages_return(void);
