#include "bench/besieger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/dice.h"
#include "proto/lane.h"
#include "proto/layout.h"
#include "proto/wire.h"

enum {
	FILES = 48,
	SOCKETS = 200, /* of a flood */
	MAPPED = 64 << 20,
	KNOWN = 32, /* numbers that meant something once */
	LANES = 4,
	FORKS = 4,
	RIGHTS_MAX = 253,
	LINGER_S = 60,
	PASSRIGHTS = 83,   /* SO_PASSRIGHTS, since Linux 6.16 */
	PATIENCE_MS = 100, /* with the daemon's answers, when it wants to know */
	FRAME = 1 << 18,
};

/* A file of the daemon's, as far as it may be mapped. */
struct file {
	int fd;
	char *at;
	size_t size;
};

static struct besieger {
	struct siege siege;
	uint64_t state;
	int fd; /* -1: not connected */
	uint64_t id;
	bool deaf; /* it never reads what comes */
	uint64_t space, cache, segment;
	struct file files[FILES];
	uint32_t n_files;
	struct lane *lanes;
	uint64_t known[KNOWN];
	uint32_t n_known;
	uint32_t forks;
	char frame[FRAME], last[FRAME];
	size_t n_last;
} b;

static sigjmp_buf back;
static struct siege_counts uncounted, *counts;

#define COUNT(what) atomic_fetch_add_explicit(&counts->what, 1, memory_order_relaxed)

static uint64_t any(void)
{
	return dice(&b.state);
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(any() % n);
}

static void learn(uint64_t value)
{
	b.known[b.n_known++ % KNOWN] = value;
}

/* A number that may pass for what it stands for. */
static uint64_t plausible(void)
{
	uint64_t known = b.known[below(KNOWN)];

	switch (below(12)) {
	case 0 ... 1:
		return below(5);
	case 2:
		return b.space;
	case 3:
		return b.cache;
	case 4 ... 5:
		return known;
	case 6:
		return known + (below(9) - 4U) * ((uint64_t)1 << below(22));
	case 7:
		return (uint64_t)1 << below(64);
	case 8:
		return ((uint64_t)1 << below(64)) - 1;
	case 9:
		return b.segment + below(1 << 21) / 16 * 16;
	case 10:
		return any() >> below(64);
	default:
		return (uint64_t)(below(1 << 20)) << 44 | known;
	}
}

/* ---- what it holds ---- */

static void hold(int fd)
{
	struct file *file = &b.files[b.n_files % FILES];
	struct stat info;

	if (b.n_files++ >= FILES) {
		if (file->at)
			munmap(file->at, file->size);
		close(file->fd);
	}
	*file = (struct file){.fd = fd};
	if (fstat(fd, &info) || info.st_size <= 0)
		return;
	file->size = (size_t)u64_min((uint64_t)info.st_size, MAPPED);
	file->at = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file->at == MAP_FAILED)
		file->at = mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0);
	if (file->at == MAP_FAILED)
		file->at = NULL;
}

static struct file *some_file(void)
{
	return b.n_files ? &b.files[below((uint32_t)u64_min(b.n_files, FILES))] : NULL;
}

/* ---- talking ---- */

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", b.siege.socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void gone(void)
{
	COUNT(gone);
	if (b.fd >= 0)
		close(b.fd);
	b.fd = -1;
}

static void send_frame(const void *data, size_t size)
{
	COUNT(frames);
	if (b.fd >= 0 && send(b.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    (errno == EPIPE || errno == ECONNRESET))
		gone();
}

/* What has come, and its descriptors; the bytes are in b.frame. */
static ssize_t take_one(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = {b.frame, sizeof(b.frame)};
	struct msghdr header = {.msg_iov = &piece,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(b.fd, &header, MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN))
		gone();
	if (n <= 0)
		return -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			hold(fd);
		}
	return n;
}

static enum wire_method method_of(void *userdata, uint64_t id)
{
	return *(enum wire_method *)userdata;
}

/* Asks, and waits a while. True: *ret is a result, as long as nothing else is asked. */
static bool ask(enum wire_method method, const void *params, union wire_body *ret)
{
	uint64_t id = ++b.id;
	int n = wire_encode_request(b.frame, sizeof(b.frame), id, method, params);
	struct wire_trouble trouble;
	struct wire_message message;
	bool result;

	if (n > 0)
		send_frame(b.frame, (size_t)n);
	for (int turns = 0; b.fd >= 0 && turns < 64; turns++) {
		struct pollfd wait = {.fd = b.fd, .events = POLLIN};
		ssize_t size;

		if (poll(&wait, 1, PATIENCE_MS) <= 0)
			return false;
		size = take_one();
		if (size <= 0 || wire_decode_answer(&message, b.frame, (size_t)size, method_of,
						    &method, &trouble))
			continue;
		result = message.kind == WIRE_RESPONSE && message.id == id && !message.failed;
		if (result)
			*ret = message.body;
		id = message.kind == WIRE_RESPONSE && message.id == id ? 0 : id;
		wire_message_deinit(&message);
		if (!id)
			return result;
	}
	return false;
}

/* Names are its own space's, the neighbours', and what no name should be. */
static struct wire_str some_name(void)
{
	static char longer[300];
	static const char *const names[] = {"c",       "k",        "good",   "lru",
					    "s3fifo",  "buddy",    "bind",   "interleave",
					    "\x1b[2J", "\xc3\x28", "a/../b", ""};
	uint32_t pick = below(16);

	if (pick < 4)
		return wire_str(b.siege.space);
	if (pick == 4) {
		memset(longer, 'x', sizeof(longer));
		return (struct wire_str){longer, below(sizeof(longer))};
	}
	return wire_str(names[below(ARRAY_SIZE(names))]);
}

static void fill(const struct wire_shape *shape, void *ret)
{
	memset(ret, 0, shape->size);
	for (uint32_t i = 0; i < shape->n_fields; i++) {
		const struct wire_field *field = &shape->fields[i];
		char *to = (char *)ret + field->offset;

		if (!field->required && below(2))
			continue;
		switch (field->type) {
		case WIRE_U64:
			*(uint64_t *)(void *)to = plausible();
			break;
		case WIRE_BOOL:
			*(bool *)(void *)to = below(2);
			break;
		case WIRE_STR:
			*(struct wire_str *)(void *)to = some_name();
			break;
		case WIRE_LIST:
			break;
		}
		/* Else few requests would be about anything. */
		if (field->type == WIRE_U64 && !strcmp(field->name, "space") && below(8))
			*(uint64_t *)(void *)to = b.space;
		if (field->type == WIRE_U64 && !strcmp(field->name, "cache") && below(8))
			*(uint64_t *)(void *)to = b.cache;
	}
}

static size_t some_request(void)
{
	enum wire_method method = (enum wire_method)below(WIRE_METHODS_N);
	union wire_body body;
	int n;

	if (method == WIRE_BYE && below(16))
		method = WIRE_EXTENT_ALLOC;
	fill(wire_methods[method].params, &body);
	n = below(8) ? wire_encode_request(b.frame, sizeof(b.frame), ++b.id, method, &body)
		     : wire_encode_note(b.frame, sizeof(b.frame), method, &body);
	return n > 0 ? (size_t)n : 1;
}

/* ---- what it does ---- */

static void enter(void)
{
	struct wire_hello hello = {.protocol = WIRE_PROTOCOL,
				   .layout_min = LAYOUT_VERSION,
				   .layout_max = LAYOUT_VERSION,
				   .name = some_name(),
				   .resume = below(16) ? 0 : plausible()};
	union wire_body body;

	b.fd = dial();
	if (b.fd < 0 || !ask(WIRE_HELLO, &hello, &body))
		return;
	learn(body.welcome.session);
	ask(WIRE_SPACE_CREATE,
	    &(struct wire_space_create){.name = wire_str(b.siege.space), .mode = 0666}, &body);
	if (ask(WIRE_SPACE_OPEN,
		&(struct wire_space_open){.name = wire_str(b.siege.space),
					  .read_only = !below(8)},
		&body))
		b.space = body.space_opened.space;
	for (uint32_t i = 0; i < 3; i++)
		if (ask(WIRE_EXTENT_ALLOC,
			&(struct wire_extent_alloc){.space = b.space,
						    .size = (uint64_t)1 << (16 + below(5)),
						    .shared = i == 1,
						    .blocks = i == 2},
			&body)) {
			learn(body.extent_alloced.offset);
			learn(body.extent_alloced.tag);
		}
	ask(WIRE_HOLDER_OPEN, &(struct wire_space_handle){b.space}, &body);
	ask(WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = b.space}, &body);
	ask(WIRE_WORDS_OPEN, &(struct wire_window_open){.space = b.space}, &body);
	if (below(2))
		ask(WIRE_RETURNS_OPEN, &(struct wire_empty){}, &body);
	if (ask(WIRE_CACHE_OPEN,
		&(struct wire_cache_open){.space = b.space,
					  .name = wire_str("c"),
					  .capacity = (uint64_t)1 << (12 + below(12))},
		&body))
		b.cache = body.cache_opened.cache;
	ask(WIRE_CACHE_INDEX, &(struct wire_cache_index){.space = b.space, .cache = b.cache},
	    &body);
	if (ask(WIRE_CACHE_SEGMENT,
		&(struct wire_cache_segment){
			.space = b.space, .cache = b.cache, .size = 64 << 10},
		&body)) {
		b.segment = body.extent_alloced.offset;
		learn(b.segment);
		learn(body.extent_alloced.tag);
	}
	if (ask(WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = LANES}, &body))
		for (uint32_t i = 0; i < u64_min(b.n_files, FILES); i++)
			if (b.files[i].size == LANES * sizeof(struct lane))
				b.lanes = (struct lane *)(void *)b.files[i].at;
	if (b.lanes)
		COUNT(entered);
}

static void requests(void)
{
	for (uint32_t n = 1 + below(20); n; n--) {
		size_t size = some_request();

		memcpy(b.last, b.frame, size);
		b.n_last = size;
		send_frame(b.frame, size);
	}
}

/* Flipped, cut, grown, spliced with the one before. */
static void mutated(void)
{
	for (uint32_t n = 1 + below(8); n; n--) {
		size_t size = some_request();

		for (uint32_t flips = below(5); flips; flips--)
			b.frame[any() % size] ^= (char)(1 << below(8));
		switch (below(6)) {
		case 0:
			size = 1 + any() % size;
			break;
		case 1:
			for (uint32_t grow = below(200); grow; grow--)
				b.frame[size++] = (char)any();
			break;
		case 2:
			if (b.n_last) {
				size_t from = any() % b.n_last, at = any() % size;

				memcpy(b.frame + at, b.last + from, b.n_last - from);
				size = at + b.n_last - from;
			}
			break;
		default:
			break;
		}
		send_frame(b.frame, size);
	}
}

static void random_frame(void)
{
	size_t size = below(4) ? 1 + below(300) : 1 + below(80000);

	switch (below(4)) {
	case 0: /* levels upon levels */
		memset(b.frame, '\x91', size);
		break;
	case 1: /* as many as there can be, of nothing */
		memset(b.frame, 0, size);
		b.frame[0] = (char)(0xdc + below(4));
		memset(b.frame + 1, 0xff, 4);
		break;
	default:
		for (size_t i = 0; i < size; i++)
			b.frame[i] = (char)any();
	}
	send_frame(b.frame, size);
}

/* Anything, over anything that may be written; what may not, says so by a signal. */
static void scribble(void)
{
	struct file *file = some_file();
	uint64_t value;
	size_t at;

	if (!file || !file->at || file->size < 8)
		return;
	for (uint32_t n = 1 + below(64); n; n--) {
		value = below(3) ? plausible() : any();
		/* Heads are at the beginning. */
		at = any() % (below(2) ? file->size : u64_min(file->size, 4096));
		memcpy(file->at + at / 8 * 8, &value, 8);
		COUNT(words);
	}
}

static void records(void)
{
	struct lane *lane;
	uint64_t head;

	if (!b.lanes)
		return;
	lane = &b.lanes[below(LANES)];
	/* Behind what is taken, or it would rest for good. */
	head = atomic_load(&lane->taken) + below(8) / 7 * below(LANE_RECORDS);
	for (uint32_t n = 1 + below(40); n; n--, head++) {
		struct lane_record record = {
			.kind = below(8) | below(4) << 8 |
				(below(32) ? 0 : below(1 << 16)) << 16,
			.cache = (uint32_t)(below(8) ? b.cache : plausible()),
			.hash = below(4) ? below(9) * 0x9e3779b97f4a7c15 : any(),
			.offset = below(4) ? b.segment + below(1 << 10) * 64 : plausible(),
			.size = below(4) ? 64 * (1 + below(30)) : plausible(),
			.expiry = below(4) ? 0 : plausible(),
			.token = below(8) ? 0 : plausible(),
			.generation = below(2) ? 0 : (uint32_t)plausible(),
			.born = below(8) ? 1 + below(1 << 20) : (uint32_t)plausible(),
		};

		memcpy(&lane->records[head % LANE_RECORDS], &record, sizeof(record));
		COUNT(records);
	}
	if (!below(40))
		head = plausible();
	atomic_store(&lane->head, head);
	send_frame("", 1);
}

/* Every word that there is, and for good. */
static void pin(void)
{
	if (!b.lanes)
		return;
	for (uint32_t i = 0; i < LANES * LANE_HAZARDS; i++)
		atomic_store(&b.lanes[i / LANE_HAZARDS].hazards[i % LANE_HAZARDS],
			     b.space << 44 | (b.segment + below(1 << 15) * 64));
	for (uint32_t i = 0; i < LANE_ACCESSES; i++)
		atomic_store(&b.lanes[below(LANES)].accesses[i], plausible());
	atomic_store(&b.lanes[0].noted, plausible());
}

/* Holes, sizes, seals, modes, flags, locks: of its files, and of its socket. */
static void spoil_file(void)
{
	struct file *file = some_file();
	int fd = below(4) && file ? file->fd : b.fd;
	off_t at = (off_t)below(MAPPED) / 4096 * 4096;

	switch (below(10)) {
	case 0 ... 3:
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
			      (off_t)4096 << below(10)))
			break;
		break;
	case 4:
		if (ftruncate(fd, below(2) ? at : 0))
			break;
		break;
	case 5:
		fcntl(fd, F_ADD_SEALS, (int)below(64));
		break;
	case 6:
		if (fchmod(fd, 0777))
			break;
		break;
	case 7:
		fcntl(fd, F_SETFL,
		      (int)(below(2) * O_NONBLOCK | below(2) * O_ASYNC | below(2) * O_APPEND));
		fcntl(fd, F_SETOWN, getpid());
		break;
	case 8:
		flock(fd, LOCK_EX | LOCK_NB);
		fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET});
		break;
	default:
		if (file && file->at && file->size >= 4096)
			madvise(file->at, file->size, below(2) ? MADV_REMOVE : MADV_DONTNEED);
	}
}

/* ---- descriptors ---- */

/*
 * Does the kernel refuse descriptors for the daemon? Where it does not, those that a connection has not
 * been read of are closed with it: one that lingers would hold up the daemon's loop (ARCHITECTURE.md, as
 * a known gap).
 */
static bool are_refused(void)
{
	int off = 0, ends[2];
	bool refused = false;

	if (!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends)) {
		refused = !setsockopt(ends[0], SOL_SOCKET, PASSRIGHTS, &off, sizeof(off));
		close(ends[0]);
		close(ends[1]);
	}
	return refused;
}

/* A socket whose last close waits for a reader that never reads. */
static int lingering(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static char bytes[1 << 16];
	socklen_t size = sizeof(address);
	static int fd = -1;
	int here;

	/* Both stay open here: to close the one would wait, to close the other end that. */
	if (fd >= 0)
		return dup(fd);
	here = socket(AF_INET, SOCK_STREAM, 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (here < 0 || fd < 0 || bind(here, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(here, 1) || getsockname(here, (struct sockaddr *)&address, &size) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_LINGER,
		   &(struct linger){.l_onoff = 1, .l_linger = LINGER_S}, sizeof(struct linger));
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return dup(fd);
}

static int some_descriptor(void)
{
	struct file *file = some_file();
	int ends[2] = {-1, -1};

	switch (below(8)) {
	case 0:
		return are_refused() ? lingering() : -1;
	case 1:
		return epoll_create1(0);
	case 2:
		if (!socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
			close(ends[1]);
		return ends[0];
	case 3:
		return dial();
	case 4:
		return eventfd(0, 0);
	case 5:
		return file ? dup(file->fd) : -1;
	default:
		return open("/dev/null", O_RDONLY);
	}
}

static void send_descriptors(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	} control = {};
	size_t n = below(8) ? 1 + below(3) : RIGHTS_MAX, size = below(2) ? some_request() : 1;
	struct iovec piece = {b.frame, size};
	struct msghdr header = {.msg_iov = &piece,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);
	int fds[RIGHTS_MAX];

	if (b.fd < 0)
		return;
	fds[0] = some_descriptor();
	for (size_t i = 1; i < n; i++)
		fds[i] = n < 4 ? some_descriptor() : dup(fds[0]);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	if (sendmsg(b.fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		COUNT(descriptors);
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void flood(void)
{
	int fds[SOCKETS];
	uint32_t n = 1 + below(SOCKETS);

	for (uint32_t i = 0; i < n; i++)
		fds[i] = dial();
	if (below(2) && !b.siege.alone)
		usleep(below(20000));
	for (uint32_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void leave(void)
{
	if (below(2))
		shutdown(b.fd, (int)below(3));
	else
		gone();
}

/* ---- processes ---- */

static void lives(int ms)
{
	struct pollfd lifeline = {.fd = b.siege.lifeline, .events = POLLIN};

	if (lifeline.fd >= 0 && poll(&lifeline, 1, ms) > 0)
		_exit(0);
}

static void multiply(void)
{
	pid_t pid;

	if (b.forks >= FORKS)
		return;
	b.forks++;
	pid = fork();
	if (pid)
		return;
	b.forks = FORKS;
	b.state ^= (uint64_t)getpid() << 32;
	if (below(2)) /* it does nothing but keep what it has */
		lives(-1);
}

static void rest(void)
{
	raise(SIGSTOP);
}

static void another_image(void)
{
	char number[24], fd[16], file[16];

	if (b.fd >= 0)
		fcntl(b.fd, F_SETFD, 0);
	snprintf(number, sizeof(number), "%" PRIu64, any());
	snprintf(fd, sizeof(fd), "%d", b.fd);
	snprintf(file, sizeof(file), "%d", b.siege.counts);
	execl("/proc/self/exe", "besieger", "--besiege", b.siege.socket, b.siege.space, number,
	      fd, file, NULL);
}

static void read_all(void)
{
	while (!b.deaf && b.fd >= 0 && take_one() > 0)
		;
}

static const struct {
	void (*act)(void);
	uint32_t weight;
} acts[] = {
	{requests, 30}, {mutated, 10},    {random_frame, 3},     {scribble, 20}, {records, 25},
	{pin, 5},       {spoil_file, 10}, {send_descriptors, 4}, {flood, 2},     {leave, 1},
	{multiply, 1},  {rest, 1},        {another_image, 1},
};

/* In one process that never sleeps, if it is to be held against one as busy. */
static bool is_left_out(uint32_t i)
{
	return b.siege.alone &&
	       (acts[i].act == multiply || acts[i].act == rest || acts[i].act == another_image);
}

static void act(void)
{
	uint32_t sum = 0, pick;

	for (uint32_t i = 0; i < ARRAY_SIZE(acts); i++)
		sum += acts[i].weight;
	pick = below(sum);
	for (uint32_t i = 0; i < ARRAY_SIZE(acts); i++) {
		if (pick < acts[i].weight) {
			if (!is_left_out(i))
				acts[i].act();
			return;
		}
		pick -= acts[i].weight;
	}
}

static void fault(int number)
{
	siglongjmp(back, 1);
}

static _Noreturn void go_on(void)
{
	struct sigaction action = {.sa_handler = fault, .sa_flags = SA_NODEFER};
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = u64_min(files.rlim_max, 4096);
		setrlimit(RLIMIT_NOFILE, &files);
	}
	b.deaf = !below(6);
	counts = &uncounted;
	if (b.siege.counts >= 0)
		counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED,
			      b.siege.counts, 0);
	if (counts == MAP_FAILED)
		_exit(101);
	sigsetjmp(back, 0);
	for (;;) {
		lives(0);
		if (b.fd < 0)
			enter();
		act();
		read_all();
	}
}

void besiege(const struct siege *siege)
{
	b.siege = *siege;
	b.state = siege->seed;
	b.fd = -1;
	go_on();
}

void besieger_again(int argc, char **argv)
{
	if (argc != 7 || strcmp(argv[1], "--besiege"))
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b.siege = (struct siege){
		.socket = argv[2], .space = argv[3], .counts = atoi(argv[6]), .lifeline = -1};
	b.state = strtoull(argv[4], NULL, 10);
	b.fd = atoi(argv[5]); /* the former image's */
	b.forks = FORKS;      /* those of a gang shall not grow without bounds */
	go_on();
}
