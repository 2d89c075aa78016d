/*
 * Storm - a random test of many processes, some of which are killed at any time: where they complain, its
 * seed, its clock.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"

/* What all see; the first complaint stays. */
struct storm {
	_Atomic uint32_t failed;
	char text[512];
};

extern struct storm *storm;
extern uint64_t seed; /* $VARBOS_SEED, or another at each run; printed */

/* Memory of so many bytes that all processes share, for what they count. */
void *storm_begin(size_t size);

/* And ends the process. */
_printf_(1, 2) void complain(const char *format, ...);

uint64_t now_ms(void);

/* And waits for its end; 0 is nobody. */
void child_kill(pid_t *pid);
