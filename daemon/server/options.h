/*
 * Options - what varbosd was told on its command line, and with it everywhere else.
 *
 * O1  The layers, later wins: built-in; varbosd.toml and varbosd.toml.d/ of the folder; --config;
 *     the environment; flags.
 * O2  A folder is read in /etc/varbos by root and the user varbos, in ~/.config/varbos by others,
 *     and nowhere by a daemon with a lifeline: whoever started it has told it everything.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config/config.h"
#include "daemon/config/settings.h"
#include "daemon/server/left.h"

enum { SOCKET_PATH_MAX = sizeof(((struct config *)0)->socket.path) };

/* One that names a key. */
struct option_given {
	const struct key *key;
	char *name;
	const char *text; /* in argv */
};

struct options {
	struct config config; /* of all layers together */
	bool socket_is_default;
	int lifeline;                 /* descriptor, or -1 */
	int passed_fd;                /* a listening socket from a service manager; 0: none */
	struct left left;             /* by an earlier daemon; keep_new() takes it */
	const char *file;             /* --config, or NULL */
	char folder[4096];            /* empty: none is read */
	bool folder_is_asked;         /* by --config-dir */
	char socket[SOCKET_PATH_MAX]; /* where the default is, or empty: nowhere */
	struct option_given *given;
	uint32_t n_given;
};

enum {
	OPTIONS_DONE = 1, /* printed what was asked for, exit 0 */
	OPTIONS_E_USAGE,  /* logged what is wrong, exit 2; ret->lifeline is written, if known */
	OPTIONS_E_CHECK,  /* --check-config, --print-config: logged what is wrong, exit 1 */
};

/* `ret` is to be released whatever is returned. */
int options_parse(struct options *ret, int argc, char **argv);
void options_deinit(struct options *options);

/*
 * All layers, read anew: 0, SETTINGS_E_WRONG or -errno, with the remarks for the caller to log.
 * `ret` is to be released whatever is returned. May be called on any thread.
 */
int options_read(const struct options *options, struct settings *ret);
void options_log(const struct settings *settings);
