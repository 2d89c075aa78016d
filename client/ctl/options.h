/*
 * Options - what the command line says, checked: words, and options.def's options with values.
 *
 * Options may stand before, between and after the words; "--" ends them. A value follows as the
 * next argument or after "=" (an optional one only after "=").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option {
#define OPTION(NAME, name, letter, kind, value, text) OPTION_##NAME,
#include "client/ctl/options.def"
#undef OPTION
	OPTIONS_N
};

enum value_kind {
	VALUE_NONE,
	VALUE_TEXT,
	VALUE_CHANGE, /* a size; after + or -, by how much something is to grow or shrink */
	VALUE_COUNT,
	VALUE_OCTAL,
	VALUE_SECONDS,       /* kept in milliseconds */
	VALUE_MAYBE_SECONDS, /* 1 s unless said */
	VALUE_AGE,           /* likewise in milliseconds; with a unit, and 0 */
};

struct option_info {
	const char *name, *value, *text;
	enum value_kind kind;
	char letter;
};

extern const struct option_info option_infos[OPTIONS_N];

enum { OPTIONS_WORDS_MAX = 8 };

struct options {
	bool given[OPTIONS_N];
	const char *text[OPTIONS_N];
	uint64_t number[OPTIONS_N];
	const char *words[OPTIONS_WORDS_MAX + 1]; /* NULL after the last */
	size_t n_words;
};

enum {
	OPTIONS_E_USAGE = 1, /* `complaint` says what is wrong */
};

int options_parse(struct options *ret, int argc, char **argv, char *complaint, size_t size);

/* "0640"; at most 07777. */
bool mode_parse(const char *text, uint64_t *ret);
