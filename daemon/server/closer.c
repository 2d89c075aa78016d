#include "daemon/server/closer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "daemon/server/server.h"

/* What one datagram brought. */
struct unwanted {
	struct unwanted *next;
	struct quota *quota;
	uint32_t n;
	int fds[];
};

struct closer {
	struct server *server;
	pthread_mutex_t mutex;
	pthread_cond_t wanted;
	struct unwanted *queue, **tail; /* to be closed */
	struct unwanted *closed;        /* to be paid back by the loop */
	bool ending;
	uint32_t refs; /* the server's and the thread's */
};

static void unwanted_free_all(struct unwanted *at)
{
	for (struct unwanted *next; at; at = next) {
		next = at->next;
		free(at);
	}
}

/* Unlocks it. */
static void closer_unref(struct closer *closer)
{
	uint32_t refs = --closer->refs;

	pthread_mutex_unlock(&closer->mutex);
	if (refs)
		return;
	unwanted_free_all(closer->queue);
	unwanted_free_all(closer->closed);
	pthread_cond_destroy(&closer->wanted);
	pthread_mutex_destroy(&closer->mutex);
	free(closer);
}

static void close_all(const struct unwanted *unwanted)
{
	/* A socket that lingers would hold the thread as long as its sender likes. */
	for (uint32_t i = 0; i < unwanted->n; i++) {
		setsockopt(unwanted->fds[i], SOL_SOCKET, SO_LINGER,
			   &(struct linger){.l_onoff = 1}, sizeof(struct linger));
		close(unwanted->fds[i]);
	}
}

static void *closer_run(void *userdata)
{
	struct closer *closer = userdata;

	pthread_mutex_lock(&closer->mutex);
	while (!closer->ending) {
		struct unwanted *unwanted = closer->queue;

		if (!unwanted) {
			pthread_cond_wait(&closer->wanted, &closer->mutex);
			continue;
		}
		closer->queue = unwanted->next;
		if (!closer->queue)
			closer->tail = &closer->queue;
		pthread_mutex_unlock(&closer->mutex);
		close_all(unwanted);
		pthread_mutex_lock(&closer->mutex);
		unwanted->next = closer->closed;
		closer->closed = unwanted;
		if (!closer->ending) /* else the handle may be gone */
			uv_async_send(&closer->server->unwanted_closed);
	}
	closer_unref(closer);
	return NULL;
}

static void pay_back(uv_async_t *async)
{
	struct server *server = container_of(async, struct server, unwanted_closed);
	struct closer *closer = server->closer;
	struct unwanted *closed;

	if (!closer)
		return;
	pthread_mutex_lock(&closer->mutex);
	closed = TAKE_PTR(closer->closed);
	pthread_mutex_unlock(&closer->mutex);
	for (struct unwanted *at = closed; at; at = at->next) {
		quota_give(&server->quotas, at->quota, QUOTA_DESCRIPTORS, at->n);
		quota_unref(&server->quotas, at->quota);
	}
	unwanted_free_all(closed);
}

/* Signals are the loop's. */
static int start_thread(struct closer *closer)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attributes);
	if (r)
		return -r;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attributes, closer_run, closer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

int closer_new(struct closer **ret, struct server *server)
{
	struct closer *closer;
	int r;

	closer = calloc(1, sizeof(*closer));
	if (!closer)
		return -ENOMEM;
	closer->server = server;
	closer->tail = &closer->queue;
	closer->refs = 2;
	pthread_mutex_init(&closer->mutex, NULL);
	pthread_cond_init(&closer->wanted, NULL);
	r = uv_async_init(&server->loop, &server->unwanted_closed, pay_back);
	if (!r)
		r = start_thread(closer);
	if (r) {
		closer->refs = 1;
		pthread_mutex_lock(&closer->mutex);
		closer_unref(closer);
		return r;
	}
	*ret = closer;
	return 0;
}

void closer_free(struct closer *closer)
{
	if (!closer)
		return;
	pthread_mutex_lock(&closer->mutex);
	closer->ending = true;
	pthread_cond_signal(&closer->wanted);
	closer_unref(closer);
}

int closer_take(struct closer *closer, struct quota *quota, const int *fds, uint32_t n)
{
	struct quota_table *quotas = &closer->server->quotas;
	struct unwanted *unwanted = malloc(sizeof(*unwanted) + n * sizeof(*fds));

	if (!unwanted)
		return -ENOMEM;
	*unwanted = (struct unwanted){.quota = quota_ref(quotas, quota->uid), .n = n};
	assert(unwanted->quota); /* it is there already */
	memcpy(unwanted->fds, fds, n * sizeof(*fds));
	quota_take(quotas, quota, QUOTA_DESCRIPTORS, n);
	pthread_mutex_lock(&closer->mutex);
	*closer->tail = unwanted;
	closer->tail = &unwanted->next;
	pthread_cond_signal(&closer->wanted);
	pthread_mutex_unlock(&closer->mutex);
	return 0;
}
