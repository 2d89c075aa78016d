/*
 * Value - what somebody said a key should be, checked on its way into struct config, and back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct key;

enum value_kind {
	VALUE_PLAIN, /* text of a flag or of the environment, which means what the key's type is */
	VALUE_STRING,
	VALUE_INTEGER,
	VALUE_BOOLEAN,
	VALUE_LIST,  /* of integers that are not negative; of anything else it is VALUE_OTHER */
	VALUE_OTHER, /* what no key takes: floats, dates, tables; text names it */
};

struct value {
	enum value_kind kind;
	const char *text; /* ended by a zero; size bytes before it, which may be zeros, too */
	size_t size;
	int64_t integer;
	bool boolean;
	const uint64_t *list;
	size_t n;
};

enum {
	VALUE_E_WRONG = 1, /* `why` says what is wrong, and what would be right */
};

enum { VALUE_WHY_MAX = 320 };

/* On VALUE_E_WRONG nothing has changed. */
int value_set(struct config *config, const struct key *key, const struct value *value,
	      char why[VALUE_WHY_MAX]);

/* As TOML: "512M" with its quotes, 64, true. Returns ret. */
enum { VALUE_TEXT_MAX = 1024 };
char *value_print(char ret[VALUE_TEXT_MAX], const struct key *key, const struct config *config);

bool value_differs(const struct key *key, const struct config *a, const struct config *b);
void value_copy(const struct key *key, struct config *to, const struct config *from);
