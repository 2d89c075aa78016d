/*
 * Note - what the daemon says unasked: that it refused a one-way free.
 */
#pragma once

#include "client/call.h"

/* Counts it, and says so in one line on standard error, unless $VARBOS_QUIET is set. */
void note_handle(struct calls *calls, const struct wire_message *message);
