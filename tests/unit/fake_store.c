#include "tests/unit/fake_store.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

static void add(struct fake_store *store, const char *name, int fd)
{
	ck_assert_uint_lt(store->n, FAKE_STORE_MAX);
	strcpy(store->stored[store->n].name, name);
	store->stored[store->n++].fd = fd;
	if (store->n > store->most)
		store->most = store->n;
}

static void take_away(struct fake_store *store, const char *name)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < store->n; i++)
		if (strcmp(store->stored[i].name, name))
			store->stored[n++] = store->stored[i];
		else
			close(store->stored[i].fd);
	store->n = n;
}

static void shoot(struct fake_store *store)
{
	struct fake_snapshot *shot = calloc(1, sizeof(*shot));

	ck_assert_uint_lt(store->n_shots, FAKE_SNAPSHOTS_MAX);
	ck_assert_ptr_nonnull(shot);
	for (; shot->n < store->n; shot->n++) {
		shot->stored[shot->n] = store->stored[shot->n];
		shot->stored[shot->n].fd = fcntl(store->stored[shot->n].fd, F_DUPFD_CLOEXEC, 3);
		ck_assert_int_ge(shot->stored[shot->n].fd, 3);
	}
	store->shots[store->n_shots++] = shot;
}

static void let_go(struct fake_store *store)
{
	closep(&store->held);
	store->held = -1;
}

/* false: it was told to end. */
static bool look(struct fake_store *store, const char *text, const int *fds, uint32_t n)
{
	char name[256] = "";
	const char *at = strstr(text, "FDNAME=");

	if (at)
		ck_assert_int_eq(sscanf(at, "FDNAME=%255[^\n]", name), 1);
	store->messages++;
	if (!store->deaf)
		let_go(store);
	if (!strcmp(text, "BARRIER=1")) {
		ck_assert_uint_eq(n, 1);
		store->barriers++;
		let_go(store);
		store->held = fds[0];
		if (!store->deaf)
			let_go(store);
		return true;
	}
	if (!strcmp(text, "END") || !strcmp(text, "LOOK")) {
		for (uint32_t i = 0; i < n; i++)
			close(fds[i]);
		return *text != 'E';
	}
	if (!strncmp(text, "READY=1", 7))
		store->ready++;
	if (strstr(text, "FDSTOREREMOVE=1")) {
		ck_assert_uint_eq(n, 0);
		take_away(store, name);
	} else if (strstr(text, "FDSTORE=1")) {
		ck_assert_ptr_nonnull(strstr(text, "FDPOLL=0"));
		ck_assert_uint_ge(n, 1);
		for (uint32_t i = 0; i < n; i++)
			add(store, name, fds[i]);
	}
	if (store->takes_shots)
		shoot(store);
	return true;
}

static void *run(void *userdata)
{
	struct fake_store *store = userdata;
	bool more = true;

	while (more) {
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(253 * sizeof(int))];
		} control;
		char text[4096];
		struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
		struct msghdr message = {.msg_iov = &iov,
					 .msg_iovlen = 1,
					 .msg_control = &control,
					 .msg_controllen = sizeof(control)};
		struct timespec pause = {.tv_nsec = (long)store->slow_ms * 1000000};
		int fds[253];
		uint32_t n = 0;
		ssize_t got;

		got = recvmsg(store->fd, &message, MSG_CMSG_CLOEXEC);
		ck_assert_int_ge(got, 0);
		text[got] = '\0';
		ck_assert_int_eq(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
		for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at;
		     at = CMSG_NXTHDR(&message, at))
			if (at->cmsg_type == SCM_RIGHTS) {
				n = (uint32_t)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
				memcpy(fds, CMSG_DATA(at), n * sizeof(int));
			}
		if (pause.tv_nsec)
			nanosleep(&pause, NULL);
		pthread_mutex_lock(&store->mutex);
		more = look(store, text, fds, n);
		pthread_mutex_unlock(&store->mutex);
	}
	return NULL;
}

void fake_store_start(struct fake_store *store, uint32_t takes)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof(address);
	char text[128];

	*store = (struct fake_store){.held = -1};
	pthread_mutex_init(&store->mutex, NULL);
	store->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(store->fd, 0);
	/* An address of the kernel's choice. */
	ck_assert(!bind(store->fd, (struct sockaddr *)&address, sizeof(sa_family_t)));
	ck_assert(!getsockname(store->fd, (struct sockaddr *)&address, &bytes));
	snprintf(text, sizeof(text), "@%.*s",
		 (int)(bytes - offsetof(struct sockaddr_un, sun_path) - 1),
		 address.sun_path + 1);
	ck_assert(!setenv("NOTIFY_SOCKET", text, 1));
	snprintf(text, sizeof(text), "%u", takes);
	ck_assert(!setenv("FDSTORE", text, 1));
	ck_assert(!pthread_create(&store->thread, NULL, run, store));
}

/* All that was said before has been looked at when this returns. */
static void tell(struct fake_store *store, char *text)
{
	struct sockaddr_un address;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_name = &address,
				 .msg_namelen = sizeof(address),
				 .msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), pair[2];
	char byte;

	ck_assert(!pipe2(pair, O_CLOEXEC));
	ck_assert(!getsockname(store->fd, (struct sockaddr *)&address, &message.msg_namelen));
	control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS,
					  .cmsg_len = CMSG_LEN(sizeof(int))};
	memcpy(CMSG_DATA(&control.header), &pair[1], sizeof(int));
	ck_assert_int_ge(sendmsg(fd, &message, 0), 0);
	close(pair[1]);
	ck_assert_int_eq(read(pair[0], &byte, 1), 0);
	close(pair[0]);
	close(fd);
}

void fake_store_stop(struct fake_store *store)
{
	tell(store, (char[]){"END"});
	ck_assert(!pthread_join(store->thread, NULL));
	for (uint32_t i = 0; i < store->n; i++)
		close(store->stored[i].fd);
	for (uint32_t i = 0; i < store->n_shots; i++) {
		for (uint32_t k = 0; k < store->shots[i]->n; k++)
			close(store->shots[i]->stored[k].fd);
		free(store->shots[i]);
	}
	close(store->fd);
	pthread_mutex_destroy(&store->mutex);
}

bool fake_store_has(struct fake_store *store, const char *name)
{
	bool found = false;

	pthread_mutex_lock(&store->mutex);
	for (uint32_t i = 0; i < store->n; i++)
		found |= !strcmp(store->stored[i].name, name);
	pthread_mutex_unlock(&store->mutex);
	return found;
}

uint32_t fake_store_count(struct fake_store *store, uint32_t *ret_most)
{
	uint32_t n;

	tell(store, (char[]){"LOOK"});
	pthread_mutex_lock(&store->mutex);
	n = store->n;
	if (ret_most)
		*ret_most = store->most;
	pthread_mutex_unlock(&store->mutex);
	return n;
}

static void leave(const struct fake_stored *stored, uint32_t n, struct left *ret)
{
	*ret = (struct left){.names = calloc(n + 1, sizeof(char *)),
			     .fds = calloc(n + 1, sizeof(int))};
	ck_assert(ret->names && ret->fds);
	for (; ret->n < n; ret->n++) {
		ret->names[ret->n] = strdup(stored[ret->n].name);
		ret->fds[ret->n] = fcntl(stored[ret->n].fd, F_DUPFD_CLOEXEC, 3);
		ck_assert_int_ge(ret->fds[ret->n], 3);
	}
}

void fake_store_leave(struct fake_store *store, struct left *ret)
{
	tell(store, (char[]){"LOOK"});
	pthread_mutex_lock(&store->mutex);
	leave(store->stored, store->n, ret);
	pthread_mutex_unlock(&store->mutex);
}

void fake_shot_leave(const struct fake_snapshot *shot, struct left *ret)
{
	leave(shot->stored, shot->n, ret);
}
