#include "client/ctl/link.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "base/membership.h"
#include "client/ctl/text.h"
#include "proto/layout.h"

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum answer say_errno(const char *what, int error)
{
	char hint[MEMBERSHIP_TEXT_MAX];

	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
	case ENOTSOCK:
	case EPROTOTYPE:
		return answer_say(ANSWER_UNREACHABLE, "%s: no daemon answers (%s)", what,
				  strerror(error));
	case EPIPE:
	case ECONNRESET:
		return answer_say(ANSWER_UNREACHABLE, "%s: the daemon ended the session (%s)",
				  what, strerror(error));
	case EACCES:
	case EPERM:
		return answer_say(ANSWER_PERMISSION, "%s: %s%s", what, strerror(error),
				  membership_hint(hint, sizeof(hint), what));
	default:
		return answer_say(ANSWER_FAILED, "%s: %s", what, strerror(error));
	}
}

static enum answer say_timeout(const struct link *link, const char *what)
{
	return answer_say(ANSWER_TIMEOUT, "%s: no answer within %d.%03d s", what,
			  link->timeout_ms / 1000, link->timeout_ms % 1000);
}

static enum answer link_connect(struct link *link, const char *path)
{
	/* For connect() too: it waits where the daemon's backlog is full. */
	struct timeval timeout = {
		.tv_sec = link->timeout_ms / 1000,
		.tv_usec = link->timeout_ms % 1000 * 1000,
	};
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return answer_say(ANSWER_USAGE, "%s: a socket's path has at most %zu bytes",
				  path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);

	link->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (link->fd < 0)
		return say_errno(path, errno);
	if (setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		return say_errno(path, errno);
	while (connect(link->fd, (const struct sockaddr *)&address, sizeof(address))) {
		if (errno == EAGAIN)
			return say_timeout(link, path);
		if (errno != EINTR)
			return say_errno(path, errno);
	}
	return ANSWER_OK;
}

/* One datagram; 0 is the end of the session. */
static ssize_t link_receive(struct link *link, uint64_t deadline_ms)
{
	struct pollfd wait = {.fd = link->fd, .events = POLLIN};
	bool reset = false;

	for (;;) {
		uint64_t now = now_ms();
		ssize_t size;
		int r;

		if (now >= deadline_ms)
			return -ETIMEDOUT;
		r = poll(&wait, 1, (int)(deadline_ms - now));
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r <= 0)
			continue;
		size = recv(link->fd, link->received, sizeof(link->received), MSG_DONTWAIT);
		if (size >= 0)
			return size;
		/* Closed with ours unread: what was said before comes after this error. */
		if (errno == ECONNRESET && !reset)
			reset = true;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

struct question {
	uint64_t id;
	enum wire_method method;
};

static enum wire_method method_of(void *userdata, uint64_t id)
{
	const struct question *question = userdata;

	/* Id 0 answers nothing that was asked: the daemon takes no request, and says why. */
	return !id || id == question->id ? question->method : WIRE_METHODS_N;
}

/* ret_ended: it may be the end of the session that answers; NULL: that is a failure. */
static enum answer exchange(struct link *link, const char *what, enum wire_method method,
			    const void *params, bool *ret_ended)
{
	struct question question = {.id = link->next_id++, .method = method};
	uint64_t deadline_ms = now_ms() + (uint64_t)link->timeout_ms;
	struct wire_trouble trouble = {0};
	ssize_t received;
	int size, r;

	size = wire_encode_request(link->sent, sizeof(link->sent), question.id, method, params);
	if (size < 0)
		return answer_say(ANSWER_USAGE, "%s: too long for a request", what);
	while (send(link->fd, link->sent, (size_t)size, MSG_NOSIGNAL) < 0) {
		if (errno == EAGAIN)
			return say_timeout(link, what);
		if (errno == EPIPE || errno == ECONNRESET)
			break; /* it may have said why */
		if (errno != EINTR)
			return say_errno(what, errno);
	}

	for (;;) {
		received = link_receive(link, deadline_ms);
		if (received == -ETIMEDOUT)
			return say_timeout(link, what);
		if (ret_ended && (!received || received == -ECONNRESET)) {
			*ret_ended = true;
			return ANSWER_OK;
		}
		if (received <= 0)
			return say_errno(what, received ? (int)-received : EPIPE);

		wire_message_deinit(&link->message);
		r = wire_decode_answer(&link->message, link->received, (size_t)received,
				       method_of, &question, &trouble);
		if (r < 0)
			return say_errno(what, -r);
		if (r)
			return answer_say(ANSWER_VERSION,
					  "%s: the daemon's answer is not understood: %s", what,
					  trouble.text);
		if (link->message.kind == WIRE_RESPONSE &&
		    (link->message.id == question.id ||
		     (!link->message.id && link->message.failed)))
			return ANSWER_OK;
	}
}

enum answer link_try(struct link *link, const char *what, enum wire_method method,
		     const void *params, const void **ret, const struct wire_fault **ret_fault)
{
	enum answer answer = exchange(link, what, method, params, NULL);

	if (answer)
		return answer;
	*ret_fault = &link->message.fault;
	*ret = link->message.failed ? NULL : &link->message.body;
	return ANSWER_OK;
}

enum answer link_end(struct link *link, const char *what, enum wire_method method,
		     const void *params)
{
	bool ended = false;
	enum answer answer = exchange(link, what, method, params, &ended);

	if (answer || ended)
		return answer;
	if (link->message.failed)
		return answer_fault(what, &link->message.fault);
	return answer_say(ANSWER_VERSION, "%s: the session goes on", what);
}

enum answer link_ask(struct link *link, const char *what, enum wire_method method,
		     const void *params, const void **ret)
{
	const struct wire_fault *fault;
	enum answer answer;

	answer = link_try(link, what, method, params, ret, &fault);
	if (!answer && !*ret)
		return answer_fault(what, fault);
	return answer;
}

/* Every list method answers with this shape, whatever its rows are. */
static_assert(offsetof(struct wire_space_rows, rows) ==
			      offsetof(struct wire_client_rows, rows) &&
		      offsetof(struct wire_space_rows, next) ==
			      offsetof(struct wire_client_rows, next),
	      "{rows, next}");

enum answer link_list(struct link *link, const char *what, enum wire_method method,
		      size_t line_size, void (*line_fill)(void *line, const void *row),
		      void **ret, size_t *ret_count)
{
	size_t row_size = wire_methods[method].result->fields[0].list->size;
	struct wire_page_after after = {0};
	_cleanup_(freep) char *lines = NULL;
	size_t count = 0;

	for (;;) {
		const struct wire_space_rows *page;
		const void *result;
		enum answer answer;
		char *more;

		answer = link_ask(link, what, method, &after, &result);
		if (answer)
			return answer;
		page = result;

		more = realloc(lines, (count + page->rows.count + 1) * line_size);
		if (!more)
			return say_errno(what, ENOMEM);
		lines = more;
		for (uint32_t i = 0; i < page->rows.count; i++)
			line_fill(lines + count++ * line_size,
				  (const char *)page->rows.rows + i * row_size);

		if (!page->next)
			break;
		if (page->next <= after.after)
			return answer_say(ANSWER_VERSION,
					  "%s: the daemon's list goes in circles", what);
		after.after = page->next;
	}

	*ret = TAKE_PTR(lines);
	*ret_count = count;
	return ANSWER_OK;
}

static enum answer link_hello(struct link *link, const char *path)
{
	struct wire_hello hello = {
		.protocol = WIRE_PROTOCOL,
		.layout_min = LAYOUT_VERSION,
		.layout_max = LAYOUT_VERSION,
		.name = wire_str("varbosctl"),
	};
	const void *result;

	return link_ask(link, path, WIRE_HELLO, &hello, &result);
}

enum answer link_new(struct link **ret, const char *path, int timeout_ms)
{
	_cleanup_(link_freep) struct link *link = NULL;
	enum answer answer;

	link = calloc(1, sizeof(*link));
	if (!link)
		return say_errno(path, ENOMEM);
	link->fd = -1;
	link->timeout_ms = timeout_ms;
	link->next_id = 1;

	answer = link_connect(link, path);
	if (!answer)
		answer = link_hello(link, path);
	if (!answer)
		*ret = TAKE_PTR(link);
	return answer;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	wire_message_deinit(&link->message);
	closep(&link->fd);
	free(link);
}
