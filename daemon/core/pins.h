/*
 * Pins - what a session's views keep of a cache's memory from coming back, and its budget bears.
 *
 * PN1  A session is charged, slice by slice, for what no object lives in any more and its views keep, as
 *      of the latest scan that has ended, however many others keep it, too. (What objects live
 *      in is the cache's, and its space pays.)
 * PN2  That counts against the session's own limit in the space, and no other: it is the space's memory
 *      already. A pin is never refused for it; memory is, until enough of it is let go.
 * PN3  It ends with the session, or when it closes the cache: whoever has a cache not open pins
 *      nothing there.
 */
#pragma once

#include "daemon/core/core.h"

struct user;

/* He is gone. */
void pins_forget(struct user *user);
