#include "tests/integration/peer.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/stats_file.h"

enum {
	CONNECT_TRIES = 1500,
	CONNECT_WAIT_MS = 10,
	ANSWER_WAIT_S = 20,
};

static void forget_answer(struct peer *peer)
{
	wire_message_deinit(&peer->answer);
	peer->answer = (struct wire_message){};
	for (int i = 0; i < WIRE_FDS_MAX; i++) {
		closep(&peer->fds[i]);
		peer->fds[i] = -1;
	}
}

void peer_connect(struct peer *peer, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval wait = {.tv_sec = ANSWER_WAIT_S};

	*peer = (struct peer){.fd = -1, .fds = {-1, -1}};
	ck_assert(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	for (int i = 0; i < CONNECT_TRIES; i++) {
		peer->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		ck_assert_int_ge(peer->fd, 0);
		if (!connect(peer->fd, (struct sockaddr *)&address, sizeof(address))) {
			setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
			return;
		}
		close(peer->fd);
		nanosleep(&(struct timespec){.tv_nsec = CONNECT_WAIT_MS * 1000000L}, NULL);
	}
	ck_abort_msg("%s: %s", path, strerror(errno));
}

void peer_open(struct peer *peer, const char *path)
{
	peer_connect(peer, path);
	ck_assert(peer_call(peer, WIRE_HELLO,
			    &(struct wire_hello){.protocol = 1,
						 .layout_min = 1,
						 .layout_max = 1,
						 .name = wire_str("peer")}));
}

void peer_close(struct peer *peer)
{
	forget_answer(peer);
	closep(&peer->fd);
	peer->fd = -1;
}

static enum wire_method method_of(void *userdata, uint64_t id)
{
	const struct peer *peer = userdata;

	/* 0: about a message whose id could not be read */
	return id == peer->id || !id ? peer->method : WIRE_METHODS_N;
}

bool peer_receive(struct peer *peer)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = {peer->buf, sizeof(peer->buf)};
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct wire_trouble trouble;
	struct cmsghdr *c;
	ssize_t n;
	int r;

	forget_answer(peer);
	n = recvmsg(peer->fd, &header, MSG_CMSG_CLOEXEC);
	if (n <= 0) {
		ck_assert_msg(!n || errno == ECONNRESET, "no answer: %s", strerror(errno));
		return false;
	}
	c = CMSG_FIRSTHDR(&header);
	if (c)
		memcpy(peer->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	r = wire_decode_answer(&peer->answer, peer->buf, (size_t)n, method_of, peer, &trouble);
	ck_assert_msg(!r, "the daemon's answer: %s", r > 0 ? trouble.text : strerror(-r));
	return true;
}

bool peer_call_bytes(struct peer *peer, const void *data, size_t size, enum wire_method method)
{
	peer->method = method;
	ck_assert_int_eq(send(peer->fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
	do
		ck_assert_msg(peer_receive(peer), "the daemon closed the connection");
	while (peer->answer.kind != WIRE_RESPONSE);
	return !peer->answer.failed;
}

bool peer_call(struct peer *peer, enum wire_method method, const void *params)
{
	char buf[WIRE_MESSAGE_MAX];
	int size = wire_encode_request(buf, sizeof(buf), ++peer->id, method, params);

	ck_assert_int_gt(size, 0);
	return peer_call_bytes(peer, buf, (size_t)size, method);
}

void peer_send(struct peer *peer, enum wire_method method, const void *params)
{
	char buf[WIRE_MESSAGE_MAX];
	int size = wire_encode_request(buf, sizeof(buf), ++peer->id, method, params);

	peer->method = method;
	ck_assert_int_eq(send(peer->fd, buf, (size_t)size, MSG_NOSIGNAL), size);
}

void peer_note(struct peer *peer, enum wire_method method, const void *params)
{
	char buf[WIRE_MESSAGE_MAX];
	int size = wire_encode_note(buf, sizeof(buf), method, params);

	ck_assert_int_gt(size, 0);
	ck_assert_int_eq(send(peer->fd, buf, (size_t)size, MSG_NOSIGNAL), size);
}

uint64_t peer_create_space(struct peer *peer, const char *name, uint64_t limit)
{
	ck_assert_msg(
		peer_call(peer, WIRE_SPACE_CREATE,
			  &(struct wire_space_create){.name = wire_str(name), .limit = limit}),
		"space.create: %.*s", (int)peer->answer.fault.message.size,
		peer->answer.fault.message.data);
	return peer->answer.body.space_handle.space;
}

uint64_t peer_open_space(struct peer *peer, const char *name)
{
	ck_assert_msg(peer_call(peer, WIRE_SPACE_OPEN,
				&(struct wire_space_open){.name = wire_str(name)}),
		      "space.open: %.*s", (int)peer->answer.fault.message.size,
		      peer->answer.fault.message.data);
	ck_assert_int_ge(peer->fds[0], 0);
	return peer->answer.body.space_opened.space;
}

struct wire_daemon_status peer_status(struct peer *peer)
{
	ck_assert(peer_call(peer, WIRE_STATUS, &(struct wire_empty){}));
	return peer->answer.body.daemon_status;
}

void peer_leave_check(void)
{
	peer_leave_check_to(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

void peer_leave_check_to(int to)
{
	for (int fd = STDERR_FILENO + 1; fd < 256; fd++) {
		char link[64], target[256];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strstr(target, "/check_"))
			dup2(to, fd);
	}
}

const struct stats_file *statistics_file(const char *socket)
{
	const struct stats_file *file;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s.stats", socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	file = mmap(NULL, sizeof(*file), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	ck_assert_ptr_ne(file, MAP_FAILED);
	return file;
}

const struct stats_copy *statistics(const char *socket)
{
	static struct stats_copy copy;
	const struct stats_file *file = statistics_file(socket);

	ck_assert_int_eq(stats_file_read(file, &copy), 0);
	munmap((void *)(uintptr_t)file, sizeof(*file));
	return &copy;
}
