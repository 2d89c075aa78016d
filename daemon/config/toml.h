/*
 * Toml - a text in TOML as a list of keys and values, each with its place in the text.
 *
 * Y1  Nothing that a text holds makes the reader recurse deeper than DOTS_MAX + 256 or take more
 *     memory than a small multiple of the text.
 *
 * Behind it is toml++, and C++ nowhere else: no exception leaves toml.cpp.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/config/value.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	TOML_E_SYNTAX = 1, /* the fault says what and where */
};

struct toml_place {
	uint32_t line, column; /* from 1 */
};

struct toml_fault {
	struct toml_place place;
	char text[200];
};

/* "section.key", or what stands outside of sections and sections that are empty by their name. */
struct toml_entry {
	const char *name;
	bool is_section; /* an empty one */
	struct value value;
	struct toml_place key_place, place; /* of the key and of its value */
};

typedef void (*toml_each)(void *userdata, const struct toml_entry *entry);

/*
 * Calls `each` for all entries in the order of the text; none if the text as a whole is no TOML.
 * 0, TOML_E_SYNTAX or -errno.
 */
int toml_read(const char *text, size_t size, toml_each each, void *userdata,
	      struct toml_fault *ret);

#ifdef __cplusplus
}
#endif
