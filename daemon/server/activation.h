/*
 * Activation - the listening socket that a service manager bound for us, among what it passed.
 *
 * E1  What was passed is served, or refused by name: never ignored, for clients wait there.
 */
#pragma once

#include "daemon/server/options.h"

/*
 * options->left is what was passed of known names (kept.h). With a socket besides, options->passed_fd
 * and options->socket, which it decides unless they were told the same. -errno after having said why.
 */
int activation_take(struct options *options);
