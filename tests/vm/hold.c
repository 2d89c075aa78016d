/*
 * hold SPACE BYTES [shared] - a client that allocates, fills what it got, says "held", and waits for
 * a signal. What it is refused it says with status 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <varbos/varbos.h>

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", what, varbos_code_name(varbos_error()->code),
		varbos_error()->message);
	return 1;
}

int main(int argc, char **argv)
{
	struct varbos_space *space;
	struct varbos *vb;
	size_t size;
	void *memory;

	if (argc < 3)
		return 2;
	size = strtoull(argv[2], NULL, 0);
	if (varbos_connect(&vb, NULL))
		return fail("connect");
	if (varbos_space_open(&space, vb, argv[1], NULL))
		return fail("open");
	memory = argc > 3 ? varbos_alloc_shared(space, size) : varbos_alloc(space, size);
	if (!memory)
		return fail("alloc");
	memset(memory, 'x', size);
	puts("held");
	fflush(stdout);
	for (;;)
		pause();
}
