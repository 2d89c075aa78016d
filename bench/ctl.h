/*
 * Ctl - varbosctl, for what a program cannot ask: $VARBOSCTL, or the one built along with this.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The path of a program beside this one, or false: there is none. */
bool ctl_beside(char *ret, size_t size, const char *name);

/* False: there is none. */
bool ctl_find(char *ret, size_t size);

/* What `caches` tells under this name of the only cache of a daemon. False: it does not. */
bool ctl_cache(const char *socket, const char *field, uint64_t *ret);
/* The same of `status`. */
bool ctl_status(const char *socket, const char *field, uint64_t *ret);
