/*
 * Settings - the layers on top of each other: struct config, where each value came from, and all
 * that was wrong.
 *
 * G1  A layer that is read later wins; what is wrong in any of them is remembered, even where a
 *     later layer would have covered it.
 * G2  Reading goes on after something wrong, so that all of it can be said at once.
 */
#pragma once

#include <stdio.h>

#include "base/base.h"
#include "daemon/config/config.h"
#include "daemon/config/key.h"
#include "daemon/config/value.h"

enum origin_kind {
	ORIGIN_BUILT_IN,
	ORIGIN_FILE,
	ORIGIN_ENVIRONMENT,
	ORIGIN_FLAG,
};

struct origin {
	enum origin_kind kind;
	const char *name; /* of the file, the variable or the flag; as long as the settings */
	uint32_t line, column;
};

struct remark {
	bool is_error; /* or a warning */
	char *text;
};

enum { SETTINGS_REMARKS_MAX = 64 };

struct settings {
	struct config config;
	struct origin origins[KEYS_N];
	struct remark remarks[SETTINGS_REMARKS_MAX];
	uint32_t n_remarks, n_errors; /* n_errors counts those beyond the last remark, too */
	char **names;                 /* what origins point at */
	uint32_t n_names;
	int error; /* -errno: the machine failed while this was put together */
};

enum {
	SETTINGS_E_WRONG = 1, /* the remarks say what */
};

/* The built-in layer. */
void settings_init(struct settings *settings);
void settings_deinit(struct settings *settings);

/* The name is copied once and lives as long as the settings; NULL without memory. */
const char *settings_name(struct settings *settings, const char *name);

/* One value; what is wrong with it becomes a remark. */
void settings_set(struct settings *settings, const struct key *key, const struct value *value,
		  const struct origin *origin);

/* "--size: ...", "VARBOS_SIZE: ...", "/etc/varbos/varbosd.toml:3:8: ...". origin may be NULL. */
void settings_remark(struct settings *settings, bool is_error, const struct origin *origin,
		     const char *format, ...) _printf_(4, 5);

/* A text as if it stood in a file of that name. */
void settings_text(struct settings *settings, const char *path, const char *text, size_t size);

/* A file that is missing is an error if it was asked for by its name. */
void settings_file(struct settings *settings, const char *path, bool is_asked);

/*
 * PATH/varbosd.toml, then PATH/varbosd.toml.d/<*.toml>, in the order of their names' bytes. The
 * folder may be missing unless it was asked for by its name.
 */
void settings_folder(struct settings *settings, const char *path, bool is_asked);

/* A flag's value: --NAME TEXT. */
void settings_flag(struct settings *settings, const struct key *key, const char *name,
		   const char *text);

/*
 * VARBOS_* of an environment as execve() takes it. Others than keys are other programs' (the
 * library has some): they are left alone, but warned of if they look like a key misspelt.
 */
void settings_environment(struct settings *settings, char *const *environment);

/*
 * All of it as TOML that means the same when it is read again, each value with a comment that
 * says where it came from.
 */
void settings_print(const struct settings *settings, FILE *out);

/* After the last layer: contradictions. 0, SETTINGS_E_WRONG if there was an error, or -errno. */
int settings_finish(struct settings *settings);

enum { ORIGIN_TEXT_MAX = 256 };
/* "built-in", "--size", "VARBOS_SIZE", "/etc/varbos/varbosd.toml:3:8". Returns ret. */
char *origin_print(char ret[ORIGIN_TEXT_MAX], const struct origin *origin);
