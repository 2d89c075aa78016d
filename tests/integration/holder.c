/*
 * A client that holds memory until its standard input ends: holder SOCKET. Before it there was
 * another, which left a block to anyone: the daemon has adopted what that is in.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/varbos.h>

static int leave(const char *socket)
{
	struct varbos_space *space;
	struct varbos *vb;
	void *memory;

	if (varbos_connect(&vb, socket) || varbos_space_open(&space, vb, "held", NULL))
		return 1;
	memory = varbos_alloc_shared(space, 1000);
	return !memory || !varbos_send(space, memory, VARBOS_ANYONE);
}

int main(int argc, char **argv)
{
	struct varbos_space *space;
	struct varbos *vb;
	void *memory;
	int status;
	char byte;
	pid_t pid;

	if (argc != 2)
		return 1;
	pid = fork();
	if (!pid)
		_exit(leave(argv[1]));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return 1;
	if (varbos_connect(&vb, argv[1]) || varbos_space_open(&space, vb, "held", NULL))
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
