/*
 * hold SPACE BYTES [shared=1] [count=N] [numa=POLICY] [nodes=MASK] - a client that allocates BYTES, N
 * times (1), fills what it got, says for each "at ADDRESS", then "held", and waits for a signal.
 * Refused, it says why; and ends with status 1 if that was the first, or else holds what it has.
 * SIGUSR1: it reads what it got first, allocates as much once more, frees that, and says "still held".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <varbos/varbos.h>

static int fail(const char *what)
{
	printf("%s: %s: %s\n", what, varbos_code_name(varbos_error()->code),
	       varbos_error()->message);
	fflush(stdout);
	return 1;
}

static int policy(enum varbos_numa *ret, const char *name)
{
	static const char *const names[] = {
		[VARBOS_NUMA_DEFAULT] = "default",     [VARBOS_NUMA_LOCAL] = "local",
		[VARBOS_NUMA_BIND] = "bind",           [VARBOS_NUMA_INTERLEAVE] = "interleave",
		[VARBOS_NUMA_PREFERRED] = "preferred",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(names[i], name)) {
			*ret = (enum varbos_numa)i;
			return 0;
		}
	return 2;
}

static int parse(char **words, struct varbos_alloc_options *options, unsigned long *count)
{
	for (; *words; words++) {
		const char *value = strchr(*words, '=');

		if (!value++)
			return 2;
		if (!strncmp(*words, "shared=", 7))
			options->shared = (uint32_t)atoi(value);
		else if (!strncmp(*words, "count=", 6))
			*count = strtoul(value, NULL, 0);
		else if (!strncmp(*words, "nodes=", 6))
			options->nodes = strtoull(value, NULL, 0);
		else if (strncmp(*words, "numa=", 5) || policy(&options->numa, value))
			return 2;
	}
	return 0;
}

static int look(struct varbos_space *space, const struct varbos_alloc_options *options,
		const char *held, size_t size)
{
	char *more;

	for (size_t i = 0; i < size; i++)
		if (held[i] != 'x') {
			printf("held no more: byte %zu differs\n", i);
			return 1;
		}
	more = varbos_alloc_with(space, size, options);
	if (!more)
		return fail("held no more: alloc");
	memset(more, 'y', size);
	if (varbos_free(space, more) || varbos_trim(space))
		return fail("held no more: free");
	puts("still held");
	return 0;
}

int main(int argc, char **argv)
{
	struct varbos_alloc_options options = {};
	struct varbos_space *space;
	unsigned long count = 1;
	struct varbos *vb;
	char *first = NULL;
	sigset_t asked;
	size_t size;
	int number;

	if (argc < 3 || parse(argv + 3, &options, &count)) {
		fprintf(stderr, "usage: hold SPACE BYTES [KEY=VALUE...]\n");
		return 2;
	}
	size = strtoull(argv[2], NULL, 0);
	sigemptyset(&asked);
	sigaddset(&asked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &asked, NULL);
	if (varbos_connect(&vb, NULL))
		return fail("connect");
	/* An emulated machine on a busy one takes its time for a page of 1 GiB. */
	if (varbos_set_timeout(vb, 120000))
		return fail("timeout");
	if (varbos_space_open(&space, vb, argv[1], NULL))
		return fail("open");
	for (unsigned long i = 0; i < count; i++) {
		char *memory = varbos_alloc_with(space, size, &options);

		if (!memory && !i)
			return fail("alloc");
		if (!memory) {
			fail("alloc");
			break;
		}
		memset(memory, 'x', size);
		if (!first)
			first = memory;
		printf("at %p\n", (void *)memory);
	}
	puts("held");
	fflush(stdout);
	while (!sigwait(&asked, &number) && !look(space, &options, first, size))
		fflush(stdout);
	return 1;
}
