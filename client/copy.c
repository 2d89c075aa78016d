#include <varbos/copy.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/crew.h"

_public_ void varbos_copy(void *to, const void *from, size_t size)
{
	if (size < CREW_LEAST)
		copy_bytes(to, from, size);
	else
		crew_do(&(struct crew_work){.to = to, .from = from, .size = size});
}

_public_ void varbos_zero(void *to, size_t size)
{
	if (size < CREW_LEAST)
		zero_bytes(to, size);
	else
		crew_do(&(struct crew_work){.to = to, .size = size});
}
