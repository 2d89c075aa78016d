#include "daemon/config/key.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "base/word.h"

#define WORDS(words) static const char *const config_##words[] = {
#define WORD(NAME, text) text,
#define WORDS_END(words) \
	NULL             \
	}                \
	;
#include "daemon/config/config.def"

const struct key keys[KEYS_N] = {
#define KEY(section_, key_, type_, declaration, def_, min_, max_, step_, words_, when_, text_) \
	{                                                                                      \
		.name = #section_ "." #key_,                                                   \
		.section = #section_,                                                          \
		.key = #key_,                                                                  \
		.type = KEY_##type_,                                                           \
		.when = KEY_##when_,                                                           \
		.offset = offsetof(struct config, section_.key_),                              \
		.bytes = sizeof(((struct config *)NULL)->section_.key_),                       \
		.standard = (def_),                                                            \
		.min = (min_),                                                                 \
		.max = (max_),                                                                 \
		.step = (step_),                                                               \
		.words = (words_),                                                             \
		.text = (text_),                                                               \
	},
#include "daemon/config/config.def"
};

const struct key_section key_sections[] = {
#define SECTION(section, text) {#section, (text)},
#define SECTION_END(section)
#include "daemon/config/config.def"
};
const size_t key_sections_n = ARRAY_SIZE(key_sections);

const struct key_short key_shorts[] = {
#define SHORT(name, section, key) {#name, KEY_##section##_##key},
#include "daemon/config/config.def"
};
const size_t key_shorts_n = ARRAY_SIZE(key_shorts);

const struct key *key_find(const char *name, bool or_short)
{
	for (size_t i = 0; i < KEYS_N; i++)
		if (!strcmp(name, keys[i].name))
			return &keys[i];
	for (size_t i = 0; or_short && i < key_shorts_n; i++)
		if (!strcmp(name, key_shorts[i].name))
			return &keys[key_shorts[i].key];
	return NULL;
}

/* Its last part alone may be what was meant, in another section or in none. */
static size_t distance(const char *name, const struct key *key)
{
	size_t whole = word_distance(name, key->name);
	const char *dot = strchr(name, '.');
	size_t part = word_distance(dot ? dot + 1 : name, key->key);

	return part < SIZE_MAX && part + 2 < whole ? part + 2 : whole;
}

const char *key_nearest(const char *name, bool or_short)
{
	const char *nearest = keys[0].name;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < KEYS_N; i++) {
		size_t d = distance(name, &keys[i]);

		if (d < least) {
			least = d;
			nearest = keys[i].name;
		}
	}
	for (size_t i = 0; or_short && i < key_shorts_n; i++) {
		size_t d = word_distance(name, key_shorts[i].name);

		if (d <= least) {
			least = d;
			nearest = key_shorts[i].name;
		}
	}
	return nearest;
}

char *key_variable(char ret[KEY_NAME_MAX], const char *name)
{
	int n = snprintf(ret, KEY_NAME_MAX, "VARBOS_%s", name);

	assert(n > 0 && n < KEY_NAME_MAX);
	for (char *c = ret; *c; c++)
		*c = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
	return ret;
}

static void list_words(char *ret, size_t size, const char *const *words)
{
	size_t used = 0;

	for (size_t i = 0; words[i] && used < size; i++)
		used += (size_t)snprintf(ret + used, size - used, "%s%s",
					 !i             ? ""
					 : words[i + 1] ? ", "
							: " or ",
					 words[i]);
}

char *key_rule(char ret[KEY_RULE_MAX], const struct key *key)
{
	char min[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX], step[SIZE_TEXT_MAX];

	size_format(min, sizeof(min), key->min);
	size_format(max, sizeof(max), key->max);
	size_format(step, sizeof(step), key->step);
	switch (key->type) {
	case KEY_SIZE:
		snprintf(ret, KEY_RULE_MAX, "a size from %s to %s%s%s", min, max,
			 key->step > 1 ? ", a multiple of " : "", key->step > 1 ? step : "");
		break;
	case KEY_COUNT:
		snprintf(ret, KEY_RULE_MAX, "a number from %" PRIu64 " to %" PRIu64, key->min,
			 key->max);
		break;
	case KEY_BOOL:
		snprintf(ret, KEY_RULE_MAX, "true or false");
		break;
	case KEY_CHOICE:
		list_words(ret, KEY_RULE_MAX, key->words);
		break;
	case KEY_TEXT:
	case KEY_PATH:
		snprintf(ret, KEY_RULE_MAX, "a %s of %" PRIu64 " to %" PRIu64 " bytes",
			 key->type == KEY_PATH ? "path" : "text", key->min, key->max);
		break;
	case KEY_TIME:
		snprintf(ret, KEY_RULE_MAX, "a time from %" PRIu64 "ms to %" PRIu64 "%s",
			 key->min, key->max % 1000 ? key->max : key->max / 1000,
			 key->max % 1000 ? "ms" : "s");
		break;
	case KEY_MODE:
		snprintf(ret, KEY_RULE_MAX, "permissions from 0 to 0%" PRIo64, key->max);
		break;
	case KEY_SET:
		snprintf(ret, KEY_RULE_MAX, "numbers from 0 to %" PRIu64, key->max);
		break;
	}
	return ret;
}
