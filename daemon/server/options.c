#include "daemon/server/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "base/word.h"
#include "daemon/server/log.h"
#include "daemon/server/pages.h"
#include "proto/layout.h"
#include "proto/wire.h"

static const char help_head[] =
	"varbosd - owns the machine's big memory and lets every process use it\n"
	"\n"
	"  varbosd [--socket PATH] [--size SIZE] [--pages auto|4K|2M] [--KEY=VALUE]...\n"
	"\n"
	"  --socket PATH   where clients connect: --socket.path\n"
	"  --size SIZE     how much memory clients may have together: --memory.size\n"
	"  --pages WHICH   2M, 4K or auto: --memory.pages\n"
	"  --lifeline FD   end when FD, a socket or pipe, is at its end; \"READY\" or the\n"
	"                  reason of a failure is written to it\n"
	"  --version, --help\n";

static const char help_tail[] =
	"\n"
	"Each of these is a variable, too: VARBOS_MEMORY_SIZE, and VARBOS_SOCKET, "
	"VARBOS_SIZE,\n"
	"VARBOS_PAGES for short; a flag wins over a variable.\n"
	"It stays in the foreground, logs to standard error, and ends cleanly on SIGTERM.\n";

enum { HELP_COLUMNS = 88, HELP_INDENT = 18 };

/* As many words a line as there is room for. */
static void print_wrapped(const char *text)
{
	int column = HELP_COLUMNS;

	for (const char *word = text; *word; word += strspn(word, " ")) {
		int n = (int)strcspn(word, " ");

		if (column + 1 + n > HELP_COLUMNS) {
			printf("%s%*s", column == HELP_COLUMNS ? "" : "\n", HELP_INDENT - 1,
			       "");
			column = HELP_INDENT - 1;
		}
		column += printf(" %.*s", n, word);
		word += n;
	}
	putchar('\n');
}

static void print_help(void)
{
	char rule[KEY_RULE_MAX + 64];

	fputs(help_head, stdout);
	for (size_t i = 0; i < KEYS_N; i++) {
		const struct key *key = &keys[i];
		char wanted[KEY_RULE_MAX];

		printf("\n  --%s\n", key->name);
		print_wrapped(key->text);
		snprintf(rule, sizeof(rule), "(%s%s%s%s)", key_rule(wanted, key),
			 *key->standard ? "; default: " : "", key->standard,
			 key->when == KEY_LIVE ? "; changes on SIGHUP, too" : "");
		print_wrapped(rule);
	}
	fputs(help_tail, stdout);
}

static int usage(const char *format, ...) _printf_(1, 2);

static int usage(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s (`varbosd --help` shows what there is)", text);
	return OPTIONS_E_USAGE;
}

/* ---- the command line ---- */

enum own {
	OWN_LIFELINE,
	OWN_VERSION,
	OWN_HELP,
	OWN_N,
};

static const struct {
	const char *name;
	bool takes_value;
} owns[OWN_N] = {
	[OWN_LIFELINE] = {"lifeline", true},
	[OWN_VERSION] = {"version"},
	[OWN_HELP] = {"help"},
};

static enum own own_find(const char *name)
{
	enum own own = 0;

	while (own < OWN_N && strcmp(name, owns[own].name))
		own++;
	return own;
}

static int set_lifeline(struct options *options, const char *text)
{
	uint64_t fd;

	if (!size_parse(text, &fd) || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0)
		return usage("--lifeline: '%s' is not an open descriptor", text);
	options->lifeline = (int)fd;
	return 0;
}

static int unknown(const char *name)
{
	const char *nearest = key_nearest(name, true);
	size_t least = word_distance(name, nearest);

	for (unsigned i = 0; i < OWN_N; i++)
		if (word_distance(name, owns[i].name) < least) {
			nearest = owns[i].name;
			least = word_distance(name, nearest);
		}
	return usage("unknown option '--%.64s'; the nearest is --%s", name, nearest);
}

static void print_version(void)
{
	printf("varbosd %s (protocol %d, layout %d)\n", VARBOS_VERSION, WIRE_PROTOCOL,
	       LAYOUT_VERSION);
}

static int take_own(struct options *options, enum own own, const char *value)
{
	switch (own) {
	case OWN_LIFELINE:
		return set_lifeline(options, value);
	case OWN_VERSION:
		print_version();
		return OPTIONS_DONE;
	case OWN_HELP:
		print_help();
		return OPTIONS_DONE;
	case OWN_N:
		break;
	}
	abort();
}

/*
 * --NAME=VALUE, --NAME VALUE, and --NAME alone where that is enough. No name is cut short: what
 * is one today might be two with the next key.
 */
static int parse_arguments(struct options *options, int argc, char **argv)
{
	options->given = calloc((size_t)argc, sizeof(*options->given));
	if (!options->given) {
		log_error("no start: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (int i = 1; i < argc; i++) {
		_cleanup_(freep) char *name = NULL;
		const struct key *key;
		const char *value;
		enum own own;
		int r;

		if (strncmp(argv[i], "--", 2) || !argv[i][2])
			return usage("unexpected argument '%.64s'", argv[i]);
		value = strchr(argv[i], '=');
		name = value ? strndup(argv[i] + 2, (size_t)(value - argv[i]) - 2)
			     : strdup(argv[i] + 2);
		if (!name)
			return -ENOMEM;
		value = value ? value + 1 : NULL;
		key = key_find(name, true);
		own = own_find(name);
		if (!key && own == OWN_N)
			return unknown(name);
		if (!value && (key ? key->type != KEY_BOOL : owns[own].takes_value)) {
			if (++i == argc)
				return usage("--%s needs a value", name);
			value = argv[i];
		}
		if (!key) {
			if (value && !owns[own].takes_value)
				return usage("--%s takes no value", name);
			r = take_own(options, own, value);
			if (r)
				return r;
			continue;
		}
		options->given[options->n_given++] = (struct option_given){
			.key = key,
			.name = TAKE_PTR(name),
			.text = value ? value : "true",
		};
	}
	return 0;
}

/* ---- all layers ---- */

static int default_socket(struct options *options)
{
	char *path = options->config.socket.path;
	size_t size = sizeof(options->config.socket.path);
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	options->socket_is_default = true;
	if (pages_isolate()) {
		snprintf(path, size, "/run/varbos/varbos.sock");
		return 0;
	}
	if (!runtime || !*runtime)
		return usage("--socket is needed: there is no $XDG_RUNTIME_DIR to default to");
	if ((size_t)snprintf(path, size, "%s/varbos/varbos.sock", runtime) >= size)
		return usage("--socket is needed: $XDG_RUNTIME_DIR is too long to default to");
	return 0;
}

static int read_layers(const struct options *options, struct settings *settings)
{
	int r;

	settings_init(settings);
	/* Who was given rights by its file does not trust the environment. */
	if (!getauxval(AT_SECURE))
		settings_environment(settings, environ);
	for (uint32_t i = 0; i < options->n_given; i++)
		settings_flag(settings, options->given[i].key, options->given[i].name,
			      options->given[i].text);
	r = settings_finish(settings);
	for (uint32_t i = 0; i < settings->n_remarks; i++)
		if (settings->remarks[i].is_error)
			log_error("%s", settings->remarks[i].text);
		else
			log_warning("%s", settings->remarks[i].text);
	return r == SETTINGS_E_WRONG ? OPTIONS_E_USAGE : r;
}

int options_parse(struct options *ret, int argc, char **argv)
{
	struct settings settings;
	int r;

	*ret = (struct options){.lifeline = -1};
	r = parse_arguments(ret, argc, argv);
	if (r)
		return r;
	r = read_layers(ret, &settings);
	ret->config = settings.config;
	settings_deinit(&settings);
	if (!r && !*ret->config.socket.path)
		r = default_socket(ret);
	return r;
}

void options_deinit(struct options *options)
{
	for (uint32_t i = 0; i < options->n_given; i++)
		free(options->given[i].name);
	free(options->given);
	options->given = NULL;
}
