#include "client/ctl/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/size.h"
#include "base/word.h"

const struct option_info option_infos[OPTIONS_N] = {
#define OPTION(NAME, name, letter, kind, value, text) {name, value, text, VALUE_##kind, letter},
#include "client/ctl/options.def"
#undef OPTION
};

static bool number_parse(const char *text, unsigned base, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, (int)base);
	if (errno || *end || value > max)
		return false;
	*ret = value;
	return true;
}

/* "2", "0.25"; from a millisecond to a day. */
static bool seconds_parse(const char *text, uint64_t *ret_ms)
{
	uint64_t whole = 0, thousandths = 0, unit = 100;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		whole = u64_min(whole * 10 + (uint64_t)(*at - '0'), 1000000);
	if (at == text)
		return false;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9'; at++) {
			thousandths += unit * (uint64_t)(*at - '0');
			unit /= 10;
		}
	}
	whole = whole * 1000 + thousandths;
	if (*at || !whole || whole > 86400000)
		return false;
	*ret_ms = whole;
	return true;
}

static bool age_parse(const char *text, uint64_t *ret_ms)
{
	static const struct {
		char unit;
		uint64_t ms;
	} units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
	uint64_t number = 0, unit = 1000;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		number = u64_min(number * 10 + (uint64_t)(*at - '0'), 10000000000);
	if (at == text)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (*at == units[i].unit)
			unit = units[i].ms;
	at += *at && strchr("smhd", *at);
	if (*at || number >= ((uint64_t)1 << 40) / unit)
		return false;
	*ret_ms = number * unit;
	return true;
}

bool mode_parse(const char *text, uint64_t *ret)
{
	return number_parse(text, 8, 07777, ret);
}

static bool value_parse(enum value_kind kind, const char *text, uint64_t *ret)
{
	switch (kind) {
	case VALUE_CHANGE:
		return size_parse(text + (*text == '+' || *text == '-'), ret);
	case VALUE_COUNT:
		return number_parse(text, 10, UINT32_MAX, ret);
	case VALUE_OCTAL:
		return mode_parse(text, ret);
	case VALUE_SECONDS:
	case VALUE_MAYBE_SECONDS:
		return seconds_parse(text, ret);
	case VALUE_AGE:
		return age_parse(text, ret);
	case VALUE_NONE:
	case VALUE_TEXT:
		break;
	}
	return *text;
}

static const char *kind_name(enum value_kind kind)
{
	switch (kind) {
	case VALUE_CHANGE:
		return "a size (512M, 2G)";
	case VALUE_COUNT:
		return "a number";
	case VALUE_OCTAL:
		return "an octal mode (0660)";
	case VALUE_SECONDS:
	case VALUE_MAYBE_SECONDS:
		return "seconds (2, 0.5)";
	case VALUE_AGE:
		return "a time of 34 years at most (30s, 5m, 12h, 7d)";
	case VALUE_NONE:
	case VALUE_TEXT:
		break;
	}
	return "a word";
}

static enum option option_find(const char *name, size_t length)
{
	unsigned i;

	for (i = 0; i < OPTIONS_N; i++)
		if (strlen(option_infos[i].name) == length &&
		    !memcmp(option_infos[i].name, name, length))
			break;
	return (enum option)i;
}

static const char *option_nearest(const char *name)
{
	size_t least = SIZE_MAX;
	const char *nearest = option_infos[0].name;

	for (size_t i = 0; i < OPTIONS_N; i++) {
		size_t distance = word_distance(name, option_infos[i].name);

		if (distance < least) {
			least = distance;
			nearest = option_infos[i].name;
		}
	}
	return nearest;
}

/* The option that `arg` is and, if it stands in the same argument, its value. */
static enum option option_read(const char *arg, const char **ret_value)
{
	enum option option = OPTIONS_N;
	size_t length;

	*ret_value = NULL;
	if (arg[1] == '-') {
		length = strcspn(arg + 2, "=");
		option = option_find(arg + 2, length);
		if (arg[2 + length] == '=')
			*ret_value = arg + 2 + length + 1;
	} else {
		for (unsigned i = 0; i < OPTIONS_N; i++)
			if (option_infos[i].letter == arg[1])
				option = (enum option)i;
		if (arg[2])
			*ret_value = arg + 2 + (arg[2] == '=');
	}
	return option;
}

static int option_take(struct options *options, enum option option, const char *value,
		       char *complaint, size_t size)
{
	const struct option_info *info = &option_infos[option];

	if (options->given[option]) {
		snprintf(complaint, size, "--%s is given twice", info->name);
		return OPTIONS_E_USAGE;
	}
	if (info->kind == VALUE_NONE && value) {
		snprintf(complaint, size, "--%s takes no value", info->name);
		return OPTIONS_E_USAGE;
	}
	if (info->kind == VALUE_MAYBE_SECONDS && !value)
		value = "1";
	if (info->kind != VALUE_NONE &&
	    !value_parse(info->kind, value, &options->number[option])) {
		snprintf(complaint, size, "--%s: \"%.60s\" is not %s", info->name, value,
			 kind_name(info->kind));
		return OPTIONS_E_USAGE;
	}
	options->given[option] = true;
	options->text[option] = value;
	return 0;
}

int options_parse(struct options *ret, int argc, char **argv, char *complaint, size_t size)
{
	struct options options = {0};
	bool only_words = false;
	const char *value;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		enum option option;
		int r;

		if (only_words || arg[0] != '-' || !arg[1]) {
			if (options.n_words == OPTIONS_WORDS_MAX) {
				snprintf(complaint, size, "too many words, from \"%.60s\" on",
					 arg);
				return OPTIONS_E_USAGE;
			}
			options.words[options.n_words++] = arg;
			continue;
		}
		if (!strcmp(arg, "--")) {
			only_words = true;
			continue;
		}

		option = option_read(arg, &value);
		if (option == OPTIONS_N) {
			snprintf(complaint, size, "no option %.60s; the nearest is --%s", arg,
				 option_nearest(arg + strspn(arg, "-")));
			return OPTIONS_E_USAGE;
		}
		if (!value && option_infos[option].kind != VALUE_NONE &&
		    option_infos[option].kind != VALUE_MAYBE_SECONDS) {
			if (++i == argc) {
				snprintf(complaint, size, "--%s needs %s",
					 option_infos[option].name,
					 kind_name(option_infos[option].kind));
				return OPTIONS_E_USAGE;
			}
			value = argv[i];
		}
		r = option_take(&options, option, value, complaint, size);
		if (r)
			return r;
	}

	*ret = options;
	return 0;
}
