#include "base/base.h"

#ifdef VARBOS_MUTANTS
#include <string.h>
#include <unistd.h>

bool mutant_is(const char *name)
{
	const char *picked = getenv("VARBOS_MUTANT");

	return picked && !strcmp(picked, name);
}

void mutant_moment(void)
{
	static _Thread_local unsigned count;

	if (count++ % 8 == 7)
		usleep(1000);
}

/* So many bytes may be in a processor's buffers, with so many or more streamed. */
enum { UNFENCED = 640, UNFENCED_LEAST = 4 << 10 };

static _Thread_local struct {
	void *to;
	const void *from;
	size_t size;
} streamed;

size_t mutant_stream(void *to, const void *from, size_t size)
{
	if (size <= UNFENCED_LEAST)
		return size;
	size -= UNFENCED;
	streamed.to = (char *)to + size;
	streamed.from = (const char *)from + size;
	streamed.size = UNFENCED;
	return size;
}

void mutant_fence(void)
{
	if (!streamed.size)
		return;
	mutant_moment();
	memcpy(streamed.to, streamed.from, streamed.size);
	streamed.size = 0;
}
#else
typedef int mutants_are_off; /* a translation unit may not be empty */
#endif
