/*
 * where PID ADDRESS BYTES [STEP] - on which NUMA nodes another process's memory lies, as the kernel
 * tells by move_pages(2): "0:12 1:4" are sixteen pages looked at (one each STEP bytes, 4096), of
 * which twelve lie on node 0. What is not there is "absent:N".
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BATCH = 512, NODES = 64 };

int main(int argc, char **argv)
{
	unsigned long counts[NODES] = {}, absent = 0;
	uint64_t address, bytes, step = 4096;
	void *pages[BATCH];
	int status[BATCH];
	pid_t pid;

	if (argc < 4)
		return 2;
	pid = atoi(argv[1]);
	address = strtoull(argv[2], NULL, 0);
	bytes = strtoull(argv[3], NULL, 0);
	if (argc > 4)
		step = strtoull(argv[4], NULL, 0);
	for (uint64_t at = 0; at < bytes;) {
		unsigned long n = 0;

		for (; n < BATCH && at < bytes; at += step)
			pages[n++] = (void *)(uintptr_t)(address + at);
		if (syscall(SYS_move_pages, pid, n, pages, NULL, status, 0)) {
			fprintf(stderr, "move_pages: %s\n", strerror(errno));
			return 1;
		}
		for (unsigned long i = 0; i < n; i++) {
			if (status[i] >= 0 && status[i] < NODES)
				counts[status[i]]++;
			else
				absent++;
		}
	}
	for (unsigned node = 0, any = 0; node < NODES; node++)
		if (counts[node])
			printf("%s%u:%lu", any++ ? " " : "", node, counts[node]);
	if (absent)
		printf(" absent:%lu", absent);
	putchar('\n');
	return 0;
}
