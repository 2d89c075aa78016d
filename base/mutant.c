#include "base/base.h"

#ifdef VARBOS_MUTANTS
#include <string.h>

bool mutant_is(const char *name)
{
	const char *picked = getenv("VARBOS_MUTANT");

	return picked && !strcmp(picked, name);
}
#else
typedef int mutants_are_off; /* a translation unit may not be empty */
#endif
