/*
 * Note - what nobody asked for and somebody should see: a line on standard error, unless
 * $VARBOS_QUIET is set.
 */
#pragma once

#include "base/base.h"
#include "client/call.h"

void note_print(const char *format, ...) _printf_(1, 2);

/* What the daemon says unasked: that it refused a one-way free. Counted, and said. */
void note_handle(struct calls *calls, const struct wire_message *message);
