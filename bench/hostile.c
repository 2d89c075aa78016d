/*
 * hostile - how long a ping, or a hit, takes beside a process of another uid that does what no client
 * should, by what it takes beside one that is as busy and harmless.
 *
 * The harmless one is the same loop, at the same seat, with traffic that is in order: where the
 * hostile one comes and goes, it comes, says hello, pings, says bye and goes; where that sends
 * frames, it keeps as many requests under way as the daemon allows. It never sleeps either, but
 * looks for its answers without waiting. So both burn all the processor time that the scheduler
 * lets them have, and keep the daemon busy. One that slept until it is answered would leave the
 * processor to those it is measured with, and the figure would be the scheduler's; one that only
 * spins would leave the daemon alone, and whoever asks it for anything takes time from others:
 * that is no hostility.
 *
 * Both run in turn, in short rounds, each time afresh. A row's `ratio` is the median over the
 * rounds of the one's p99 by the other's p99 in the same round; `p50`, `p99` and `n` are of all
 * pings beside the hostile one, `beside` is the p99 beside the harmless one. Where the kernel
 * refuses descriptors by itself (SO_PASSRIGHTS), two of the kinds measure just that.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/besieger.h"
#include "bench/dice.h"
#include "bench/harness.h"
#include "proto/wire.h"

enum {
	NEIGHBOUR = 65534, /* uids without any right */
	VICTIM = 12345,
	ROUNDS = 11,
	ROUNDS_QUICK = 1,
	ROUND_MS = 400,
	ROUND_MS_QUICK = 80,
	SETTLE_MS = 40, /* until the neighbour does what it does, and until it has ended */
	ROUND_PINGS = 100000,
	CONNECTIONS = 4000,
	RIGHTS_MAX = 253, /* SCM_MAX_FD */
	KEYS = 1000,
	VALUE = 64,
	HITS_BETWEEN = 240, /* that are not measured: a round lasts its time */
};

/* Of the process that pings, for the one that counts. */
struct pings {
	uint64_t n;
	bool failed;
	char why[256];
	uint64_t ns[ROUND_PINGS];
};

struct kind {
	const char *name, *text;
	void (*act)(const char *path), (*harmless)(const char *path); /* until killed */
	bool hits; /* instead of pings: of keys of its own cache */
};

/* ---- talking ---- */

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)))
		close(TAKE_FD(fd));
	return fd;
}

static bool say(int fd, uint64_t id, enum wire_method method, const void *params)
{
	char buf[512];
	int n = wire_encode_request(buf, sizeof(buf), id, method, params);

	return n > 0 && send(fd, buf, (size_t)n, MSG_NOSIGNAL) == n;
}

static const struct wire_hello hello = {
	.protocol = WIRE_PROTOCOL, .layout_min = 1, .layout_max = 1};

/* A session, unless the daemon refuses one. */
static int join(const char *path)
{
	static char answer[WIRE_MESSAGE_MAX];
	int fd = dial(path);

	if (fd >= 0 &&
	    (!say(fd, 1, WIRE_HELLO, &hello) || recv(fd, answer, sizeof(answer), 0) <= 0))
		close(TAKE_FD(fd));
	return fd;
}

/* A session of a process that has had many: each is another process's. */
static void in_children(const char *path, void (*act)(const char *path))
{
	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			act(path);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			_exit(1);
	}
}

/* ---- harmless ---- */

static bool answered(int fd)
{
	static char answer[WIRE_MESSAGE_MAX];
	ssize_t n;

	do
		n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	while (n < 0 && errno == EAGAIN);
	return n > 0;
}

static void ask(const char *path, enum wire_method method)
{
	union wire_body body = {};
	int fd = join(path);
	uint64_t id = 2;

	for (; id < 2 + WIRE_INFLIGHT_MAX; id++)
		say(fd, id, method, &body);
	while (answered(fd))
		say(fd, id++, method, &body);
}

static void ping(const char *path)
{
	ask(path, WIRE_PING);
}

static void list(const char *path)
{
	ask(path, WIRE_SPACE_LIST);
}

/* Of all that can be asked by whoever has no space, with a new session now and then. */
static void ask_this_and_that(const char *path)
{
	static const enum wire_method methods[] = {WIRE_PING, WIRE_SPACE_LIST, WIRE_STATUS,
						   WIRE_CLIENT_LIST, WIRE_NUMA_NODES};
	union wire_body body = {};

	for (;;) {
		int fd = join(path);
		uint64_t id = 2;

		if (fd < 0)
			return;
		while (id < 20 && say(fd, id, methods[id % ARRAY_SIZE(methods)], &body) &&
		       answered(fd))
			id++;
		if (say(fd, id, WIRE_BYE, &body))
			answered(fd);
		close(fd);
	}
}

static void come_and_go(const char *path)
{
	for (;;) {
		int fd = dial(path);

		if (fd < 0)
			continue;
		if (say(fd, 1, WIRE_HELLO, &hello) && answered(fd) &&
		    say(fd, 2, WIRE_PING, &(struct wire_ping){}) && answered(fd) &&
		    say(fd, 3, WIRE_BYE, &(struct wire_empty){}))
			answered(fd);
		close(fd);
	}
}

/* Puts into a cache of its own, and asks this and that, as fast as it can. */
static void put(const char *path)
{
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_cache *cache;
	char value[4096] = "";

	if (varbos_connect(&vb, path) || varbos_space_open(&space, vb, "harmless", NULL) ||
	    varbos_cache_open(&cache, space, "c",
			      &(struct varbos_cache_options){.capacity = 1 << 20}))
		return;
	for (uint64_t key = 0;; key++) {
		varbos_cache_put(cache, &key, sizeof(key), value, 64 + key % 4000, NULL);
		if (key % 8 == 0)
			varbos_ping(vb, NULL);
	}
}

/* ---- hostile ---- */

/* All of it at once, as random as it comes. */
static void lay_siege(const char *path)
{
	besiege(&(struct siege){.socket = path,
				.space = "siege",
				.seed = (uint64_t)getpid(),
				.counts = -1,
				.alone = true,
				.lifeline = -1});
}

static void never_say_hello(const char *path)
{
	for (;;) {
		int fd = dial(path);

		if (fd >= 0)
			close(fd);
	}
}

static void hold_connections(const char *path)
{
	static int fds[CONNECTIONS];

	memset(fds, -1, sizeof(fds));
	for (uint32_t i = 0;; i = (i + 1) % CONNECTIONS) {
		closep(&fds[i]);
		fds[i] = dial(path);
	}
}

static void not_read(const char *path)
{
	int fd = join(path);

	for (uint64_t id = 2; say(fd, id, WIRE_SPACE_LIST, &(struct wire_page_after){}); id++)
		;
}

static void never_read(const char *path)
{
	in_children(path, not_read);
}

static void send_fds(int to, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	} control = {};
	char byte = 'x';
	struct iovec piece = {&byte, 1};
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	(void)!sendmsg(to, &header, MSG_NOSIGNAL);
}

static void send_files(const char *path)
{
	int fds[RIGHTS_MAX];

	for (int i = 0; i < RIGHTS_MAX; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (;;) {
		int fd = dial(path);

		if (fd < 0)
			continue;
		send_fds(fd, fds, RIGHTS_MAX);
		close(fd);
	}
}

/* A socket whose last close waits for a reader that never reads. */
static int lingering(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static char bytes[1 << 16];
	socklen_t size = sizeof(address);
	int here = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(here, (struct sockaddr *)&address, sizeof(address)) || listen(here, 1) ||
	    getsockname(here, (struct sockaddr *)&address, &size) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		_exit(1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 60},
		   sizeof(struct linger));
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return fd;
}

static void send_lingering(const char *path)
{
	int fd = lingering();

	for (;;) {
		int to = dial(path);

		if (to < 0)
			continue;
		send_fds(to, &fd, 1);
		close(to);
	}
}

static uint64_t roll(void)
{
	static uint64_t state = 1;

	return dice(&state);
}

static size_t random_frame(char *buf)
{
	size_t n = 1 + roll() % 300;

	for (size_t i = 0; i < n; i++)
		buf[i] = (char)roll();
	return n;
}

static size_t mutated_frame(char *buf, size_t size)
{
	enum wire_method method = (enum wire_method)(roll() % WIRE_METHODS_N);
	union wire_body body = {};
	int n;

	n = wire_encode_request(buf, size, 1 + roll() % 40, method, &body);
	for (uint64_t flips = roll() % 4; n > 0 && flips; flips--)
		buf[roll() % (uint64_t)n] ^= (char)(1 << roll() % 8);
	return n > 0 ? (size_t)n : 1;
}

static void send_frames(const char *path, bool mutated)
{
	static char buf[4096], answer[WIRE_MESSAGE_MAX];
	int fd = -1;

	for (int joins = 0; joins < 32;) {
		size_t n = mutated ? mutated_frame(buf, sizeof(buf)) : random_frame(buf);

		if (fd < 0) {
			fd = join(path);
			joins++;
		}
		if (fd < 0)
			break;
		if (send(fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
			close(TAKE_FD(fd));
		while (fd >= 0 && recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
			;
	}
}

static void random_frames(const char *path)
{
	send_frames(path, false);
}

static void mutated_frames(const char *path)
{
	send_frames(path, true);
}

static void send_random(const char *path)
{
	in_children(path, random_frames);
}

static void send_mutated(const char *path)
{
	in_children(path, mutated_frames);
}

static const struct kind kinds[] = {
	{"no-hello", "connects and goes, again and again", never_say_hello, come_and_go, false},
	{"connections", "holds as many connections as it gets", hold_connections, come_and_go,
	 false},
	{"unread", "asks for lists and reads none", never_read, list, false},
	{"files", "sends 253 descriptors at a time", send_files, come_and_go, false},
	{"lingering", "sends a socket that lingers", send_lingering, come_and_go, false},
	{"random", "sends random frames", send_random, ping, false},
	{"mutated", "sends mutated frames", send_mutated, ask_this_and_that, false},
	{"siege", "does all that no client should", lay_siege, put, true},
};

/* ---- measuring ---- */

static void become(struct harness *harness, uint32_t uid, enum seat seat)
{
	struct rlimit files;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* its own children end with it */
	harness_pin(harness, harness->cpus[seat]);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (setgid(uid) || setuid(uid))
		_exit(1);
	/* That has taken it back. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static pid_t neighbour_start(struct harness *harness, void (*act)(const char *path),
			     enum seat seat)
{
	pid_t pid = fork();

	if (pid < 0)
		harness_die(harness, "hostile: fork: %s", strerror(errno));
	if (!pid) {
		become(harness, NEIGHBOUR, seat);
		act(harness->socket);
		_exit(0);
	}
	setpgid(pid, pid);
	return pid;
}

static void ping_for(struct harness *harness, struct pings *pings, uint32_t ms)
{
	struct varbos *vb;
	uint64_t end_ns, start_ns;

	if (varbos_connect(&vb, harness->socket))
		goto failed;
	end_ns = now_ns() + (uint64_t)ms * 1000000;
	while (pings->n < ROUND_PINGS && (start_ns = now_ns()) < end_ns) {
		if (varbos_ping(vb, NULL))
			goto failed;
		pings->ns[pings->n++] = now_ns() - start_ns;
	}
	varbos_disconnect(vb);
	return;
failed:
	pings->failed = true;
	snprintf(pings->why, sizeof(pings->why), "%s", varbos_error()->message);
}

/* Of keys that are all there. */
static void hit_for(struct harness *harness, struct pings *hits, uint32_t ms)
{
	uint64_t end_ns, start_ns, state = 1;
	struct varbos_cache *cache;
	struct varbos_space *space;
	struct varbos_view view;
	char value[VALUE] = "";
	struct varbos *vb;

	if (varbos_connect(&vb, harness->socket) ||
	    varbos_space_open(&space, vb, "besieged", NULL) ||
	    varbos_cache_open(&cache, space, "c",
			      &(struct varbos_cache_options){.capacity = 1 << 20}))
		goto failed;
	for (uint64_t key = 0; key < KEYS; key++)
		if (varbos_cache_put(cache, &key, sizeof(key), value, sizeof(value), NULL))
			goto failed;
	end_ns = now_ns() + (uint64_t)ms * 1000000;
	for (uint64_t i = 0; hits->n < ROUND_PINGS; i++) {
		uint64_t key = dice_below(&state, KEYS);

		start_ns = i % HITS_BETWEEN ? 0 : now_ns();
		if (start_ns >= end_ns)
			break;
		if (varbos_cache_get(cache, &key, sizeof(key), &view))
			goto failed;
		varbos_view_release(&view);
		if (start_ns)
			hits->ns[hits->n++] = now_ns() - start_ns;
	}
	varbos_disconnect(vb);
	return;
failed:
	hits->failed = true;
	snprintf(hits->why, sizeof(hits->why), "%s", varbos_error()->message);
}

/* The p99 of one round; its pings go to `all`, too. */
static uint64_t round_of(struct harness *harness, const struct kind *kind, bool hostile,
			 enum seat seat, struct pings *pings, struct series *all)
{
	uint32_t ms = harness->quick ? ROUND_MS_QUICK : ROUND_MS;
	const char *name = hostile ? kind->name : "harmless";
	struct series series;
	pid_t neighbour, victim;
	uint64_t p99;
	int status;

	pings->n = 0;
	neighbour = neighbour_start(harness, hostile ? kind->act : kind->harmless, seat);
	sleep_ms(SETTLE_MS);
	victim = fork();
	if (!victim) {
		become(harness, VICTIM, seat);
		(kind->hits ? hit_for : ping_for)(harness, pings, ms);
		_exit(0);
	}
	waitpid(victim, NULL, 0);
	/* Had it ended by itself, this would have been a round beside nobody. */
	if (waitpid(neighbour, &status, WNOHANG) == neighbour)
		harness_die(harness, "hostile: %s ended by itself", name);
	kill(-neighbour, SIGKILL);
	waitpid(neighbour, NULL, 0);
	if (victim < 0 || pings->failed || !pings->n)
		harness_die(harness, "hostile: beside %s: %s", name, pings->why);
	sleep_ms(SETTLE_MS);

	series_init(&series, pings->n);
	for (uint64_t i = 0; i < pings->n; i++) {
		series_add(&series, pings->ns[i]);
		if (!series_full(all))
			series_add(all, pings->ns[i]);
	}
	p99 = series_percentile(&series, 99);
	series_deinit(&series);
	return p99;
}

/* In thousandths. */
static uint64_t measure(struct harness *harness, const struct kind *kind, enum seat seat,
			struct pings *pings)
{
	unsigned rounds = harness->quick ? ROUNDS_QUICK : ROUNDS;
	struct series beside_hostile, beside_harmless, ratios;
	uint64_t hostile_ns, harmless_ns, ratio;

	series_init(&beside_hostile, (size_t)rounds * ROUND_PINGS);
	series_init(&beside_harmless, (size_t)rounds * ROUND_PINGS);
	series_init(&ratios, rounds);
	for (unsigned i = 0; i < rounds; i++) {
		harmless_ns = round_of(harness, kind, false, seat, pings, &beside_harmless);
		hostile_ns = round_of(harness, kind, true, seat, pings, &beside_hostile);
		series_add(&ratios, hostile_ns * 1000 / harmless_ns);
	}
	ratio = series_percentile(&ratios, 50);

	printf("{\"bench\":\"hostile\",\"impl\":\"%s\",\"where\":\"%s\",\"unit\":\"ns\""
	       ",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"n\":%zu,\"beside\":%" PRIu64
	       ",\"ratio\":%.3f}\n",
	       kind->name, place_names[seat], series_percentile(&beside_hostile, 50),
	       series_percentile(&beside_hostile, 99), beside_hostile.n,
	       series_percentile(&beside_harmless, 99), (double)ratio / 1000);
	fflush(stdout);
	fprintf(stderr, "hostile, %s: a %s beside one who %s: %.2f (%.2f to %.2f)\n",
		place_names[seat], kind->hits ? "hit" : "ping", kind->text,
		(double)ratio / 1000, (double)series_percentile(&ratios, 0) / 1000,
		(double)series_percentile(&ratios, 100) / 1000);
	series_deinit(&ratios);
	series_deinit(&beside_harmless);
	series_deinit(&beside_hostile);
	return ratio;
}

void bench_hostile(struct harness *harness)
{
	struct pings *pings;

	if (geteuid()) {
		fputs("SKIPPED: hostile: only root can be other uids\n", stderr);
		return;
	}
	/* Other uids are to come in, whether there is a group for that or not. */
	if (chmod(harness->folder, 0755) || chmod(harness->socket, 0666))
		harness_die(harness, "hostile: %s: %s", harness->socket, strerror(errno));
	/* All alike, the daemon's other threads included: what else runs here disturbs less. */
	setpriority(PRIO_PROCESS, 0, -20);
	setpriority(PRIO_PROCESS, (id_t)harness->daemon, -20);
	pings = mmap(NULL, sizeof(*pings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	if (pings == MAP_FAILED)
		harness_die(harness, "hostile: %s", strerror(errno));
	for (unsigned seat = 0; seat < PLACES_N; seat++)
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			if (harness->cpus[seat] >= 0)
				measure(harness, &kinds[i], (enum seat)seat, pings);
	munmap(pings, sizeof(*pings));
	setpriority(PRIO_PROCESS, 0, 0);
}
