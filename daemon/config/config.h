/*
 * Config - the values of all keys of config.def, in one plain struct.
 *
 * F1  Every value is within its key's range, whatever it was made of; what contradicts another
 *     value is refused as a whole (conflict.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/layout.h"

/* enum config_pages { CONFIG_PAGES_AUTO, ... } and so on. */
#define WORDS(words)        \
	enum config_##words \
	{
#define WORD(NAME, text) NAME,
#define WORDS_END(words) \
	}                \
	;
#include "daemon/config/config.def"

/* config.memory.size and so on. */
struct config {
#define SECTION(section, text) struct {
#define SECTION_END(section) \
	}                    \
	section;
#define KEY(section, key, type, declaration, ...) declaration;
#include "daemon/config/config.def"
};
