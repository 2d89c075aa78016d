#include "client/ctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/membership.h"
#include "proto/stats_file.h"

/* It beats at least every second. */
enum { BEAT_LATE_MS = 3000 };

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void unmapp(const struct stats_file **file)
{
	if (*file)
		munmap((void *)(uintptr_t)*file, sizeof(**file));
}

/* What every daemon's has; what follows, newer ones. */
#define LEAST offsetof(struct stats_file, quarantine)

static enum answer file_map(const struct stats_file **ret, uint64_t *ret_size, const char *path)
{
	_cleanup_(closep) int fd = -1;
	char hint[MEMBERSHIP_TEXT_MAX];
	struct stats_file header;
	struct stat info;
	ssize_t size;
	void *memory;

	/* O_NONBLOCK: should it be a pipe, nobody waits for its other end. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == EACCES)
		return answer_say(ANSWER_PERMISSION, "%s: %s%s", path, strerror(EACCES),
				  membership_hint(hint, sizeof(hint), path));
	if (fd < 0)
		return answer_say(ANSWER_UNREACHABLE, "%s: no daemon's statistics (%s)", path,
				  strerror(errno));
	if (fstat(fd, &info))
		return answer_say(ANSWER_FAILED, "%s: %s", path, strerror(errno));

	size = S_ISREG(info.st_mode)
		       ? pread(fd, &header, offsetof(struct stats_file, copies), 0)
		       : 0;
	if (size < 0)
		return answer_say(ANSWER_FAILED, "%s: %s", path, strerror(errno));
	if ((size_t)size < offsetof(struct stats_file, pid) || header.magic != STATS_MAGIC)
		return answer_say(ANSWER_FAILED, "%s: not a statistics file", path);
	if (header.layout != LAYOUT_VERSION)
		return answer_say(ANSWER_VERSION, "%s: has layout %u, this varbosctl reads %u",
				  path, header.layout, LAYOUT_VERSION);
	if (!mutant(ctl_stats_unmeasured) &&
	    (header.size < LEAST || (uint64_t)info.st_size < LEAST))
		return answer_say(ANSWER_FAILED,
				  "%s: short: has %jd bytes and says %u, needs %zu", path,
				  (intmax_t)info.st_size, header.size, LEAST);

	memory = mmap(NULL, sizeof(struct stats_file), PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return answer_say(ANSWER_FAILED, "%s: %s", path, strerror(errno));
	*ret = memory;
	*ret_size = u64_min(header.size, (uint64_t)info.st_size);
	return ANSWER_OK;
}

/*
 * Is there a process of that number which is old enough to have written the last beat? A
 * zombie writes no more. /proc counts from boot with the time asleep, the beat without: so
 * a process may seem older than it is, never younger.
 */
static bool process_lives(uint32_t pid, uint64_t age_ns)
{
	_cleanup_(closep) int fd = -1;
	char path[64], text[1024], *at;
	unsigned long long start_ticks;
	uint64_t start_ns;
	ssize_t size;
	char state;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno != ENOENT;
	size = read(fd, text, sizeof(text) - 1);
	if (size <= 0)
		return false;
	text[size] = 0;

	/* Field 2 is a name that may hold anything; 3 is the state, 22 the start. */
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at,
		   ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
		   "%*d %*d %llu",
		   &state, &start_ticks) != 2)
		return true;
	if (state == 'Z' || state == 'X')
		return false;
	start_ns = start_ticks * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
	return start_ns <= clock_ns(CLOCK_BOOTTIME) - age_ns;
}

/* Where processes are numbered otherwise (a container), the socket tells. */
static bool socket_answers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return false;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	return !connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	       errno == EAGAIN;
}

static enum snapshot_writer writer_find(const struct snapshot *snapshot, const char *socket)
{
	if (process_lives(snapshot->pid, snapshot->age_ms * 1000000))
		return snapshot->age_ms < BEAT_LATE_MS ? SNAPSHOT_ALIVE : SNAPSHOT_SILENT;
	if (!socket_answers(socket))
		return SNAPSHOT_DEAD;
	return snapshot->age_ms < BEAT_LATE_MS ? SNAPSHOT_ALIVE : SNAPSHOT_SILENT;
}

enum answer snapshot_new(struct snapshot **ret, const char *socket)
{
	_cleanup_(freep) struct snapshot *snapshot = NULL;
	_cleanup_(unmapp) const struct stats_file *file = NULL;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".stats")];
	uint64_t beat_ns, now_ns, size = 0;
	enum answer answer;

	if ((size_t)snprintf(path, sizeof(path), "%s.stats", socket) >= sizeof(path))
		return answer_say(ANSWER_USAGE, "%s: longer than a socket's path can be",
				  socket);
	answer = file_map(&file, &size, path);
	if (answer)
		return answer;
	snapshot = calloc(1, sizeof(*snapshot));
	if (!snapshot)
		return answer_say(ANSWER_FAILED, "%s", strerror(ENOMEM));

	if (stats_file_read(file, &snapshot->copy))
		return answer_say(ANSWER_FAILED, "%s: changed too often to be read", path);
	snapshot->pid = file->pid;
	snapshot->page_shift = file->page_shift & 63;
	snapshot->epoch = file->epoch;
	snapshot->isolates = file->isolates;
	memcpy(snapshot->version, file->version, sizeof(snapshot->version));
	snapshot->version[sizeof(snapshot->version) - 1] = 0;

	if (size >= sizeof(*file)) {
		memcpy(snapshot->quarantine, file->quarantine, sizeof(snapshot->quarantine));
		snapshot->quarantine[sizeof(snapshot->quarantine) - 1] = 0;
		snapshot->losses = atomic_load_explicit(&file->losses, memory_order_relaxed);
	}
	beat_ns = atomic_load_explicit(&file->beat_ns, memory_order_acquire);
	now_ns = clock_ns(CLOCK_MONOTONIC);
	snapshot->read_ms = now_ns / 1000000;
	snapshot->age_ms = beat_ns < now_ns ? (now_ns - beat_ns) / 1000000 : 0;
	snapshot->writer = writer_find(snapshot, socket);

	*ret = TAKE_PTR(snapshot);
	return ANSWER_OK;
}
