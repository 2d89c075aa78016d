/*
 * Redis and memcached, each a server of this process's own, and what it takes to ask them. The
 * clients are ours, and do less than their libraries would: a request is written by one send(), and
 * an answer is looked at where it was received.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/store.h"

#define BATCH_BYTES ((size_t)1 << 20) /* of requests that are sent before an answer is read */

enum {
	ROOM = 64 << 10, /* beside the values: for what stands around them */
	START_MS = 10000,
	ARGUMENTS = 24,
	MEMCACHED_MIB = 8, /* least */
	/* memcached's binary protocol */
	BIN_REQUEST = 0x80,
	BIN_GET = 0x00,
	BIN_SET = 0x01,
	BIN_NOOP = 0x0a,
	BIN_GETKQ = 0x0d,
	BIN_SETQ = 0x11,
	BIN_MISSING = 0x0001,
};

/* As its header stands on the wire: numbers are big endian. */
struct bin_head {
	uint8_t magic, opcode;
	uint16_t key_size;
	uint8_t extras_size, type;
	uint16_t status;
	uint32_t rest;
	uint32_t opaque;
	uint64_t cas;
};
static_assert(sizeof(struct bin_head) == 24, "the header is 24 bytes");

struct protocol {
	const char *impl;
	void (*server)(const struct store_needs *needs, const char *socket, const char *folder);
	void (*ask)(const struct store_key *keys, size_t n);
	/* The next answer to `ask`, of n: the values in turn; NULL is one that is missing. */
	void (*answer)(size_t n, const char **ret);
	void (*put)(const struct store_key *keys, size_t n);
};

const bool store_is_served = true;

static const struct protocol *protocol;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static pid_t server;
static int fd = -1;
static const char *value;
static size_t value_size;
static char *in, *out;
static size_t in_at, in_n, in_room, out_n, out_room;

/* ---- bytes ---- */

static void out_add(const void *bytes, size_t n)
{
	if (n > out_room - out_n)
		contender_die("%s: a request is too long", protocol->impl);
	memcpy(out + out_n, bytes, n);
	out_n += n;
}

static void out_send(void)
{
	for (size_t sent = 0; sent < out_n;) {
		ssize_t n = send(fd, out + sent, out_n - sent, MSG_NOSIGNAL);

		if (n <= 0)
			contender_die("%s: send: %s", protocol->impl, strerror(errno));
		sent += (size_t)n;
	}
	out_n = 0;
	in_at = in_n = 0;
}

static void in_more(void)
{
	ssize_t n;

	if (in_n == in_room)
		contender_die("%s: an answer is too long", protocol->impl);
	n = recv(fd, in + in_n, in_room - in_n, 0);
	if (n <= 0)
		contender_die("%s: recv: %s", protocol->impl, n ? strerror(errno) : "its end");
	in_n += (size_t)n;
}

/* Where the next n bytes are. What has been taken before is still there until the next one is sent. */
static const char *in_take(size_t n)
{
	const char *at;

	while (in_n - in_at < n)
		in_more();
	at = in + in_at;
	in_at += n;
	return at;
}

/* ---- redis ---- */

static const char *line_take(void)
{
	const char *line, *end;
	size_t seen = 0;

	for (;;) {
		end = memchr(in + in_at + seen, '\n', in_n - in_at - seen);
		if (end)
			break;
		seen = in_n - in_at;
		in_more();
	}
	line = in + in_at;
	in_at = (size_t)(end + 1 - in);
	return line;
}

static void redis_server(const struct store_needs *needs, const char *path, const char *folder)
{
	char bytes[24];

	/* Beside the values it counts what it is itself, a MiB. */
	snprintf(bytes, sizeof(bytes), "%" PRIu64,
		 needs->evicts ? needs->capacity + ((uint64_t)1 << 20)
			       : 4 * needs->capacity + ((uint64_t)64 << 20));
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save",
	       "", "--appendonly", "no", "--dir", folder, "--daemonize", "no", "--maxmemory",
	       bytes, "--maxmemory-policy", needs->evicts ? "allkeys-lru" : "noeviction",
	       "--loglevel", "warning", (char *)NULL);
}

static void redis_word(const void *bytes, size_t n)
{
	char head[32];

	out_add(head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", n));
	out_add(bytes, n);
	out_add("\r\n", 2);
}

static void redis_command(const char *name, size_t words)
{
	char head[32];

	out_add(head, (size_t)snprintf(head, sizeof(head), "*%zu\r\n", words));
	redis_word(name, strlen(name));
}

static void redis_ask(const struct store_key *keys, size_t n)
{
	redis_command(n == 1 ? "GET" : "MGET", n + 1);
	for (size_t i = 0; i < n; i++)
		redis_word(&keys[i], sizeof(keys[i]));
}

static const char *redis_value(void)
{
	const char *line = line_take();
	const char *at;
	long size;

	if (line[0] != '$')
		contender_die("redis: %.60s", line);
	size = strtol(line + 1, NULL, 10);
	if (size < 0)
		return NULL;
	if ((size_t)size != value_size)
		contender_die("redis: a value of %ld bytes", size);
	at = in_take(value_size + 2);
	return at;
}

static void redis_answer(size_t n, const char **ret)
{
	if (n > 1) {
		const char *line = line_take();

		if (line[0] != '*' || strtoul(line + 1, NULL, 10) != n)
			contender_die("redis: %.60s", line);
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = redis_value();
}

static void redis_put(const struct store_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		redis_command("SET", 3);
		redis_word(&keys[i], sizeof(keys[i]));
		redis_word(value, value_size);
	}
	out_send();
	for (size_t i = 0; i < n; i++) {
		const char *line = line_take();

		if (line[0] != '+')
			contender_die("redis: %.60s", line);
	}
}

/* ---- memcached ---- */

static void memcached_server(const struct store_needs *needs, const char *path,
			     const char *folder)
{
	uint64_t bytes =
		needs->evicts ? needs->capacity : 4 * needs->capacity + ((uint64_t)64 << 20);
	char mib[24];

	(void)folder;
	snprintf(mib, sizeof(mib), "%" PRIu64, u64_max(bytes >> 20, MEMCACHED_MIB));
	/* -u counts for root only, which it does not like to be. -I: at most half of -m. */
	execlp("memcached", "memcached", "-s", path, "-a", "600", "-U", "0", "-m", mib, "-I",
	       "2m", "-u", "root", "-B", "binary", (char *)NULL);
}

static void bin_request(uint8_t opcode, const struct store_key *key, const void *data,
			size_t size)
{
	static const uint32_t extras[2]; /* flags; it does not expire */
	bool sets = opcode == BIN_SET || opcode == BIN_SETQ;
	size_t extras_size = sets ? sizeof(extras) : 0, key_size = key ? sizeof(*key) : 0;
	struct bin_head head = {.magic = BIN_REQUEST,
				.opcode = opcode,
				.key_size = htobe16((uint16_t)key_size),
				.extras_size = (uint8_t)extras_size,
				.rest = htobe32((uint32_t)(extras_size + key_size + size))};

	out_add(&head, sizeof(head));
	out_add(extras, extras_size);
	if (key)
		out_add(key, key_size);
	if (size)
		out_add(data, size);
}

/* The next answer: its head, and where its value is. */
static struct bin_head bin_answer(const char **ret)
{
	size_t before;
	struct bin_head head;
	const char *rest;

	memcpy(&head, in_take(sizeof(head)), sizeof(head));
	rest = in_take(be32toh(head.rest));
	before = (size_t)head.extras_size + be16toh(head.key_size);
	*ret = rest + before;
	return head;
}

static void memcached_ask(const struct store_key *keys, size_t n)
{
	if (n == 1) {
		bin_request(BIN_GET, keys, NULL, 0);
		return;
	}
	for (size_t i = 0; i < n; i++)
		bin_request(BIN_GETKQ, &keys[i], NULL, 0);
	bin_request(BIN_NOOP, NULL, NULL, 0);
}

static void memcached_answer(size_t n, const char **ret)
{
	struct bin_head head;
	size_t found = 0;
	const char *at;

	for (;;) {
		head = bin_answer(&at);
		if (head.opcode == BIN_NOOP || found == n)
			break;
		if (be16toh(head.status) == BIN_MISSING)
			break;
		if (head.status)
			contender_die("memcached: status %u", be16toh(head.status));
		ret[found++] = at;
		if (n == 1)
			break;
	}
	/* Of several, those that are missing have no answer: which they were does not matter here. */
	while (found < n)
		ret[found++] = NULL;
}

static void memcached_put(const struct store_key *keys, size_t n)
{
	struct bin_head head;
	const char *at;

	for (size_t i = 0; i < n; i++)
		bin_request(n == 1 ? BIN_SET : BIN_SETQ, &keys[i], value, value_size);
	if (n > 1)
		bin_request(BIN_NOOP, NULL, NULL, 0);
	out_send();
	head = bin_answer(&at);
	if (head.status || head.opcode != (n == 1 ? BIN_SET : BIN_NOOP))
		contender_die("memcached: status %u", be16toh(head.status));
}

/* ---- both ---- */

static const struct protocol protocols[] = {
	{"redis", redis_server, redis_ask, redis_answer, redis_put},
	{"memcached", memcached_server, memcached_ask, memcached_answer, memcached_put},
};

static bool joined(void)
{
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		contender_die("socket: %s", strerror(errno));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return true;
	close(fd);
	fd = -1;
	return false;
}

static _Noreturn void server_exec(const struct contender *contender,
				  const struct store_needs *needs, const char *folder)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	contender_pin(contender->cpus[1]);
	/* What they say at their end, and the bench's own output, do not belong together. */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		_exit(127);
	protocol->server(needs, address.sun_path, folder);
	_exit(errno == ENOENT ? CONTENDER_MISSING : 127);
}

static void server_start(const struct contender *contender, const struct store_needs *needs)
{
	uint64_t deadline_ns = now_ns() + (uint64_t)START_MS * 1000000;
	const char *slash = strrchr(contender->socket, '/');
	int folder = slash ? (int)(slash - contender->socket) : 0, status;
	char path[sizeof(address.sun_path)];

	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%.*s/%s-%d", folder,
			     contender->socket, protocol->impl,
			     (int)getpid()) >= sizeof(address.sun_path))
		contender_die("%s: a socket's path is too long", protocol->impl);
	snprintf(path, sizeof(path), "%.*s", folder, contender->socket);
	server = fork();
	if (server < 0)
		contender_die("fork: %s", strerror(errno));
	if (!server)
		server_exec(contender, needs, path);
	while (!joined()) {
		if (waitpid(server, &status, WNOHANG) == server) {
			if (WIFEXITED(status) && WEXITSTATUS(status) == CONTENDER_MISSING)
				exit(CONTENDER_MISSING);
			contender_die("%s does not start", protocol->impl);
		}
		if (now_ns() > deadline_ns)
			contender_die("%s does not listen", protocol->impl);
		sleep_ms(5);
	}
}

void store_start(const struct contender *contender, const struct store_needs *needs,
		 const void *data)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (!strcmp(protocols[i].impl, contender->impl))
			protocol = &protocols[i];
	if (!protocol)
		contender_die("%s: no such server", contender->impl);
	value = data;
	value_size = needs->value;
	in_room = out_room = BATCH_BYTES + STORE_MANY * (value_size + ROOM);
	in = malloc(in_room);
	out = malloc(out_room);
	if (!in || !out)
		contender_die("out of memory");
	server_start(contender, needs);
}

void store_join(const struct contender *contender)
{
	(void)contender;
	close(fd);
	if (!joined())
		contender_die("%s: connect: %s", protocol->impl, strerror(errno));
}

void store_joined(void)
{
}

void store_stop(void)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	unlink(address.sun_path);
}

void store_put(const struct store_key *key)
{
	protocol->put(key, 1);
}

void store_put_many(const struct store_key *keys, size_t n)
{
	size_t batch =
		u64_max(BATCH_BYTES / (value_size + 2 * sizeof(struct bin_head) + 64), 1);

	for (size_t i = 0; i < n; i += batch)
		protocol->put(&keys[i], u64_min(batch, n - i));
}

bool store_get(const struct store_key *key, uint64_t *ret)
{
	const char *at;

	protocol->ask(key, 1);
	out_send();
	protocol->answer(1, &at);
	if (!at)
		return false;
	memcpy(ret, at, sizeof(*ret));
	return true;
}

size_t store_get_many(const struct store_key *keys, uint64_t *ret)
{
	const char *at[STORE_MANY];
	uint64_t word, sum = 0;
	size_t found = 0;

	protocol->ask(keys, STORE_MANY);
	out_send();
	protocol->answer(STORE_MANY, at);
	for (size_t i = 0; i < STORE_MANY; i++) {
		if (!at[i])
			continue;
		memcpy(&word, at[i], sizeof(word));
		sum += word;
		found++;
	}
	*ret = sum;
	return found;
}
