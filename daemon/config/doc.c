/*
 * Prints varbosd.toml as people read it, from the table that the daemon is made of:
 *
 *   config-doc man      the manual page varbosd.toml(5)
 *   config-doc example  a file with every key and its default, all commented out
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config/file.h"
#include "daemon/config/settings.h"

enum { COLUMNS = 78 };

/* For mdoc: lines of words, a sentence beginning a new one, none of them a request. */
static void prose(const char *text)
{
	int column = 0;

	for (const char *word = text; *word; word += strspn(word, " ")) {
		int n = (int)strcspn(word, " ");

		if (column && column + 1 + n > COLUMNS) {
			putchar('\n');
			column = 0;
		}
		column += printf("%s%s", column ? " " : "",
				 !column && strchr(".'", *word) ? "\\&" : "");
		for (int i = 0; i < n; i++)
			column += printf(word[i] == '\\' ? "\\e" : "%c", word[i]);
		word += n;
		if (word[-1] == '.' && *word) {
			putchar('\n');
			column = 0;
		}
	}
	putchar('\n');
}

/* The default as it would stand in the file; of what is found out, nothing. */
static const char *standard(const struct settings *settings, const struct key *key,
			    char text[VALUE_TEXT_MAX])
{
	value_print(text, key, &settings->config);
	return strcmp(text, "\"\"") ? text : NULL;
}

static void man_key(const struct settings *settings, const struct key *key)
{
	char text[VALUE_TEXT_MAX], rule[KEY_RULE_MAX], line[VALUE_TEXT_MAX + KEY_RULE_MAX];
	const char *value = standard(settings, key, text);

	printf(".It Sy %s\n", key->key);
	prose(key->text);
	snprintf(line, sizeof(line), "Takes %s%s%s.%s", key_rule(rule, key),
		 value ? "; the default is " : "", value ? value : "",
		 key->when == KEY_LIVE ? " A reload changes it." : "");
	prose(line);
}

static void print_man(const struct settings *settings)
{
	char variable[KEY_NAME_MAX], line[200];

	puts(".\\\" Made by config-doc from daemon/config/config.def.\n"
	     ".Dd November 21, 2026\n.Dt VARBOSD.TOML 5\n.Os\n"
	     ".Sh NAME\n.Nm varbosd.toml\n.Nd what varbosd is told\n"
	     ".Sh SYNOPSIS\n"
	     ".Pa " VARBOS_CONFDIR "/varbosd.toml\n.Pp\n"
	     ".Pa " VARBOS_CONFDIR "/varbosd.toml.d/*.toml\n"
	     ".Sh DESCRIPTION\n"
	     ".Xr varbosd 8\nneeds no configuration: what is not said here has a default.");
	prose("The file is TOML. Each key can also be given as a flag, --memory.size=2G, and "
	      "in the "
	      "environment, VARBOS_MEMORY_SIZE=2G.");
	puts(".Pp");
	prose("Later wins: what is built in; varbosd.toml; the files of varbosd.toml.d in the "
	      "order "
	      "of their names; the file of --config; the environment; flags. Root and the user "
	      "varbos read the folder " VARBOS_CONFDIR
	      ", others $XDG_CONFIG_HOME/varbos, which "
	      "usually is ~/.config/varbos; or all the folder of --config-dir. A daemon that a "
	      "program starts for itself, with --lifeline, reads no folder.");
	puts(".Pp");
	prose("varbosd --check-config says all that is wrong, each with file, line and column: "
	      "an unknown key, a value out of its range, values that contradict each other. It "
	      "exits with 1 if anything is. A default never contradicts: it gives way. "
	      "varbosd --print-config prints all values, each with where it came from.");
	puts(".Pp");
	prose("On SIGHUP all of it is read again. If anything is wrong, nothing changes. The "
	      "keys that say so below change; others keep their value, and the log says so. "
	      "Replace a file by renaming a new one to its name: one that is just being "
	      "written would be read half.");
	puts(".Pp");
	snprintf(line, sizeof(line),
		 "A file is refused if it is no plain file, if everybody may write to it, or "
		 "if it "
		 "is larger than %d KiB.",
		 FILE_BYTES_MAX >> 10);
	prose(line);
	puts(".Ss Values");
	prose("Sizes are numbers of bytes, or texts with a unit, powers of two: \"512M\", "
	      "\"2G\", "
	      "\"1TiB\". Times are texts with a unit: \"500ms\", \"2s\", \"1min\", \"1h\". "
	      "Permissions are octal: \"0660\" or 0o660. Sets are arrays of numbers, [0, 2]; "
	      "as a flag and in the environment, 0,2-3.");
	for (size_t s = 0; s < key_sections_n; s++) {
		printf(".Sh The section %s\n", key_sections[s].name);
		prose(key_sections[s].text);
		puts(".Bl -tag -width Ds");
		for (size_t i = 0; i < KEYS_N; i++)
			if (!strcmp(keys[i].section, key_sections[s].name))
				man_key(settings, &keys[i]);
		puts(".El");
	}
	puts(".Sh ENVIRONMENT");
	prose("VARBOS_SECTION_KEY for each key; empty is as good as not set. Short names, as "
	      "flags, "
	      "too:");
	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < key_shorts_n; i++) {
		printf(".It Ev %s , Fl Fl %s\n", key_variable(variable, key_shorts[i].name),
		       key_shorts[i].name);
		prose(keys[key_shorts[i].key].name);
	}
	puts(".El\n.Sh SEE ALSO\n.Xr varbosctl 1 ,\n.Xr varbos 7 ,\n.Xr varbosd 8");
}

/* Words after "# ", as many a line as there is room for. */
static void comment(const char *text)
{
	int column = COLUMNS;

	for (const char *word = text; *word; word += strspn(word, " ")) {
		int n = (int)strcspn(word, " ");

		if (column + 1 + n > COLUMNS) {
			printf("%s#", word == text ? "" : "\n");
			column = 1;
		}
		column += printf(" %.*s", n, word);
		word += n;
	}
	putchar('\n');
}

static void print_example(const struct settings *settings)
{
	char text[VALUE_TEXT_MAX], rule[KEY_RULE_MAX], line[KEY_RULE_MAX + 64];
	const char *section = "";

	puts("# varbosd.toml: what varbosd is told; see varbosd.toml(5).\n"
	     "#\n# Every key is here with its default, commented out by one '#'. Check what "
	     "you wrote by\n"
	     "# `varbosd --check-config`.");
	for (size_t i = 0; i < KEYS_N; i++) {
		const char *value = standard(settings, &keys[i], text);

		if (strcmp(section, keys[i].section))
			printf("\n[%s]\n", keys[i].section);
		section = keys[i].section;
		putchar('\n');
		comment(keys[i].text);
		snprintf(line, sizeof(line), "Takes %s.%s", key_rule(rule, &keys[i]),
			 keys[i].when == KEY_LIVE ? " A reload changes it." : "");
		comment(line);
		/* What has no default to show is shown as a comment that stays one. */
		printf("#%s%s = %s\n", value ? "" : "# ", keys[i].key, value ? value : "...");
	}
}

int main(int argc, char **argv)
{
	struct settings settings;

	settings_init(&settings);
	if (argc == 2 && !strcmp(argv[1], "man")) {
		print_man(&settings);
	} else if (argc == 2 && !strcmp(argv[1], "example")) {
		print_example(&settings);
	} else {
		fputs("usage: config-doc man|example\n", stderr);
		return 2;
	}
	settings_deinit(&settings);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
