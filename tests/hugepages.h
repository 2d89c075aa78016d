/*
 * Hugepages - a few 2 MiB pages of the machine, borrowed for a test and put back.
 *
 * One test program at a time has them; the others wait. Without root there are none, and a
 * test that needs them says so and passes.
 */
#pragma once

#include <stdbool.h>

/* From an unchecked fixture: the process that outlives each test. False, and said: skip. */
bool hugepages_borrow(unsigned pages);
void hugepages_return(void);
