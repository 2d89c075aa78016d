/*
 * A client that holds memory until its standard input ends: holder SOCKET.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <varbos/varbos.h>

int main(int argc, char **argv)
{
	struct varbos_space *space;
	struct varbos *vb;
	void *memory;
	char byte;

	if (argc != 2 || varbos_connect(&vb, argv[1]) ||
	    varbos_space_open(&space, vb, "held", NULL))
		return 1;
	memory = varbos_alloc(space, 1 << 20);
	if (!memory)
		return 1;
	memset(memory, 'x', 1 << 20);
	puts("held");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	varbos_disconnect(vb);
	return 0;
}
