/*
 * A fuzz target over files instead of libFuzzer's inventions: what was once found stays tested,
 * with any compiler. Arguments are files and folders of them; at least one file is expected.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static int replay_file(const char *path, size_t size)
{
	/* Exactly as long as it is, so that a sanitizer sees a read beyond it. */
	_cleanup_(freep) uint8_t *data = malloc(size);
	FILE *file = fopen(path, "rb");
	size_t n = 0;

	if (file) {
		n = data ? fread(data, 1, size, file) : 0;
		fclose(file);
	}
	if (!file || n != size) {
		perror(path);
		return -1;
	}
	LLVMFuzzerTestOneInput(data, size);
	replayed++;
	return 0;
}

static int replay(const char *path)
{
	struct dirent *entry;
	struct stat info;
	char inner[4096];
	int failed = 0;
	DIR *dir;

	if (stat(path, &info)) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(info.st_mode))
		return replay_file(path, (size_t)info.st_size);

	dir = opendir(path);
	if (!dir) {
		perror(path);
		return -1;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		failed |= replay(inner);
	}
	closedir(dir);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	printf("%u files replayed\n", replayed);
	return failed || !replayed ? EXIT_FAILURE : EXIT_SUCCESS;
}
