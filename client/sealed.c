#include "client/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/error.h"

int sealed_check(int fd, const char *what, enum sealed_kind kind, uint64_t size)
{
	int wanted = kind == SEALED_EXACT ? F_SEAL_SHRINK | F_SEAL_GROW : F_SEAL_SHRINK;
	struct varbos_error error;
	struct stat st;
	uint64_t found;
	int seals;

	/* Seals first: a size that is not sealed may change after it was looked at. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return error_set(VARBOS_E_UNTRUSTED, what, "the %s is not a memory file", what);
	if ((seals & wanted) != wanted && !mutant(client_seals_unchecked))
		return error_set(VARBOS_E_UNTRUSTED, what,
				 "the %s is not sealed: its size may change (seals 0x%x, 0x%x "
				 "are needed)",
				 what, (unsigned)seals, (unsigned)wanted);

	if (fstat(fd, &st) < 0)
		return error_system(errno, "looking at the %s", what);
	found = (uint64_t)st.st_size;
	if ((kind == SEALED_EXACT ? found == size : found >= size) ||
	    mutant(client_size_unchecked))
		return 0;

	error = (struct varbos_error){
		.code = VARBOS_E_UNTRUSTED,
		.requested = size,
		.available = found,
	};
	snprintf(error.which, sizeof(error.which), "%s", what);
	return error_set_numbers(&error, "the %s has %llu bytes, not %llu", what,
				 (unsigned long long)found, (unsigned long long)size);
}
