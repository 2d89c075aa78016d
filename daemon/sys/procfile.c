#include "daemon/sys/procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

int procfile_read(const char *root, const char *path, char *buf, size_t size)
{
	_cleanup_(closep) int fd = -1;
	char full[PATH_MAX + 32];
	size_t n = 0;
	ssize_t r;

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, path) >= sizeof(full))
		return -ENAMETOOLONG;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	while (n < size - 1) {
		r = read(fd, buf + n, size - 1 - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	buf[n] = '\0';
	return 0;
}

static bool number_parse(const char *text, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	text += strspn(text, " \t");
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || !strchr(" \t\n", *end))
		return false;
	*ret = value;
	return true;
}

bool procfile_number(const char *root, const char *path, uint64_t *ret)
{
	char buf[64];

	return !procfile_read(root, path, buf, sizeof(buf)) && number_parse(buf, ret);
}

bool procfile_field(const char *text, const char *key, uint64_t *ret)
{
	size_t size = strlen(key);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, key, size) && strchr(" \t", text[size]) && text[size])
			return number_parse(text + size, ret);
		if (!*text)
			break;
	}
	return false;
}
