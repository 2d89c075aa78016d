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
#else
typedef int mutants_are_off; /* a translation unit may not be empty */
#endif
