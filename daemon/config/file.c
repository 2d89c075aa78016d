#include "daemon/config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

static int refuse(char *why, const char *what)
{
	snprintf(why, FILE_WHY_MAX, "%s", what);
	return FILE_E_REFUSED;
}

/* That is nothing about the file. */
static bool is_shortage(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE;
}

int file_read(const char *path, char **ret_text, size_t *ret_size, char why[FILE_WHY_MAX])
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = -1;
	size_t used = 0;
	struct stat st;
	ssize_t n;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return FILE_E_MISSING;
	if (fd < 0 && is_shortage(errno))
		return -errno;
	if (fd < 0 || fstat(fd, &st))
		return refuse(why, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(why, S_ISDIR(st.st_mode) ? "is a folder, not a file"
						       : "is not a plain file");
	if (!mutant(config_any_writer) && st.st_mode & S_IWOTH)
		return refuse(why, "everybody may write to it (chmod o-w)");

	text = malloc(FILE_BYTES_MAX + 1);
	if (!text)
		return -ENOMEM;
	/* By what comes, not by what the size was said to be: /proc says 0. */
	while (used <= FILE_BYTES_MAX &&
	       (n = read(fd, text + used, FILE_BYTES_MAX + 1 - used)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return refuse(why, strerror(errno));
		used += (size_t)n;
	}
	if (used > FILE_BYTES_MAX) {
		snprintf(why, FILE_WHY_MAX, "is larger than %d KiB", FILE_BYTES_MAX >> 10);
		return FILE_E_REFUSED;
	}
	text[used] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_size = used;
	return 0;
}
