/*
 * Place - where the daemon's socket is, unless someone says.
 */
#pragma once

#include <stddef.h>

#include "client/ctl/answer.h"

/* `said` (or NULL), else $VARBOS_SOCKET, the user's own daemon if there is one, the system's. */
enum answer place_find(char *ret, size_t size, const char *said);
