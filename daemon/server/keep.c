#include "daemon/server/keep.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep_adopt.h"
#include "daemon/server/keep_group.h"
#include "daemon/server/keep_pass.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_table.h"
#include "daemon/server/keep_thread.h"
#include "daemon/server/log.h"
#include "daemon/server/store.h"

enum {
	ALONE_MAX = 200, /* entries of the store with one descriptor each */
	PATIENCE_MS = 90000,
	BUCKETS_MIN = 256,
};

int keep_new(struct keep **ret, struct left *left, const struct keep_terms *terms)
{
	struct keep *keep;
	int r;

	keep = calloc(1, sizeof(*keep));
	if (!keep) {
		log_error("no start: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	pthread_mutex_init(&keep->mutex, NULL);
	pthread_cond_init(&keep->settled, NULL);
	keep->store = (struct store){.fd = -1, .keeper = -1};
	keep->wake = -1;
	keep->tail = &keep->queue;
	keep->patience_ms = terms->patience_ms ? terms->patience_ms : PATIENCE_MS;
	keep->n_buckets = BUCKETS_MIN;
	keep->buckets = calloc(BUCKETS_MIN, sizeof(struct keep_entry *));
	r = keep->buckets ? store_open(&keep->store, terms->keeper_only) : -ENOMEM;
	/*
	 * Half of it for single ones; both ends of each group, and of its next state, for all of them may
	 * change at once.
	 */
	keep->alone_max = (uint32_t)u64_min(keep->store.most / 2, ALONE_MAX);
	keep->groups_max = (keep->store.most - keep->alone_max) /
			   (mutant(keep_groups_change_alone) ? 2 : 4);
	if (!r)
		r = keep_adopt(keep, left);
	if (!r && keep_lasts(keep)) {
		keep->wake = eventfd(0, EFD_CLOEXEC);
		r = keep->wake < 0 ? -errno : keep_thread_start(keep);
	}
	if (r) {
		log_error("what an earlier daemon left cannot be taken over: %s", strerror(-r));
		keep_free(keep);
		return r;
	}
	*ret = keep;
	return 0;
}

void keep_free(struct keep *keep)
{
	if (!keep)
		return;
	keep_thread_stop(keep);
	for (uint32_t i = 0; keep->buckets && i < keep->n_buckets; i++)
		while (keep->buckets[i]) {
			struct keep_entry *entry = keep->buckets[i];

			keep->buckets[i] = entry->next;
			if (entry->is_left)
				close(entry->fd);
			free(entry);
		}
	while (keep->groups) {
		struct keep_group *group = keep->groups;

		keep->groups = group->next;
		keep_group_free(group);
	}
	free(keep->buckets);
	closep(&keep->wake);
	store_close(&keep->store);
	pthread_cond_destroy(&keep->settled);
	pthread_mutex_destroy(&keep->mutex);
	free(keep);
}

bool keep_lasts(const struct keep *keep)
{
	return keep->store.fd >= 0 && keep->store.most;
}

bool keep_resumes(const struct keep *keep)
{
	return keep->resumes;
}

/* With the lock. */
static void remove_entry(struct keep *keep, struct keep_entry *entry)
{
	keep->n--;
	entry->state = KEEP_LEAVING;
	if (keep_lasts(keep))
		keep_enqueue(keep, entry);
	else
		keep_forget(keep, entry);
}

/* With the lock: it was left, and nobody has taken it. */
static void drop_left(struct keep *keep, struct keep_entry *entry)
{
	log_warning("%s was left, and nothing speaks of it: it is closed", entry->name);
	entry->is_left = false;
	close(entry->fd);
	remove_entry(keep, entry);
}

/* With the lock: all of them, or none. */
static int add_all(struct keep *keep, const struct kept *what, uint32_t n,
		   struct keep_wish *wish)
{
	struct keep_entry *fresh = NULL, *at;
	int r = 0;

	for (uint32_t i = 0; i < n && !r; i++) {
		at = keep_find(keep, what[i].name);
		if (at && at->is_left && !mutant(keep_left_stays))
			drop_left(keep, at);
		at = keep_find(keep, what[i].name)
			     ? NULL
			     : keep_entry_new(what[i].name, what[i].fd, KEEP_WANTED);
		if (!at) {
			r = keep_find(keep, what[i].name) ? -EEXIST : -ENOMEM;
			break;
		}
		at->after = fresh;
		fresh = at;
		keep_insert(keep, at);
	}
	while ((at = fresh)) {
		fresh = at->after;
		if (r) {
			keep->n--;
			keep_forget(keep, at);
		} else if (keep_lasts(keep)) {
			at->wish = wish;
			wish->n++;
			keep_enqueue(keep, at);
		} else {
			at->state = KEEP_KEPT;
		}
	}
	return r;
}

int keep_put(struct keep *keep, const struct kept *what, uint32_t n)
{
	struct keep_wish wish = {};
	int r;

	pthread_mutex_lock(&keep->mutex);
	r = add_all(keep, what, n, &wish);
	if (!r && wish.n) {
		keep_wake(keep);
		while (wish.n)
			pthread_cond_wait(&keep->settled, &keep->mutex);
		r = wish.r;
		for (uint32_t i = 0; r && i < n; i++) {
			struct keep_entry *entry = keep_find(keep, what[i].name);

			if (entry)
				remove_entry(keep, entry);
		}
	}
	pthread_mutex_unlock(&keep->mutex);
	if (r)
		log_error("%u descriptors (%s...) cannot be kept: %s", n, what[0].name,
			  strerror(-r));
	return r;
}

void keep_remove(struct keep *keep, const char *name)
{
	struct keep_entry *entry;

	pthread_mutex_lock(&keep->mutex);
	entry = keep_find(keep, name);
	if (entry) {
		remove_entry(keep, entry);
		if (keep_lasts(keep))
			keep_wake(keep);
	}
	pthread_mutex_unlock(&keep->mutex);
}

int keep_take(struct keep *keep, const char *name)
{
	struct keep_entry *entry;
	int fd = -1;

	pthread_mutex_lock(&keep->mutex);
	entry = keep_find(keep, name);
	if (entry && entry->is_left) {
		entry->is_left = false;
		fd = entry->fd;
	}
	pthread_mutex_unlock(&keep->mutex);
	return fd;
}

bool keep_left(struct keep *keep, enum kept_kind kind, char ret[KEPT_NAME_MAX])
{
	uint64_t numbers[KEPT_NUMBERS_MAX];
	enum kept_kind its;
	bool found = false;

	pthread_mutex_lock(&keep->mutex);
	for (uint32_t i = 0; i < keep->n_buckets && !found; i++)
		for (const struct keep_entry *at = keep->buckets[i]; at && !found;
		     at = at->next) {
			found = at->is_left && kept_parse(at->name, &its, numbers) &&
				its == kind;
			if (found)
				strcpy(ret, at->name);
		}
	pthread_mutex_unlock(&keep->mutex);
	return found;
}

uint32_t keep_drop_rest(struct keep *keep)
{
	uint32_t n = 0;

	pthread_mutex_lock(&keep->mutex);
	for (uint32_t i = 0; i < keep->n_buckets; i++)
		for (struct keep_entry *at = keep->buckets[i], *next; at; at = next) {
			next = at->next;
			if (!at->is_left || at->state == KEEP_LEAVING)
				continue;
			drop_left(keep, at);
			n++;
		}
	if (n && keep_lasts(keep))
		keep_wake(keep);
	pthread_mutex_unlock(&keep->mutex);
	return n;
}

bool keep_has_manager(const struct keep *keep)
{
	return keep->store.fd >= 0;
}

bool keep_say(struct keep *keep, const char *text)
{
	bool said;

	pthread_mutex_lock(&keep->mutex);
	said = keep->store.fd >= 0 && !store_say(&keep->store, text, NULL, 0);
	pthread_mutex_unlock(&keep->mutex);
	return said;
}
