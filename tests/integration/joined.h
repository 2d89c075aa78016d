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

/* It failed so, or is NULL, and says why. */
void expect(int r, enum varbos_code code, const char *which);
void expect_null(const void *memory, enum varbos_code code, const char *which);

/* The space of that name over a connection of its own. */
struct varbos_space *open_other(struct varbos **ret, const char *name, uint32_t flags);
/* All zeros: there is none of that name. */
struct varbos_space_info info_of(const char *name);
