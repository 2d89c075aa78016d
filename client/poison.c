#include "client/poison.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool on;

static void look(void)
{
	const char *value = secure_getenv("VARBOS_DEBUG");

	on = value && !strcmp(value, "1");
}

bool poison_is_on(void)
{
	pthread_once(&once, look);
	return on;
}

void poison(void *memory, size_t size)
{
	memset(memory, POISON, size);
}
