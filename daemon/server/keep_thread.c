#include "daemon/server/keep_thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep_pass.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_speech.h"
#include "daemon/server/keeper.h"
#include "daemon/server/log.h"
#include "daemon/server/store.h"

enum { AGAIN_MS = 1000 };

/* Until something is to be done, the keeper ends, or so long. */
static void rest(struct keep *keep, int ms)
{
	struct pollfd poll_fds[] = {{.fd = keep->wake, .events = POLLIN},
				    {.fd = keep->store.keeper, .events = POLLIN}};
	uint64_t count;

	pthread_mutex_unlock(&keep->mutex);
	poll(poll_fds, ARRAY_SIZE(poll_fds), ms);
	if (poll_fds[0].revents && read(keep->wake, &count, sizeof(count)) < 0)
		log_warning("an eventfd cannot be read: %s", strerror(errno));
	pthread_mutex_lock(&keep->mutex);
}

/* All that its predecessor held, from what is open here. */
static int tell_all(struct keep *keep)
{
	uint64_t deadline = keep_deadline(keep);
	char name[KEPT_NAME_MAX];
	int r = 0;

	keep->tells_all = true;
	for (uint32_t i = 0; i < keep->n_buckets; i++)
		for (const struct keep_entry *at = keep->buckets[i]; at && r >= 0;
		     at = at->next)
			if (at->is_stored && at->state == KEEP_KEPT)
				r = keep_say_stored(keep, at->name, &at->fd, 1, at, deadline);
	for (const struct keep_group *at = keep->groups; at && r >= 0; at = at->next)
		if (at->pair[0] >= 0)
			r = keep_say_stored(keep, kept_name(name, KEPT_GROUP, at->number, 0, 0),
					    at->pair, 2, NULL, deadline);
	keep->tells_all = false;
	if (r >= 0)
		r = keep_barrier(keep, deadline);
	if (r)
		return r;
	keep->owes_all = false;
	log_info("another keeper holds %u descriptors", keep->n);
	return 0;
}

/* The keeper has ended: start another. */
static int replace_keeper(struct keep *keep)
{
	struct store store, former = keep->store;
	siginfo_t info;
	int r;

	pthread_mutex_unlock(&keep->mutex);
	log_warning("its keeper has ended: another is started");
	r = keeper_start(&store);
	pthread_mutex_lock(&keep->mutex);
	if (r) {
		log_error("no keeper can be started: %s", strerror(-r));
		return r;
	}
	keep->store = store;
	waitid(P_PIDFD, (id_t)former.keeper, &info,
	       WEXITED | WNOHANG); /* if it was our child */
	store_close(&former);
	keep->owes_all = true;
	return 0;
}

static void *run(void *userdata)
{
	struct keep *keep = userdata;
	bool failing = false;

	pthread_mutex_lock(&keep->mutex);
	while (!keep->ending || (keep->queue && !failing)) {
		bool alone = keep_lost_keeper(keep);
		int r;

		keep->busy = alone || keep->owes_all || keep_has_work(keep);
		if (!keep->busy) {
			rest(keep, -1);
			continue;
		}
		r = alone ? replace_keeper(keep) : 0;
		if (!r && keep->owes_all)
			r = tell_all(keep);
		if (!r)
			r = keep_pass(keep);
		else
			keep_refuse_all(keep, r);
		if (r && !failing)
			log_warning("the store of descriptors: %s", strerror(-r));
		failing = r;
		if (r && !keep->ending)
			rest(keep, AGAIN_MS);
	}
	pthread_mutex_unlock(&keep->mutex);
	return NULL;
}

int keep_thread_start(struct keep *keep)
{
	sigset_t all, before;
	int r;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&keep->thread, NULL, run, keep);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	keep->has_thread = !r;
	return -r;
}

void keep_thread_stop(struct keep *keep)
{
	if (!keep->has_thread)
		return;
	pthread_mutex_lock(&keep->mutex);
	keep->ending = true;
	pthread_mutex_unlock(&keep->mutex);
	keep_wake(keep);
	pthread_join(keep->thread, NULL);
}

void keep_wake(const struct keep *keep)
{
	uint64_t one = 1;

	while (write(keep->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}
