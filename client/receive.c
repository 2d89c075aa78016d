#include "client/receive.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <varbos/varbos.h>

#include "base/base.h"

struct receive_end receive_end(int error)
{
	if (error == ENOMEM || error == ENOBUFS)
		return (struct receive_end){VARBOS_E_SYSTEM, error, "no memory for a message"};
	return (struct receive_end){VARBOS_E_UNAVAILABLE, error,
				    "varbosd has closed the connection, or has ended"};
}

struct receive_end receive_end_protocol(void)
{
	return (struct receive_end){
		VARBOS_E_PROTOCOL, 0,
		"the daemon sent what is no message; the connection is closed"};
}

static void take_fds(struct receive *ret, struct msghdr *header)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (ret->n_fds < WIRE_FDS_MAX) {
				ret->fds[ret->n_fds++] = fd;
			} else {
				close(fd);
				ret->fds_lost = true;
			}
		}
	}
	if (header->msg_flags & MSG_CTRUNC)
		ret->fds_lost = true;
}

int receive(struct receive *ret, int fd, int flags, struct receive_end *ret_end)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = ret->buffer, .iov_len = WIRE_MESSAGE_MAX};
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	n = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);
	/* Closed with something of ours unread. What was said before comes after this error. */
	if (n < 0 && errno == ECONNRESET && !mutant(client_refusal_unread))
		n = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return RECEIVE_NOTHING;
	if (n < 0) {
		*ret_end = receive_end(errno);
		return RECEIVE_END;
	}

	ret->n_fds = 0;
	ret->fds_lost = false;
	take_fds(ret, &header);
	if (!n || header.msg_flags & MSG_TRUNC) {
		receive_drop(ret);
		*ret_end = n ? receive_end_protocol() : receive_end(0);
		return RECEIVE_END;
	}
	ret->size = (size_t)n;
	return 0;
}

void receive_drop(struct receive *in)
{
	for (unsigned i = 0; i < in->n_fds; i++)
		close(in->fds[i]);
	in->n_fds = 0;
}
