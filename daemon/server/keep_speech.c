#include "daemon/server/keep_speech.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/store.h"

enum { WORDS_MAX = KEPT_NAME_MAX + 64 };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t keep_deadline(const struct keep *keep)
{
	return now_ms() + keep->patience_ms;
}

/* Without the lock, until something is there, or an end; false: in vain. */
static bool await(struct keep *keep, int fd, short events, uint64_t deadline)
{
	struct pollfd poll_fds[] = {{.fd = fd, .events = events},
				    {.fd = keep->store.keeper, .events = POLLIN}};
	uint64_t now = now_ms();
	int r = 0;

	pthread_mutex_unlock(&keep->mutex);
	while (now < deadline) {
		r = poll(poll_fds, ARRAY_SIZE(poll_fds), (int)(deadline - now));
		if (r >= 0 || errno != EINTR)
			break;
		now = now_ms();
	}
	pthread_mutex_lock(&keep->mutex);
	return r > 0 && poll_fds[0].revents;
}

static int say(struct keep *keep, const char *words, const int *fds, uint32_t n,
	       const struct keep_entry *entry, uint64_t deadline)
{
	int r;

	while ((r = store_say(&keep->store, words, fds, n)) == -EAGAIN) {
		if (!await(keep, keep->store.fd, POLLOUT, deadline))
			return -ETIMEDOUT;
		if (entry && entry->state == KEEP_LEAVING)
			return KEEP_E_GONE;
	}
	return r;
}

int keep_say_stored(struct keep *keep, const char *name, const int *fds, uint32_t n,
		    const struct keep_entry *entry, uint64_t deadline)
{
	char words[WORDS_MAX];

	snprintf(words, sizeof(words), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return say(keep, words, fds, n, entry, deadline);
}

int keep_say_removed(struct keep *keep, const char *name, uint64_t deadline)
{
	char words[WORDS_MAX];

	snprintf(words, sizeof(words), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return say(keep, words, NULL, 0, NULL, deadline);
}

void keep_unsay(struct keep *keep, const char *name)
{
	char words[WORDS_MAX];

	snprintf(words, sizeof(words), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	store_say(&keep->store, words, NULL, 0);
}

int keep_barrier(struct keep *keep, uint64_t deadline)
{
	_cleanup_(closep) int fd = -1;
	int r;

	if (mutant(keep_barrier_skipped))
		return 0;
	while ((r = store_barrier(&keep->store, &fd)) == -EAGAIN)
		if (!await(keep, keep->store.fd, POLLOUT, deadline))
			return -ETIMEDOUT;
	if (r)
		return r;
	return await(keep, fd, 0, deadline) ? 0 : -ETIMEDOUT;
}

bool keep_lost_keeper(const struct keep *keep)
{
	struct pollfd poll_fd = {.fd = keep->store.keeper, .events = POLLIN};

	return keep->store.keeper >= 0 && poll(&poll_fd, 1, 0) > 0;
}
