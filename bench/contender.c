#include "bench/contender.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPINS = 256 };

void contender_die(const char *format, ...)
{
	va_list args;

	fputs("varbos-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	putc('\n', stderr);
	exit(EXIT_FAILURE);
}

void contender_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		contender_die("processor %d: %s", cpu, strerror(errno));
}

void contender_wait(unsigned *turns)
{
	if (++*turns % SPINS == 0)
		sched_yield();
#ifdef __x86_64__
	else
		__builtin_ia32_pause();
#endif
}

static void answer(uint64_t figure)
{
	if (write(STDOUT_FILENO, &figure, sizeof(figure)) != sizeof(figure))
		exit(EXIT_FAILURE);
}

int contender_main(int argc, char **argv, const struct contender_row *rows, size_t n,
		   void (*start)(const struct contender *contender), void (*stop)(void))
{
	const struct contender_row *row = NULL;
	struct contender contender;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < n && argc == 7; i++)
		if (!strcmp(argv[1], rows[i].name))
			row = &rows[i];
	if (!row) {
		fputs("a part of varbos-bench, which starts it\n", stderr);
		return 2;
	}
	contender = (struct contender){
		.impl = argv[0],
		.size = strtoull(argv[2], NULL, 10),
		.keys = strtoull(argv[3], NULL, 10),
		.cpus = {atoi(argv[4]), atoi(argv[5])},
		.socket = argv[6],
	};
	/* If it may: then what else runs here disturbs less. All contenders alike. */
	setpriority(PRIO_PROCESS, 0, -20);
	contender_pin(contender.cpus[0]);
	if (start)
		start(&contender);
	if (row->start)
		row->start(&contender);
	for (unsigned i = 0; i < row->warm; i++)
		row->round();
	answer(0);
	while (read(STDIN_FILENO, &byte, 1) == 1)
		answer(row->round());
	if (stop)
		stop();
	return EXIT_SUCCESS;
}
