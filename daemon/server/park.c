#include "daemon/server/park.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

/* Room for the names of all. */
enum { BYTES_MAX = PARK_MAX * KEPT_NAME_MAX };

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(PARK_MAX * sizeof(int))];
};

int park_make(const struct parked_fd *what, uint32_t n, int ret_pair[2])
{
	_cleanup_(closep) int near = -1, far = -1;
	char names[BYTES_MAX];
	union control control = {};
	struct iovec iov = {.iov_base = names};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	int pair[2], size = BYTES_MAX * 4;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	near = pair[0];
	far = pair[1];
	setsockopt(near, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
	for (uint32_t i = 0; i < n; i++) {
		size_t length = strlen(what[i].name) + 1;

		memcpy(names + iov.iov_len, what[i].name, length);
		iov.iov_len += length;
		memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &what[i].fd, sizeof(int));
	}
	if (sendmsg(near, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	ret_pair[0] = TAKE_FD(near);
	ret_pair[1] = TAKE_FD(far);
	return 0;
}

static int read_end(int fd, struct parked_fd ret[PARK_MAX], uint32_t *ret_n)
{
	char names[BYTES_MAX];
	union control control;
	struct iovec iov = {.iov_base = names, .iov_len = sizeof(names)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	int fds[PARK_MAX];
	uint32_t n = 0, n_names = 0;
	ssize_t got;

	got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return -errno;
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at))
		if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS) {
			n = (uint32_t)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(at), n * sizeof(int));
		}
	for (ssize_t at = 0; at < got && n_names < n; n_names++) {
		size_t length = strnlen(names + at, (size_t)(got - at));

		if (length >= KEPT_NAME_MAX || at + (ssize_t)length == got)
			break;
		memcpy(ret[n_names].name, names + at, length + 1);
		ret[n_names].fd = fds[n_names];
		at += (ssize_t)length + 1;
	}
	/* Cut short for want of descriptors, it would be less than was parked. */
	if (!n || n_names != n || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		for (uint32_t i = 0; i < n; i++)
			close(fds[i]);
		return message.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
	}
	*ret_n = n;
	return 0;
}

int park_read(const int pair[2], struct parked_fd ret[PARK_MAX], uint32_t *ret_n)
{
	int r = read_end(pair[0], ret, ret_n);

	return r == -EAGAIN ? read_end(pair[1], ret, ret_n) : r;
}
