#include "daemon/server/keep_over.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep.h"
#include "daemon/server/keep_pass.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_speech.h"
#include "daemon/server/left.h"
#include "daemon/server/store.h"

/* Close-on-exec or not, and one line each, as left.c reads them. */
static int pass_on(const struct keep *keep, int listener, bool passes, FILE *list)
{
	int flags = passes ? 0 : FD_CLOEXEC, r = 0;

	if (listener)
		r |= fcntl(listener, F_SETFD, flags);
	if (listener && list)
		fprintf(list, "%d socket\n", listener);
	for (uint32_t i = 0; i < keep->n_buckets; i++)
		for (const struct keep_entry *at = keep->buckets[i]; at; at = at->next) {
			if (at->group || at->state != KEEP_KEPT)
				continue;
			r |= fcntl(at->fd, F_SETFD, flags);
			if (list)
				fprintf(list, "%d %s\n", at->fd, at->name);
		}
	for (const struct keep_group *at = keep->groups; at; at = at->next) {
		char name[KEPT_NAME_MAX];

		if (at->pair[0] < 0)
			continue;
		r |= fcntl(at->pair[0], F_SETFD, flags) | fcntl(at->pair[1], F_SETFD, flags);
		kept_name(name, KEPT_GROUP, at->number, 0, 0);
		if (list)
			fprintf(list, "%d %s\n%d %s\n", at->pair[0], name, at->pair[1], name);
	}
	return r ? -EBADF : 0;
}

/* With the lock. */
static bool is_settled(const struct keep *keep)
{
	return !keep_lasts(keep) || mutant(keep_handed_over_unsettled) ||
	       (!keep->busy && !keep_has_work(keep) && !keep_lost_keeper(keep));
}

bool keep_is_settled(struct keep *keep)
{
	bool is;

	pthread_mutex_lock(&keep->mutex);
	is = is_settled(keep);
	pthread_mutex_unlock(&keep->mutex);
	return is;
}

int keep_hand_over(struct keep *keep, int listener)
{
	int fd = memfd_create("varbos-left", 0), r;
	FILE *list = fd < 0 ? NULL : fdopen(fd, "w");

	if (!list) {
		r = -errno;
		closep(&fd);
		return r;
	}
	pthread_mutex_lock(&keep->mutex);
	r = is_settled(keep) ? pass_on(keep, listener, true, list) : -EBUSY;
	if (!r && (fflush(list) || ferror(list)))
		r = -errno;
	keep->list = list;
	store_tell(&keep->store);
	left_tell(fd);
	if (r)
		keep_take_back(keep, listener);
	return r;
}

void keep_take_back(struct keep *keep, int listener)
{
	left_tell(-1);
	store_take_back(&keep->store);
	fclose(TAKE_PTR(keep->list));
	pass_on(keep, listener, false, NULL);
	pthread_mutex_unlock(&keep->mutex);
}
