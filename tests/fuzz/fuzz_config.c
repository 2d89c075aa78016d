/*
 * Any bytes, taken as varbosd.toml: refused with a reason and a place, or printed and read again
 * to the same. The lines of what is refused are tried as what flags say, too.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config/file.h"
#include "daemon/config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char path[] = "f.toml";

static void check_remarks(const struct settings *settings)
{
	assert(!settings->error);
	assert(settings->n_errors <= settings->n_remarks ||
	       settings->n_remarks == SETTINGS_REMARKS_MAX);
	for (uint32_t i = 0; i < settings->n_remarks; i++) {
		assert(settings->remarks[i].text[0]);
		assert(!strncmp(settings->remarks[i].text, "f.toml:", 7) ||
		       !settings->remarks[i].is_error ||
		       !strncmp(settings->remarks[i].text, "--", 2) ||
		       strstr(settings->remarks[i].text, "contradict"));
	}
}

/* What is printed is read without a word, and means the same. */
static void check_print(const struct settings *settings)
{
	struct settings again;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert(out);
	settings_print(settings, out);
	fclose(out);
	settings_init(&again);
	settings_text(&again, path, text, size);
	assert(!settings_finish(&again));
	assert(!again.n_remarks);
	for (size_t i = 0; i < KEYS_N; i++)
		assert(!value_differs(&keys[i], &settings->config, &again.config));
	settings_deinit(&again);
	free(text);
}

static void try_flags(const char *text)
{
	struct settings settings;
	char line[128];

	settings_init(&settings);
	for (size_t i = 0; *text && i < KEYS_N; i++) {
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)(n < 127 ? n : 127), text);
		settings_flag(&settings, &keys[i], keys[i].name, line);
		text += n + (text[n] == '\n');
	}
	check_remarks(&settings);
	if (!settings_finish(&settings))
		check_print(&settings);
	settings_deinit(&settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings settings;
	char *text;

	if (size > FILE_BYTES_MAX)
		return 0;
	text = malloc(size + 1);
	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	settings_init(&settings);
	settings_text(&settings, path, text, size);
	check_remarks(&settings);
	if (!settings_finish(&settings))
		check_print(&settings);
	else
		try_flags(text);
	settings_deinit(&settings);
	free(text);
	return 0;
}
