/*
 * hold SPACE BYTES [shared=1] [count=N] [numa=POLICY] [nodes=MASK] - a client that allocates BYTES, N
 * times (1), fills what it got, says for each "at ADDRESS", then "held", and waits for a signal.
 * Refused, it says why; and ends with status 1 if that was the first, or else holds what it has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
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

int main(int argc, char **argv)
{
	struct varbos_alloc_options options = {};
	struct varbos_space *space;
	unsigned long count = 1;
	struct varbos *vb;
	size_t size;

	if (argc < 3 || parse(argv + 3, &options, &count)) {
		fprintf(stderr, "usage: hold SPACE BYTES [KEY=VALUE...]\n");
		return 2;
	}
	size = strtoull(argv[2], NULL, 0);
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
		printf("at %p\n", (void *)memory);
	}
	puts("held");
	fflush(stdout);
	for (;;)
		pause();
}
