/*
 * Index parts - all of the daemon's index, compiled into a test that sees each of its stores: what
 * index_store() is there is said before this is included.
 */
#pragma once

#ifndef index_store
#error "who does not look between stores links the library"
#endif

#include "daemon/core/cache/index.c"
#include "daemon/core/cache/index_check.c"
#include "daemon/core/cache/index_move.c"
#include "daemon/core/cache/index_recover.c"
#include "daemon/core/cache/index_table.c"
