/*
 * Keep's table - what is kept, by name. With the lock.
 */
#pragma once

#include "daemon/server/keep_private.h"

/* NULL: without memory. */
struct keep_entry *keep_entry_new(const char *name, int fd, enum keep_state state);
/* NULL: there is none. One that leaves has its name no more. */
struct keep_entry *keep_find(const struct keep *keep, const char *name);
void keep_insert(struct keep *keep, struct keep_entry *entry);
/* And frees it; who has it forgotten has counted it out (keep->n). */
void keep_forget(struct keep *keep, struct keep_entry *entry);
