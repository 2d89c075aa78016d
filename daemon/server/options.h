/*
 * Options - what varbosd was told on its command line, and with it everywhere else.
 *
 * O1  The layers, later wins: built-in, the environment, flags.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config/config.h"
#include "daemon/config/settings.h"

/* One that names a key. */
struct option_given {
	const struct key *key;
	char *name;
	const char *text; /* in argv */
};

struct options {
	struct config config; /* of all layers together */
	bool socket_is_default;
	int lifeline;  /* descriptor, or -1 */
	int passed_fd; /* a listening socket from a service manager; 0: none */
	struct option_given *given;
	uint32_t n_given;
};

enum {
	OPTIONS_DONE = 1, /* --help or --version: printed, exit 0 */
	OPTIONS_E_USAGE,  /* logged what is wrong, exit 2; ret->lifeline is written, if known */
};

/* `ret` is to be released whatever is returned. */
int options_parse(struct options *ret, int argc, char **argv);
void options_deinit(struct options *options);
