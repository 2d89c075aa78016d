/*
 * Joined - a daemon of the test's own, and this process in a space of it.
 */
#pragma once

#include <stdint.h>

#include <varbos/varbos.h>

#include "tests/integration/daemon.h"

extern struct test_daemon daemon_;
extern struct varbos *vb;
extern struct varbos_space *space; /* "s", the daemon's only one, of 32 MiB */

void set_up(void);
void tear_down(void);

/* Bytes of the space that are allocated, by the daemon's books. */
uint64_t used(void);
