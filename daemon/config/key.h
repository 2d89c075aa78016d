/*
 * Key - what is known of each thing varbosd can be told: config.def as data.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "daemon/config/config.h"

enum key_type {
	KEY_SIZE,
	KEY_COUNT,
	KEY_BOOL,
	KEY_CHOICE,
	KEY_TEXT,
	KEY_PATH,
	KEY_TIME,
	KEY_MODE,
	KEY_SET,
};

enum key_when {
	KEY_START, /* read when the daemon starts */
	KEY_LIVE,  /* changes on a reload, too */
};

enum key_id {
#define KEY(section, key, ...) KEY_##section##_##key,
#include "daemon/config/config.def"
	KEYS_N,
};

struct key {
	const char *name;          /* "memory.size" */
	const char *section, *key; /* "memory", "size" */
	enum key_type type;
	enum key_when when;
	size_t offset, bytes; /* of its field in struct config */
	const char *standard; /* its default, as a flag's value */
	uint64_t min, max, step;
	const char *const *words; /* of a CHOICE, ended by NULL */
	const char *text;
};

struct key_section {
	const char *name, *text;
};

struct key_short {
	const char *name; /* "size" */
	enum key_id key;
};

extern const struct key keys[KEYS_N];
extern const struct key_section key_sections[];
extern const size_t key_sections_n;
extern const struct key_short key_shorts[];
extern const size_t key_shorts_n;

/* "memory.size", or, with `or_short`, "size", too. NULL: there is none. */
const struct key *key_find(const char *name, bool or_short);
/* The name most like this one, short names included if `or_short`. Never NULL. */
const char *key_nearest(const char *name, bool or_short);

enum { KEY_NAME_MAX = 64 };
/* "VARBOS_MEMORY_SIZE" of "memory.size". Returns ret. */
char *key_variable(char ret[KEY_NAME_MAX], const char *name);

enum { KEY_RULE_MAX = 160 };
/* "a size from 2 MiB to 1 PiB, a multiple of 2 MiB": what a value of it looks like. */
char *key_rule(char ret[KEY_RULE_MAX], const struct key *key);
