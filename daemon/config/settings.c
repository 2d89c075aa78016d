#include "daemon/config/settings.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/word.h"

static const char prefix[] = "VARBOS_";

void settings_init(struct settings *settings)
{
	char why[VALUE_WHY_MAX];

	*settings = (struct settings){};
	for (size_t i = 0; i < KEYS_N; i++) {
		struct value value = {.text = keys[i].standard,
				      .size = strlen(keys[i].standard)};

		/* An empty default of a text stands for what the daemon finds out itself. */
		if (!value.size && (keys[i].type == KEY_TEXT || keys[i].type == KEY_PATH))
			continue;
		if (value_set(&settings->config, &keys[i], &value, why))
			abort(); /* config.def contradicts itself; a test looks at each */
	}
}

void settings_deinit(struct settings *settings)
{
	for (uint32_t i = 0; i < settings->n_remarks; i++)
		free(settings->remarks[i].text);
	for (uint32_t i = 0; i < settings->n_names; i++)
		free(settings->names[i]);
	free(settings->names);
	*settings = (struct settings){};
}

const char *settings_name(struct settings *settings, const char *name)
{
	char *copy, **names;

	for (uint32_t i = 0; i < settings->n_names; i++)
		if (!strcmp(settings->names[i], name))
			return settings->names[i];
	copy = strdup(name);
	names = copy ? reallocarray(settings->names, settings->n_names + 1, sizeof(*names))
		     : NULL;
	if (!names) {
		free(copy);
		settings->error = -ENOMEM;
		return NULL;
	}
	names[settings->n_names++] = copy;
	settings->names = names;
	return copy;
}

char *origin_print(char ret[ORIGIN_TEXT_MAX], const struct origin *origin)
{
	if (origin->kind == ORIGIN_BUILT_IN)
		snprintf(ret, ORIGIN_TEXT_MAX, "built-in");
	else if (origin->kind == ORIGIN_FILE && origin->line)
		snprintf(ret, ORIGIN_TEXT_MAX, "%.200s:%u:%u", origin->name, origin->line,
			 origin->column);
	else
		snprintf(ret, ORIGIN_TEXT_MAX, "%.200s", origin->name);
	return ret;
}

void settings_remark(struct settings *settings, bool is_error, const struct origin *origin,
		     const char *format, ...)
{
	char where[ORIGIN_TEXT_MAX], what[512];
	struct remark remark = {.is_error = is_error};
	va_list args;

	settings->n_errors += is_error;
	if (settings->n_remarks == SETTINGS_REMARKS_MAX)
		return;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (asprintf(&remark.text, "%s%s%s", origin ? origin_print(where, origin) : "",
		     origin ? ": " : "", what) < 0) {
		settings->error = -ENOMEM;
		return;
	}
	settings->remarks[settings->n_remarks++] = remark;
}

void settings_set(struct settings *settings, const struct key *key, const struct value *value,
		  const struct origin *origin)
{
	char why[VALUE_WHY_MAX];

	if (!value_set(&settings->config, key, value, why))
		settings->origins[key - keys] = *origin;
	else if (origin->kind == ORIGIN_FILE)
		settings_remark(settings, true, origin, "%s: %s", key->name, why);
	else
		settings_remark(settings, true, origin, "%s", why);
}

static void set_plain(struct settings *settings, const struct key *key, const char *text,
		      enum origin_kind kind, const char *name)
{
	struct value value = {.kind = VALUE_PLAIN, .text = text, .size = strlen(text)};
	struct origin origin = {.kind = kind, .name = settings_name(settings, name)};

	if (origin.name)
		settings_set(settings, key, &value, &origin);
}

void settings_flag(struct settings *settings, const struct key *key, const char *name,
		   const char *text)
{
	char flag[KEY_NAME_MAX + 2];

	snprintf(flag, sizeof(flag), "--%s", name);
	set_plain(settings, key, text, ORIGIN_FLAG, flag);
}

/* ---- the environment ---- */

static const char *lookup(char *const *environment, const char *variable)
{
	size_t n = strlen(variable);

	for (; *environment; environment++)
		if (!strncmp(*environment, variable, n) && (*environment)[n] == '=')
			return *environment + n + 1;
	return NULL;
}

static void take_variable(struct settings *settings, char *const *environment, const char *name,
			  const struct key *key)
{
	char variable[KEY_NAME_MAX];
	const char *text = lookup(environment, key_variable(variable, name));

	/* Empty is as good as not set, as everywhere in Varbos. */
	if (text && *text)
		set_plain(settings, key, text, ORIGIN_ENVIRONMENT, variable);
}

static bool is_known(const char *variable)
{
	char known[KEY_NAME_MAX];

	for (size_t i = 0; i < KEYS_N; i++)
		if (!strcmp(variable, key_variable(known, keys[i].name)))
			return true;
	for (size_t i = 0; i < key_shorts_n; i++)
		if (!strcmp(variable, key_variable(known, key_shorts[i].name)))
			return true;
	return false;
}

/* The variable that this one is a slip of the finger away from, if it is. */
static bool is_misspelt(const char *variable, char nearest[KEY_NAME_MAX])
{
	size_t least = SIZE_MAX, length = strlen(variable) - (sizeof(prefix) - 1);
	char known[KEY_NAME_MAX];
	bool in_section = false;

	for (size_t i = 0; i < KEYS_N + key_shorts_n; i++) {
		const char *name = i < KEYS_N ? keys[i].name : key_shorts[i - KEYS_N].name;
		size_t d = word_distance(variable, key_variable(known, name));

		if (d < least) {
			least = d;
			memcpy(nearest, known, KEY_NAME_MAX);
		}
	}
	for (size_t i = 0; i < key_sections_n; i++) {
		size_t n = strlen(key_variable(known, key_sections[i].name));

		in_section |= !strncmp(variable, known, n) && variable[n] == '_';
	}
	return in_section || least <= (length < 6 ? 1 : 2);
}

void settings_environment(struct settings *settings, char *const *environment)
{
	char variable[KEY_NAME_MAX], nearest[KEY_NAME_MAX];

	/* Short names first: the long one is the more explicit. */
	for (size_t i = 0; i < key_shorts_n; i++)
		take_variable(settings, environment, key_shorts[i].name,
			      &keys[key_shorts[i].key]);
	for (size_t i = 0; i < KEYS_N; i++)
		take_variable(settings, environment, keys[i].name, &keys[i]);

	for (; *environment; environment++) {
		size_t n = strcspn(*environment, "=");

		if (strncmp(*environment, prefix, sizeof(prefix) - 1) || n >= sizeof(variable))
			continue;
		memcpy(variable, *environment, n);
		variable[n] = '\0';
		if (!is_known(variable) && is_misspelt(variable, nearest))
			settings_remark(settings, false, NULL,
					"%s is not a variable of varbosd; the nearest is %s",
					variable, nearest);
	}
}

int settings_finish(struct settings *settings)
{
	if (settings->error)
		return settings->error;
	return settings->n_errors ? SETTINGS_E_WRONG : 0;
}
