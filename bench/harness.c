#include "bench/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "bench/ctl.h"

enum {
	ROUND = 200, /* operations before it is the other's turn */
	SAMPLES_MAX = 2000000,
	START_MS = 10000,
	STOP_MS = 5000,
};

const char *const place_names[PLACES_N] = {"same-core", "cross-core"};

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	interrupted = number;
}

void harness_heed(struct harness *harness)
{
	if (interrupted)
		harness_die(harness, "interrupted");
}

void harness_die(struct harness *harness, const char *format, ...)
{
	va_list args;

	fputs("varbos-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	putc('\n', stderr);
	harness_deinit(harness);
	exit(EXIT_FAILURE);
}

/* ---- processors ---- */

void harness_pin(struct harness *harness, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		harness_die(harness, "processor %d: %s", cpu, strerror(errno));
}

/* Package and core in one number, or the processor's own if the kernel does not say. */
static long core_of(int cpu)
{
	static const char *const files[] = {"physical_package_id", "core_id"};
	long core = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[128];
		FILE *file;
		int value;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/%s", cpu,
			 files[i]);
		file = fopen(path, "re");
		if (!file)
			return -1 - cpu;
		if (fscanf(file, "%d", &value) != 1)
			value = cpu;
		fclose(file);
		core = core * 65536 + value;
	}
	return core;
}

static void cpus_find(struct harness *harness)
{
	harness->cpus[SAME_CORE] = harness->cpus[CROSS_CORE] = -1;
	if (sched_getaffinity(0, sizeof(harness->allowed), &harness->allowed))
		harness_die(harness, "processors: %s", strerror(errno));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &harness->allowed))
			continue;
		if (harness->cpus[SAME_CORE] < 0)
			harness->cpus[SAME_CORE] = cpu;
		else if (harness->cpus[CROSS_CORE] < 0 &&
			 core_of(cpu) != core_of(harness->cpus[SAME_CORE]))
			harness->cpus[CROSS_CORE] = cpu;
	}
	if (harness->cpus[CROSS_CORE] < 0)
		fputs("varbos-bench: one core only: no cross-core rows\n", stderr);
}

/* ---- the raw peer ---- */

static void raw_serve(int fd)
{
	char bytes[RAW_BYTES];

	while (recv(fd, bytes, sizeof(bytes), 0) == sizeof(bytes))
		if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes))
			break;
}

static void raw_start(struct harness *harness)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		harness_die(harness, "socketpair: %s", strerror(errno));
	harness->raw = fork();
	if (harness->raw < 0)
		harness_die(harness, "fork: %s", strerror(errno));
	if (!harness->raw) {
		close(pair[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		harness_pin(harness, harness->cpus[SAME_CORE]);
		raw_serve(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	harness->raw_socket = pair[0];
}

void raw_round_trip(struct harness *harness)
{
	char bytes[RAW_BYTES] = {0};

	if (send(harness->raw_socket, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes) ||
	    recv(harness->raw_socket, bytes, sizeof(bytes), 0) != sizeof(bytes))
		harness_die(harness, "the raw peer is gone");
}

/* ---- the daemon ---- */

/* $VARBOSD, or the one that was built along with this program. */
static void daemon_find(struct harness *harness, char *ret, size_t size)
{
	const char *said = getenv("VARBOSD");

	if (said && *said)
		snprintf(ret, size, "%s", said);
	else if (!ctl_beside(ret, size, "varbosd") &&
		 !ctl_beside(ret, size, "../daemon/server/varbosd"))
		harness_die(harness, "no varbosd beside this program: set VARBOSD");
}

static void daemon_exec(struct harness *harness, const char *path, const char *region,
			bool kept)
{
	char log[96];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	harness_pin(harness, harness->cpus[SAME_CORE]);
	snprintf(log, sizeof(log), "%s/log", harness->folder);
	fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	if (kept)
		execl(path, "varbosd", "--keep", "--no-config", "--socket", harness->socket,
		      "--size", region, "--pages", "auto", (char *)NULL);
	else
		execl(path, "varbosd", "--no-config", "--socket", harness->socket, "--size",
		      region, "--pages", "auto", (char *)NULL);
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void log_show(const struct harness *harness)
{
	char path[96], line[512];
	FILE *log;

	snprintf(path, sizeof(path), "%s/log", harness->folder);
	log = fopen(path, "re");
	while (log && fgets(line, sizeof(line), log))
		fprintf(stderr, "varbosd: %s", line);
	if (log)
		fclose(log);
}

static void daemon_start(struct harness *harness, const char *region, bool kept)
{
	uint64_t deadline_ns = now_ns() + (uint64_t)START_MS * 1000000;
	const char *temporary = getenv("TMPDIR");
	char path[4096 + 64];

	daemon_find(harness, path, sizeof(path));
	if ((size_t)snprintf(harness->folder, sizeof(harness->folder), "%s/varbos-bench-XXXXXX",
			     temporary && *temporary ? temporary : "/tmp") >=
	    sizeof(harness->folder)) {
		harness->folder[0] = 0;
		harness_die(harness, "$TMPDIR is too long for a socket: %s", temporary);
	}
	if (!mkdtemp(harness->folder)) {
		harness->folder[0] = 0;
		harness_die(harness, "a temporary folder: %s", strerror(errno));
	}
	snprintf(harness->socket, sizeof(harness->socket), "%s/sock", harness->folder);

	harness->daemon = fork();
	if (harness->daemon < 0)
		harness_die(harness, "fork: %s", strerror(errno));
	if (!harness->daemon)
		daemon_exec(harness, path, region, kept);

	while (varbos_connect(&harness->vb, harness->socket)) {
		if (waitpid(harness->daemon, NULL, WNOHANG) == harness->daemon) {
			harness->daemon = 0;
			log_show(harness);
			harness_die(harness, "%s did not start", path);
		}
		if (now_ns() > deadline_ns) {
			log_show(harness);
			harness_die(harness, "%s: %s", path, varbos_error()->message);
		}
		sleep_ms(10);
	}
}

static void daemon_stop(struct harness *harness)
{
	kill(harness->daemon, SIGTERM);
	for (unsigned waited = 0; waited < STOP_MS; waited += 10) {
		if (waitpid(harness->daemon, NULL, WNOHANG))
			return;
		sleep_ms(10);
	}
	kill(harness->daemon, SIGKILL);
	waitpid(harness->daemon, NULL, 0);
}

static void folder_remove(const char *path)
{
	struct dirent *entry;
	DIR *folder;

	folder = opendir(path);
	while (folder && (entry = readdir(folder)))
		unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(path);
}

void harness_init_alone(struct harness *harness, bool quick)
{
	*harness = (struct harness){.quick = quick, .raw_socket = -1};
}

void harness_init(struct harness *harness, bool quick, const char *size, bool kept)
{
	const struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};

	harness_init_alone(harness, quick);
	/* So that the folder goes in any case. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	cpus_find(harness);
	raw_start(harness);
	daemon_start(harness, size ? size : "256M", kept);
}

void harness_deinit(struct harness *harness)
{
	varbos_disconnect(harness->vb);
	if (harness->daemon > 0)
		daemon_stop(harness);
	if (harness->raw_socket >= 0)
		close(harness->raw_socket);
	if (harness->raw > 0)
		waitpid(harness->raw, NULL, 0);
	if (harness->folder[0])
		folder_remove(harness->folder);
	/* Else the next bench would find one processor only. */
	if (CPU_COUNT(&harness->allowed))
		sched_setaffinity(0, sizeof(harness->allowed), &harness->allowed);
	*harness = (struct harness){.raw_socket = -1};
}

/* ---- measuring ---- */

static void round_run(struct harness *harness, struct series *series,
		      void (*operation)(struct harness *harness, void *userdata),
		      void *userdata)
{
	for (int i = 0; i < ROUND && !series_full(series); i++) {
		uint64_t start_ns = now_ns();

		operation(harness, userdata);
		series_add(series, now_ns() - start_ns);
	}
}

static void raw_operation(struct harness *harness, void *userdata)
{
	(void)userdata;
	raw_round_trip(harness);
}

static void compare_at(struct harness *harness, const char *bench, uint64_t size,
		       enum seat place,
		       void (*operation)(struct harness *harness, void *userdata),
		       void *userdata)
{
	uint64_t ms = harness->quick ? 500 : 15000, end_ns;
	struct series raw, varbos;

	series_init(&raw, SAMPLES_MAX);
	series_init(&varbos, SAMPLES_MAX);
	harness_pin(harness, harness->cpus[place]);

	/* The first round finds its caches and its first memory. */
	round_run(harness, &raw, raw_operation, NULL);
	round_run(harness, &varbos, operation, userdata);
	raw.n = varbos.n = 0;

	end_ns = now_ns() + ms * 1000000;
	while (now_ns() < end_ns && !series_full(&raw)) {
		round_run(harness, &raw, raw_operation, NULL);
		round_run(harness, &varbos, operation, userdata);
		harness_heed(harness);
	}

	row_print(&(struct row){bench, "raw", place_names[place], RAW_BYTES}, &raw);
	row_print(&(struct row){bench, "varbos", place_names[place], size}, &varbos);
	fprintf(stderr, "%s, %s: varbos/raw %.2f\n", bench, place_names[place],
		(double)series_percentile(&varbos, 50) / (double)series_percentile(&raw, 50));
	series_deinit(&raw);
	series_deinit(&varbos);
}

void harness_compare(struct harness *harness, const char *bench, uint64_t size,
		     void (*operation)(struct harness *harness, void *userdata), void *userdata)
{
	for (unsigned place = 0; place < PLACES_N; place++)
		if (harness->cpus[place] >= 0)
			compare_at(harness, bench, size, (enum seat)place, operation, userdata);
}
