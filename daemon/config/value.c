#include "daemon/config/value.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "daemon/config/key.h"
#include "proto/wire.h"

static void *field(struct config *config, const struct key *key)
{
	return (char *)config + key->offset;
}

static const void *field_const(const struct config *config, const struct key *key)
{
	return (const char *)config + key->offset;
}

static uint64_t number_get(const struct config *config, const struct key *key)
{
	uint64_t wide = 0;
	uint32_t narrow;

	if (key->bytes == sizeof(wide)) {
		memcpy(&wide, field_const(config, key), sizeof(wide));
		return wide;
	}
	assert(key->bytes == sizeof(narrow));
	memcpy(&narrow, field_const(config, key), sizeof(narrow));
	return narrow;
}

static void number_put(struct config *config, const struct key *key, uint64_t number)
{
	uint32_t narrow = (uint32_t)number;

	if (key->bytes == sizeof(number)) {
		memcpy(field(config, key), &number, sizeof(number));
		return;
	}
	assert(key->bytes == sizeof(narrow) && number == narrow);
	memcpy(field(config, key), &narrow, sizeof(narrow));
}

/* ---- what is wrong ---- */

/* As it was written, cut where it gets long. */
static void show(char ret[96], const struct value *value)
{
	switch (value->kind) {
	case VALUE_PLAIN:
	case VALUE_STRING:
		snprintf(ret, 96, "'%.60s'%s", value->text,
			 strlen(value->text) > 60 ? "..." : "");
		break;
	case VALUE_INTEGER:
		snprintf(ret, 96, "%" PRId64, value->integer);
		break;
	case VALUE_BOOLEAN:
		snprintf(ret, 96, "%s", value->boolean ? "true" : "false");
		break;
	case VALUE_LIST:
		snprintf(ret, 96, "an array of %zu numbers", value->n);
		break;
	case VALUE_OTHER:
		snprintf(ret, 96, "%.60s", value->text);
		break;
	}
}

static int wrong(const struct key *key, const struct value *value, char *why)
{
	char shown[96], rule[KEY_RULE_MAX];

	show(shown, value);
	snprintf(why, VALUE_WHY_MAX, "%s given, %s is wanted", shown, key_rule(rule, key));
	return VALUE_E_WRONG;
}

static int wrong_form(const struct value *value, const char *rule, char *why)
{
	char shown[96];

	show(shown, value);
	snprintf(why, VALUE_WHY_MAX, "%s is %s", shown, rule);
	return VALUE_E_WRONG;
}

/* ---- a function for each type ---- */

static bool is_text(const struct value *value)
{
	return value->kind == VALUE_PLAIN || value->kind == VALUE_STRING;
}

/* A string whose end is where C sees it. */
static bool is_whole(const struct value *value)
{
	return strlen(value->text) == value->size;
}

static int take_number(struct config *config, const struct key *key, const struct value *value,
		       uint64_t number, char *why)
{
	if (number < key->min || number > key->max)
		return wrong(key, value, why);
	number_put(config, key, number);
	return 0;
}

static int set_size(struct config *config, const struct key *key, const struct value *value,
		    char *why)
{
	uint64_t size;

	if (is_text(value)) {
		if (!is_whole(value) || !size_parse(value->text, &size))
			return wrong_form(value, "not a size; 512M or 2G is", why);
	} else {
		if (value->kind != VALUE_INTEGER || value->integer < 0)
			return wrong(key, value, why);
		size = (uint64_t)value->integer;
	}
	if (size % key->step || size < key->min || size > key->max)
		return wrong(key, value, why);
	return take_number(config, key, value, size, why);
}

/* Digits alone, of this base. */
static bool digits_parse(const char *text, unsigned base, uint64_t *ret)
{
	uint64_t number = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned char)*text - (unsigned)'0';

		if (digit >= base || __builtin_mul_overflow(number, base, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			return false;
	}
	*ret = number;
	return true;
}

static int set_count(struct config *config, const struct key *key, const struct value *value,
		     char *why)
{
	uint64_t number;

	if (value->kind == VALUE_PLAIN) {
		if (!digits_parse(value->text, 10, &number))
			return wrong(key, value, why);
	} else if (value->kind == VALUE_STRING && is_whole(value) &&
		   digits_parse(value->text, 10, &number)) {
		return wrong_form(value, "a string; a number stands without quotes", why);
	} else if (value->kind == VALUE_INTEGER && value->integer >= 0) {
		number = (uint64_t)value->integer;
	} else {
		return wrong(key, value, why);
	}
	return take_number(config, key, value, number, why);
}

static int set_bool(struct config *config, const struct key *key, const struct value *value,
		    char *why)
{
	bool on = value->boolean;

	if (value->kind == VALUE_PLAIN) {
		on = !strcmp(value->text, "true");
		if (!on && strcmp(value->text, "false"))
			return wrong(key, value, why);
	} else if (value->kind != VALUE_BOOLEAN) {
		return wrong(key, value, why);
	}
	memcpy(field(config, key), &on, sizeof(on));
	return 0;
}

static int set_choice(struct config *config, const struct key *key, const struct value *value,
		      char *why)
{
	char rule[KEY_RULE_MAX] = "none of ";
	size_t used = strlen(rule);

	for (uint32_t i = 0; key->words[i]; i++) {
		if (is_text(value) && is_whole(value) && !strcmp(value->text, key->words[i])) {
			number_put(config, key, i);
			return 0;
		}
		if (used < sizeof(rule))
			used += (size_t)snprintf(rule + used, sizeof(rule) - used, "%s%s",
						 i ? ", " : "", key->words[i]);
	}
	return wrong_form(value, rule, why);
}

static int set_text(struct config *config, const struct key *key, const struct value *value,
		    char *why)
{
	char rule[KEY_RULE_MAX];

	if (!is_text(value))
		return wrong(key, value, why);
	if (value->size < key->min || value->size > key->max) {
		snprintf(why, VALUE_WHY_MAX, "%s is wanted, this one has %zu",
			 key_rule(rule, key), value->size);
		return VALUE_E_WRONG;
	}
	if (!wire_str_is_clean((struct wire_str){value->text, (uint32_t)value->size}))
		return wrong_form(value, "no UTF-8 without control characters", why);
	memcpy(field(config, key), value->text, value->size);
	((char *)field(config, key))[value->size] = '\0';
	return 0;
}

static int set_time(struct config *config, const struct key *key, const struct value *value,
		    char *why)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
	char digits[24];
	uint64_t number;
	size_t n;

	if (!is_text(value) || !is_whole(value))
		return wrong_form(value, "not a time; \"2s\" or \"500ms\" is", why);
	n = strspn(value->text, "0123456789");
	if (n < sizeof(digits)) {
		snprintf(digits, sizeof(digits), "%.*s", (int)n, value->text);
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (!strcmp(value->text + n, units[i].unit) &&
			    digits_parse(digits, 10, &number))
				return __builtin_mul_overflow(number, units[i].ms, &number)
					       ? wrong(key, value, why)
					       : take_number(config, key, value, number, why);
	}
	return wrong_form(value, "not a time; 2s or 500ms is", why);
}

static int set_mode(struct config *config, const struct key *key, const struct value *value,
		    char *why)
{
	uint64_t mode;

	if (is_text(value)) {
		if (!is_whole(value) || !digits_parse(value->text, 8, &mode))
			return wrong(key, value, why);
	} else {
		if (value->kind != VALUE_INTEGER || value->integer < 0)
			return wrong(key, value, why);
		mode = (uint64_t)value->integer;
	}
	return take_number(config, key, value, mode, why);
}

/* "0,2-3"; nothing is the empty set. */
static bool set_parse(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t bits = 0;
	const char *c = text;

	while (*c) {
		uint64_t number[2];
		char digits[4];

		for (int i = 0; i < 2; i++) {
			size_t n = strspn(c, "0123456789");

			if (n >= sizeof(digits))
				return false;
			snprintf(digits, sizeof(digits), "%.*s", (int)n, c);
			if (!digits_parse(digits, 10, &number[i]) || number[i] > max)
				return false;
			c += n;
			number[1] = i ? number[1] : number[0];
			if (i || *c != '-')
				break;
			c++;
		}
		for (uint64_t k = number[0]; k <= number[1]; k++)
			bits |= (uint64_t)1 << k;
		if (number[1] < number[0] || (*c && (*c != ',' || !c[1])))
			return false;
		c += *c == ',';
	}
	*ret = bits;
	return true;
}

static int set_set(struct config *config, const struct key *key, const struct value *value,
		   char *why)
{
	uint64_t bits = 0;

	if (is_text(value)) {
		if (!is_whole(value) || !set_parse(value->text, key->max, &bits))
			return wrong(key, value, why);
	} else if (value->kind == VALUE_LIST) {
		for (size_t i = 0; i < value->n; i++) {
			if (value->list[i] > key->max)
				return wrong(key, value, why);
			bits |= (uint64_t)1 << value->list[i];
		}
	} else {
		return wrong(key, value, why);
	}
	number_put(config, key, bits);
	return 0;
}

int value_set(struct config *config, const struct key *key, const struct value *value,
	      char why[VALUE_WHY_MAX])
{
	static int (*const set[])(struct config *, const struct key *, const struct value *,
				  char *) = {
		[KEY_SIZE] = set_size,     [KEY_COUNT] = set_count, [KEY_BOOL] = set_bool,
		[KEY_CHOICE] = set_choice, [KEY_PATH] = set_text,   [KEY_TEXT] = set_text,
		[KEY_TIME] = set_time,     [KEY_MODE] = set_mode,   [KEY_SET] = set_set,
	};

	return set[key->type](config, key, value, why);
}

/* ---- and back ---- */

/* The largest unit that loses nothing: 268435456 is "256M", 1000 stays. */
static void print_size(char *ret, uint64_t size)
{
	static const char units[] = "KMGTPE";
	unsigned shift = 0;

	while (size && shift < 60 && !(size >> shift & 1023))
		shift += 10;
	if (shift)
		snprintf(ret, VALUE_TEXT_MAX, "\"%" PRIu64 "%c\"", size >> shift,
			 units[shift / 10 - 1]);
	else
		snprintf(ret, VALUE_TEXT_MAX, "%" PRIu64, size);
}

static void print_text(char *ret, const char *text)
{
	size_t used = 0;

	ret[used++] = '"';
	for (; *text && used < VALUE_TEXT_MAX - 3; text++) {
		if (*text == '"' || *text == '\\')
			ret[used++] = '\\';
		ret[used++] = *text;
	}
	assert(!*text);
	ret[used++] = '"';
	ret[used] = '\0';
}

static void print_set(char *ret, uint64_t bits)
{
	size_t used = (size_t)snprintf(ret, VALUE_TEXT_MAX, "[");

	for (unsigned i = 0; i < 64; i++)
		if (bits >> i & 1)
			used += (size_t)snprintf(ret + used, VALUE_TEXT_MAX - used, "%s%u",
						 used > 1 ? ", " : "", i);
	snprintf(ret + used, VALUE_TEXT_MAX - used, "]");
}

char *value_print(char ret[VALUE_TEXT_MAX], const struct key *key, const struct config *config)
{
	bool on;

	switch (key->type) {
	case KEY_SIZE:
		print_size(ret, number_get(config, key));
		break;
	case KEY_COUNT:
		snprintf(ret, VALUE_TEXT_MAX, "%" PRIu64, number_get(config, key));
		break;
	case KEY_BOOL:
		memcpy(&on, field_const(config, key), sizeof(on));
		snprintf(ret, VALUE_TEXT_MAX, "%s", on ? "true" : "false");
		break;
	case KEY_CHOICE:
		print_text(ret, key->words[number_get(config, key)]);
		break;
	case KEY_PATH:
	case KEY_TEXT:
		print_text(ret, field_const(config, key));
		break;
	case KEY_TIME: {
		uint64_t ms = number_get(config, key);

		snprintf(ret, VALUE_TEXT_MAX, "\"%" PRIu64 "%s\"", ms % 1000 ? ms : ms / 1000,
			 ms % 1000 ? "ms" : "s");
		break;
	}
	case KEY_MODE:
		snprintf(ret, VALUE_TEXT_MAX, "\"%04" PRIo64 "\"", number_get(config, key));
		break;
	case KEY_SET:
		print_set(ret, number_get(config, key));
		break;
	}
	return ret;
}

bool value_differs(const struct key *key, const struct config *a, const struct config *b)
{
	if (key->type == KEY_TEXT || key->type == KEY_PATH)
		return strcmp(field_const(a, key), field_const(b, key));
	return memcmp(field_const(a, key), field_const(b, key), key->bytes);
}

void value_copy(const struct key *key, struct config *to, const struct config *from)
{
	memcpy(field(to, key), field_const(from, key), key->bytes);
}
