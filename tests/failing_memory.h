/*
 * Failing memory - malloc(), calloc() and realloc() of a program that is linked with --wrap for them fail
 * when the test says so.
 */
#pragma once

#include <stdbool.h>

/* The test's: is this one to fail? Asked by any thread. */
bool allocation_fails(void);
