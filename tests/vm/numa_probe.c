/*
 * numa_probe - does each policy put memory where it says? Asked of the pages themselves, by
 * another process than the one that allocated them.
 *
 *   numa_probe nodes                     the nodes that have memory, as "0,2-3"
 *   numa_probe lands POLICY MIB NODES    allocate MIB in pieces of 2 MiB under POLICY ("local",
 *                                        "bind:1", ...) in a space of its own; a child that opens
 *                                        the space reads every page's node: all in NODES, and of
 *                                        an interleaved one each of NODES has its part
 *   numa_probe call POLICY MIB NODES     the same, the policy given with each allocation
 *   numa_probe fill POLICY MIB           allocate and write until refused, MIB at most: prints how
 *                                        much it got and why no more, and checks that all of it can
 *                                        still be read: nobody gets SIGBUS. Exit 3 if never refused
 *
 * $VARBOS_SOCKET says which daemon. It prints "node N: BYTES" and exits 1 on what is not so.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#define PIECE ((uint64_t)2 << 20)
enum { NODES = 64, PIECES_MAX = 4096, REFUSED_NEVER = 3 };

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* "0,2-3" as a mask. */
static uint64_t nodes_of(const char *text)
{
	uint64_t nodes = 0;

	while (*text) {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text)
			die("'%s' is no set of nodes", text);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < NODES; first++)
			nodes |= (uint64_t)1 << first;
		text = *end == ',' ? end + 1 : end;
		if (*end && *end != ',')
			die("'%s' is no set of nodes", text);
	}
	return nodes;
}

static void policy_of(const char *text, enum varbos_numa *ret, uint64_t *ret_nodes)
{
	static const char *const names[] = {"default", "local", "bind", "interleave",
					    "preferred"};
	size_t n = strcspn(text, ":");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == n && !memcmp(names[i], text, n)) {
			*ret = (enum varbos_numa)i;
			*ret_nodes = text[n] ? nodes_of(text + n + 1) : 0;
			return;
		}
	die("'%s' is no policy", text);
}

/* Bytes of [memory, memory + size) on each node, by its pages. */
static void look(char *memory, uint64_t size, uint64_t bytes[NODES])
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t at = 0; at < size; at += page) {
		void *address = memory + at;
		int status = -1;

		(void)*(volatile char *)address; /* into this process's page table */
		if (syscall(SYS_move_pages, 0, 1, &address, NULL, &status, 0))
			die("move_pages: %m");
		if (status < 0 || status >= NODES)
			die("the page at offset %" PRIu64 " is nowhere: %d", at, status);
		bytes[status] += page;
	}
}

/* An emulated machine on a busy one takes its time. */
static struct varbos *connect_patiently(void)
{
	struct varbos *vb;

	if (varbos_connect(&vb, NULL) || varbos_set_timeout(vb, 120000))
		die("%s", varbos_error()->message);
	return vb;
}

/* In a process that opened the space by itself. */
static void look_from_outside(const char *space_name, const varbos_ref *refs, uint32_t n,
			      uint64_t bytes[NODES])
{
	struct varbos_space *space;
	struct varbos *vb;
	int pair[2], status;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair: %m");
	child = fork();
	if (child < 0)
		die("fork: %m");
	if (!child) {
		const struct varbos_space_options read_only = {.flags = VARBOS_SPACE_READ_ONLY};
		uint64_t seen[NODES] = {0};

		vb = connect_patiently();
		if (varbos_space_open(&space, vb, space_name, &read_only))
			die("outside: %s", varbos_error()->message);
		for (uint32_t i = 0; i < n; i++) {
			char *memory = varbos_ref_get(space, refs[i]);

			if (!memory)
				die("outside: %s", varbos_error()->message);
			if (memory[0] != (char)i || memory[PIECE - 1] != (char)~i)
				die("piece %u does not contain what was written", i);
			look(memory, PIECE, seen);
		}
		if (write(pair[1], seen, sizeof(seen)) != sizeof(seen))
			_exit(1);
		_exit(0);
	}
	close(pair[1]);
	if (recv(pair[0], bytes, sizeof(uint64_t) * NODES, MSG_WAITALL) !=
	    sizeof(uint64_t) * NODES)
		die("the process outside did not answer");
	close(pair[0]);
	if (waitpid(child, &status, 0) != child || status)
		die("the process outside ended by status 0x%x", status);
}

static struct varbos_space *open_space(struct varbos *vb, const char *name,
				       struct varbos_space_options options)
{
	struct varbos_space *space;

	options.client_limit = options.limit;
	options.flags = VARBOS_SPACE_NEW;
	if (varbos_space_open(&space, vb, name, &options))
		die("%s", varbos_error()->message);
	return space;
}

static char *piece_new(struct varbos_space *space, const struct varbos_alloc_options *how,
		       uint32_t i)
{
	char *memory = varbos_alloc_with(space, PIECE, how);

	if (memory) {
		memset(memory, (int)i, PIECE);
		memory[PIECE - 1] = (char)~i;
	}
	return memory;
}

static int lands(const char *policy, const char *mib, const char *nodes, bool by_call)
{
	uint64_t bytes[NODES] = {0}, wanted = nodes_of(nodes), most = 0, least = UINT64_MAX;
	uint32_t n = (uint32_t)(strtoul(mib, NULL, 10) / 2);
	struct varbos_space_options options = {.limit = n * PIECE};
	struct varbos_alloc_options how = {0};
	varbos_ref refs[PIECES_MAX];
	struct varbos_space *space;
	enum varbos_numa kind;
	struct varbos *vb;
	uint64_t set;
	char name[48];

	if (!n || n > PIECES_MAX)
		die("2 to %u MiB, not %s", PIECES_MAX * 2, mib);
	policy_of(policy, &kind, &set);
	if (by_call) {
		how.numa = kind;
		how.nodes = set;
	} else {
		options.numa = kind;
		options.nodes = set;
	}
	vb = connect_patiently();
	snprintf(name, sizeof(name), "probe-%d", (int)getpid());
	space = open_space(vb, name, options);
	for (uint32_t i = 0; i < n; i++) {
		char *memory = piece_new(space, &how, i);

		if (!memory)
			die("piece %u: %s", i, varbos_error()->message);
		refs[i] = varbos_ref_of(space, memory);
	}
	look_from_outside(name, refs, n, bytes);
	for (uint32_t node = 0; node < NODES; node++) {
		if (bytes[node])
			printf("node %u: %" PRIu64 "\n", node, bytes[node]);
		if (bytes[node] && !(wanted >> node & 1))
			die("%s: memory on node %u, which is not in %s", policy, node, nodes);
		if (!(wanted >> node & 1))
			continue;
		most = bytes[node] > most ? bytes[node] : most;
		least = bytes[node] < least ? bytes[node] : least;
	}
	if (kind == VARBOS_NUMA_INTERLEAVE && most - least > PIECE)
		die("%s: %" PRIu64 " bytes on one node, %" PRIu64 " on another", policy, most,
		    least);
	varbos_space_close(space);
	if (varbos_space_remove(vb, name, 0))
		die("%s", varbos_error()->message);
	varbos_disconnect(vb);
	return 0;
}

static int fill(const char *policy, const char *mib)
{
	static char *pieces[PIECES_MAX];
	uint32_t most = (uint32_t)(strtoul(mib, NULL, 10) / 2), n = 0;
	struct varbos_space_options options = {0};
	const struct varbos_alloc_options how = {0};
	uint64_t bytes[NODES] = {0};
	struct varbos_space *space;
	struct varbos *vb;
	char name[48];

	if (!most || most > PIECES_MAX)
		die("2 to %u MiB, not %s", PIECES_MAX * 2, mib);
	policy_of(policy, &options.numa, &options.nodes);
	options.limit = most * PIECE;
	vb = connect_patiently();
	snprintf(name, sizeof(name), "fill-%d", (int)getpid());
	space = open_space(vb, name, options);
	while (n < most && (pieces[n] = piece_new(space, &how, n)))
		n++;
	for (uint32_t i = 0; i < n; i++) {
		if (pieces[i][0] != (char)i || pieces[i][PIECE - 1] != (char)~i)
			die("piece %u does not contain what was written", i);
		look(pieces[i], PIECE, bytes);
	}
	for (uint32_t node = 0; node < NODES; node++)
		if (bytes[node])
			printf("node %u: %" PRIu64 "\n", node, bytes[node]);
	if (n == most)
		printf("never refused: %" PRIu64 " MiB\n", n * PIECE >> 20);
	else
		printf("refused after %" PRIu64 " MiB: %s: %s\n", n * PIECE >> 20,
		       varbos_code_name(varbos_error()->code), varbos_error()->message);
	varbos_space_close(space);
	if (varbos_space_remove(vb, name, 0))
		die("%s", varbos_error()->message);
	varbos_disconnect(vb);
	return n == most ? REFUSED_NEVER : 0;
}

static int show_nodes(void)
{
	FILE *file = fopen("/sys/devices/system/node/has_memory", "re");
	char text[256] = "0\n";

	if (file && !fgets(text, sizeof(text), file))
		die("has_memory: %m");
	if (file)
		fclose(file);
	fputs(text, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "nodes"))
		return show_nodes();
	if (argc == 5 && (!strcmp(argv[1], "lands") || !strcmp(argv[1], "call")))
		return lands(argv[2], argv[3], argv[4], !strcmp(argv[1], "call"));
	if (argc == 4 && !strcmp(argv[1], "fill"))
		return fill(argv[2], argv[3]);
	die("numa_probe nodes | lands POLICY MIB NODES | call POLICY MIB NODES | fill POLICY "
	    "MIB");
}
