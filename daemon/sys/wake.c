#include "daemon/sys/wake.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

uint32_t wake_some(const _Atomic uint32_t *word, uint32_t most)
{
	long n = syscall(SYS_futex, word, FUTEX_WAKE, most < INT_MAX ? (int)most : INT_MAX,
			 NULL, NULL, 0);

	return n > 0 ? (uint32_t)n : 0;
}
