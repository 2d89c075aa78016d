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
#include "daemon/server/region.h"
#include "daemon/server/version.h"
#include "daemon/sys/nodes.h"

static const char help_head[] =
	"varbosd - owns the machine's big memory and lets every process use it\n"
	"\n"
	"  varbosd [--socket PATH] [--size SIZE] [--pages auto|4K|2M|1G] [--KEY=VALUE]...\n"
	"\n"
	"  --socket PATH   where clients connect: --socket.path\n"
	"  --size SIZE     how much memory clients may have together: --memory.size\n"
	"  --pages WHICH   1G, 2M, 4K or auto: --memory.pages\n"
	"\n"
	"  --config FILE   read FILE, too: after the folder, before variables and flags\n"
	"  --config-dir DIR\n"
	"                  the folder with varbosd.toml and varbosd.toml.d/*.toml, instead of\n"
	"                  " VARBOS_CONFDIR
	" (root, user varbos) or ~/.config/varbos (others)\n"
	"  --no-config     no folder\n"
	"  --check-config  say all that is wrong with the configuration; exit 0 if nothing is\n"
	"  --print-config  the configuration as TOML, each value with where it came from\n"
	"  --keep          first of all: hold the daemon's memory in a process of its own,\n"
	"                  start the daemon from there, and again whenever it dies\n"
	"  --lifeline FD   end when FD, a socket or pipe, is at its end; \"READY\", or why "
	"not\n"
	"                  (an error's number, a blank, the reason), is written to it\n"
	"  --version, --help\n";

static const char help_tail[] =
	"\n"
	"Each of these is a key of varbosd.toml (`size` in the section [memory]) and a "
	"variable:\n"
	"VARBOS_MEMORY_SIZE; VARBOS_SOCKET, VARBOS_SIZE and VARBOS_PAGES for short. A flag "
	"wins over\n"
	"a variable, that over a file. SIGHUP reads all of it again.\n"
	"It stays in the foreground, logs to standard error, and ends cleanly on SIGTERM.\n";

enum { HELP_COLUMNS = 88, HELP_INDENT = 18 };

/* As many words a line as there is room for. */
static void print_wrapped(const char *text)
{
	int column = printf("%*s", HELP_INDENT - 1, "");

	for (const char *word = text; *word; word += strspn(word, " ")) {
		int n = (int)strcspn(word, " ");

		if (column + 1 + n > HELP_COLUMNS)
			column = printf("\n%*s", HELP_INDENT - 1, "") - 1;
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
	OWN_CONFIG,
	OWN_CONFIG_DIR,
	OWN_NO_CONFIG,
	OWN_CHECK_CONFIG,
	OWN_PRINT_CONFIG,
	OWN_LIFELINE,
	OWN_KEEP,
	OWN_VERSION,
	OWN_HELP,
	OWN_N,
};

static const struct {
	const char *name;
	bool takes_value;
} owns[OWN_N] = {
	[OWN_CONFIG] = {"config", true},
	[OWN_CONFIG_DIR] = {"config-dir", true},
	[OWN_NO_CONFIG] = {"no-config", false},
	[OWN_CHECK_CONFIG] = {"check-config", false},
	[OWN_PRINT_CONFIG] = {"print-config", false},
	[OWN_LIFELINE] = {"lifeline", true},
	[OWN_KEEP] = {"keep", false},
	[OWN_VERSION] = {"version", false},
	[OWN_HELP] = {"help", false},
};

/* What the command line asks for besides values. */
struct wish {
	const char *folder; /* NULL: the usual one */
	bool check, print;
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

/* Which folder is read can be said once: one of two would go unread, without a word. */
static int set_folder(struct wish *wish, const char *folder)
{
	if (!wish->folder || !strcmp(wish->folder, folder)) {
		wish->folder = folder;
		return 0;
	}
	if (!*wish->folder || !*folder)
		return usage("--no-config and --config-dir %.64s contradict each other",
			     *folder ? folder : wish->folder);
	return usage("--config-dir is %.64s or %.64s, not both: one folder is read",
		     wish->folder, folder);
}

static int set_file(struct options *options, const char *file)
{
	if (options->file && strcmp(options->file, file))
		return usage("--config is %.64s or %.64s, not both; varbosd.toml.d takes any "
			     "number of files",
			     options->file, file);
	options->file = file;
	return 0;
}

static int take_own(struct options *options, struct wish *wish, enum own own, const char *value)
{
	switch (own) {
	case OWN_CONFIG:
		return set_file(options, value);
	case OWN_CONFIG_DIR:
		return *value ? set_folder(wish, value)
			      : usage("--config-dir needs a folder; --no-config reads none");
	case OWN_NO_CONFIG:
		return set_folder(wish, "");
	case OWN_CHECK_CONFIG:
		wish->check = true;
		return 0;
	case OWN_PRINT_CONFIG:
		wish->print = true;
		return 0;
	case OWN_LIFELINE:
		return set_lifeline(options, value);
	case OWN_KEEP:
		return usage("--keep comes first, before all other arguments");
	case OWN_VERSION:
		version_print(stdout);
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
static int parse_arguments(struct options *options, struct wish *wish, int argc, char **argv)
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
			r = take_own(options, wish, own, value);
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

/* Where nothing else is said. Asked for once: the answer is another system's, and may take time. */
static int find_places(struct options *options, const char *folder)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
	const char *user_config = getenv("XDG_CONFIG_HOME");
	bool is_system = pages_isolate();
	int n = 0;

	if (is_system)
		strcpy(options->socket, "/run/varbos/varbos.sock");
	else if (runtime && *runtime &&
		 (size_t)snprintf(options->socket, sizeof(options->socket),
				  "%s/varbos/varbos.sock", runtime) >= sizeof(options->socket))
		options->socket[0] = '\0'; /* too long for an address */

	options->folder_is_asked = folder;
	if (folder)
		n = snprintf(options->folder, sizeof(options->folder), "%s", folder);
	else if (options->lifeline >= 0)
		n = 0;
	else if (is_system)
		n = snprintf(options->folder, sizeof(options->folder), "%s", VARBOS_CONFDIR);
	else if (user_config && *user_config)
		n = snprintf(options->folder, sizeof(options->folder), "%s/varbos",
			     user_config);
	else if (home && *home)
		n = snprintf(options->folder, sizeof(options->folder), "%s/.config/varbos",
			     home);
	/* A home that is another's, kept in the environment by who became this user: not ours. */
	if (!folder && !is_system && access(options->folder, R_OK | X_OK))
		options->folder[0] = '\0';
	if ((size_t)n >= sizeof(options->folder))
		return usage("--config-dir: the path of the folder is too long");
	return 0;
}

int options_read(const struct options *options, struct settings *ret)
{
	struct config *config = &ret->config;

	settings_init(ret);
	if (*options->folder)
		settings_folder(ret, options->folder, options->folder_is_asked);
	if (options->file)
		settings_file(ret, options->file, true);
	/* Who was given rights by its file does not trust the environment. */
	if (!getauxval(AT_SECURE))
		settings_environment(ret, environ);
	for (uint32_t i = 0; i < options->n_given; i++)
		settings_flag(ret, options->given[i].key, options->given[i].name,
			      options->given[i].text);
	if (!*config->socket.path && !*options->socket && !options->passed_fd)
		settings_remark(ret, true, NULL,
				"--socket is needed: there is no $XDG_RUNTIME_DIR to default "
				"to, or it is too long");
	else if (!*config->socket.path)
		strcpy(config->socket.path,
		       options->passed_fd ? options->config.socket.path : options->socket);
	/* Started by a program, for itself: its standard error is not ours to chat on. */
	if (options->lifeline >= 0 && ret->origins[KEY_log_level].kind == ORIGIN_BUILT_IN)
		config->log.level = CONFIG_LEVEL_NOTICE;
	return settings_finish(ret);
}

void options_log(const struct settings *settings)
{
	for (uint32_t i = 0; i < settings->n_remarks; i++)
		if (settings->remarks[i].is_error)
			log_error("%s", settings->remarks[i].text);
		else
			log_warning("%s", settings->remarks[i].text);
	if (settings->n_errors > SETTINGS_REMARKS_MAX)
		log_error("and more: %u things are wrong together", settings->n_errors);
}

/* Of the machine that this is asked on. */
static bool machine_has_nodes(const struct config *config)
{
	struct sys_nodes nodes;
	struct shares shares;
	const char *wrong;
	char why[512];

	if (shares_parse(config->memory.nodes, &shares, &wrong) || nodes_read("", &nodes) ||
	    region_has_nodes(&shares, &nodes, why, sizeof(why)))
		return true;
	log_error("%s", why);
	return false;
}

int options_parse(struct options *ret, int argc, char **argv)
{
	_cleanup_(settings_deinit) struct settings settings = {};
	struct wish wish = {};
	int r;

	*ret = (struct options){.lifeline = -1};
	r = parse_arguments(ret, &wish, argc, argv);
	if (!r)
		r = find_places(ret, wish.folder);
	if (r)
		return r;
	r = options_read(ret, &settings);
	options_log(&settings);
	if (r == SETTINGS_E_WRONG)
		return wish.check || wish.print ? OPTIONS_E_CHECK : OPTIONS_E_USAGE;
	if (r) {
		log_error("no start: %s", strerror(-r));
		return r;
	}
	if (wish.check && !machine_has_nodes(&settings.config))
		return OPTIONS_E_CHECK;
	if (wish.print)
		settings_print(&settings, stdout);
	if (wish.check || wish.print)
		return OPTIONS_DONE;
	ret->config = settings.config;
	ret->socket_is_default = settings.origins[KEY_socket_path].kind == ORIGIN_BUILT_IN;
	return 0;
}

void options_deinit(struct options *options)
{
	for (uint32_t i = 0; i < options->n_given; i++)
		free(options->given[i].name);
	free(options->given);
	options->given = NULL;
	left_deinit(&options->left);
}
