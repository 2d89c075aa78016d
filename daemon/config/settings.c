#include "daemon/config/settings.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/word.h"
#include "daemon/config/conflict.h"
#include "daemon/config/file.h"
#include "daemon/config/toml.h"
#include "proto/wire.h"

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

/* ---- files ---- */

enum { FOLDER_FILES_MAX = 256 };

struct reading {
	struct settings *settings;
	const char *path;
};

static struct origin place(const struct reading *reading, struct toml_place where)
{
	return (struct origin){.kind = ORIGIN_FILE,
			       .name = reading->path,
			       .line = where.line,
			       .column = where.column};
}

static bool is_section(const char *name)
{
	for (size_t i = 0; i < key_sections_n; i++)
		if (!strcmp(name, key_sections[i].name))
			return true;
	return false;
}

static const char *section_nearest(const char *name)
{
	const char *nearest = key_sections[0].name;

	for (size_t i = 1; i < key_sections_n; i++)
		if (word_distance(name, key_sections[i].name) < word_distance(name, nearest))
			nearest = key_sections[i].name;
	return nearest;
}

static void take_entry(void *userdata, const struct toml_entry *entry)
{
	struct reading *reading = userdata;
	struct origin at_key = place(reading, entry->key_place);
	struct origin at_value = place(reading, entry->place);
	const struct key *key = key_find(entry->name, false);

	if (key)
		settings_set(reading->settings, key, &entry->value, &at_value);
	else if (!is_section(entry->name) && entry->is_section)
		settings_remark(reading->settings, true, &at_key,
				"there is no section %.100s; the nearest is %s", entry->name,
				section_nearest(entry->name));
	else if (!is_section(entry->name))
		settings_remark(reading->settings, true, &at_key,
				"there is no key %.100s; the nearest is %s", entry->name,
				key_nearest(entry->name, false));
	else if (!entry->is_section)
		settings_remark(reading->settings, true, &at_key,
				"%s is a section, a table of keys: [%s]", entry->name,
				entry->name);
}

void settings_text(struct settings *settings, const char *path, const char *text, size_t size)
{
	struct reading reading = {.settings = settings, .path = settings_name(settings, path)};
	struct toml_fault fault;
	struct origin where;
	int r;

	if (!reading.path)
		return;
	r = toml_read(text, size, take_entry, &reading, &fault);
	if (r == TOML_E_SYNTAX) {
		where = place(&reading, fault.place);
		settings_remark(settings, true, &where, "%s", fault.text);
	} else if (r) {
		settings->error = r;
	}
}

static void refuse_file(struct settings *settings, const char *path, const char *why)
{
	struct origin where = {.kind = ORIGIN_FILE, .name = path};

	settings_remark(settings, true, &where, "%s", why);
}

/* What is there and cannot be read is a mistake, not an absence. */
static bool is_there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

void settings_file(struct settings *settings, const char *path, bool is_asked)
{
	_cleanup_(freep) char *text = NULL;
	char why[FILE_WHY_MAX];
	size_t size;
	int r;

	r = file_read(path, &text, &size, why);
	if (!r)
		settings_text(settings, path, text, size);
	else if (r == FILE_E_REFUSED)
		refuse_file(settings, path, why);
	else if (r == FILE_E_MISSING && is_there(path))
		refuse_file(settings, path, "is a link to what is not there");
	else if (r == FILE_E_MISSING && is_asked)
		refuse_file(settings, path, strerror(ENOENT));
	else if (r < 0)
		settings->error = r;
}

static int is_wanted(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && !strcmp(entry->d_name + n - 5, ".toml");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void settings_folder(struct settings *settings, const char *path, bool is_asked)
{
	struct dirent **entries = NULL;
	char name[4096];
	int n, error;

	if (is_asked && access(path, X_OK)) {
		refuse_file(settings, path, strerror(errno));
		return;
	}
	if ((size_t)snprintf(name, sizeof(name), "%s/varbosd.toml", path) >= sizeof(name)) {
		refuse_file(settings, path, strerror(ENAMETOOLONG));
		return;
	}
	settings_file(settings, name, false);
	snprintf(name, sizeof(name), "%s/varbosd.toml.d", path);
	n = scandir(name, &entries, is_wanted, by_bytes);
	error = n < 0 ? errno : 0;
	if (error == ENOMEM || error == EMFILE || error == ENFILE)
		settings->error = -error;
	else if (error && ((error != ENOENT && error != ENOTDIR) || is_there(name)))
		refuse_file(settings, name, strerror(error));
	if (n > FOLDER_FILES_MAX)
		refuse_file(settings, name, "more than 256 files are there");
	for (int i = 0; i < n; i++) {
		char file[4096];

		if (n <= FOLDER_FILES_MAX &&
		    (size_t)snprintf(file, sizeof(file), "%s/%s", name, entries[i]->d_name) <
			    sizeof(file))
			settings_file(settings, file, true);
		free(entries[i]);
	}
	free(entries);
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

/* A text that is still empty cannot be said: what it stands for is found out. */
static bool is_unsaid(const struct key *key, const char *value)
{
	return (key->type == KEY_TEXT || key->type == KEY_PATH) && key->min &&
	       !strcmp(value, "\"\"");
}

/* What somebody called a file may be anything: not more than the rest of one line. */
static void clean(char *text)
{
	bool is_clean = wire_str_is_clean(wire_str(text));

	for (; !is_clean && *text; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
			*text = '?';
}

void settings_print(const struct settings *settings, FILE *out)
{
	char value[VALUE_TEXT_MAX], origin[ORIGIN_TEXT_MAX];
	const char *section = "";

	for (size_t i = 0; i < KEYS_N; i++) {
		if (strcmp(section, keys[i].section))
			fprintf(out, "%s[%s]\n", *section ? "\n" : "", keys[i].section);
		section = keys[i].section;
		value_print(value, &keys[i], &settings->config);
		clean(origin_print(origin, &settings->origins[i]));
		fprintf(out, "%s%s = %s # %s\n", is_unsaid(&keys[i], value) ? "# " : "",
			keys[i].key, value, origin);
	}
}

int settings_finish(struct settings *settings)
{
	if (settings->error)
		return settings->error;
	if (!mutant(config_conflicts_taken))
		conflict_find(settings);
	return settings->n_errors ? SETTINGS_E_WRONG : 0;
}
