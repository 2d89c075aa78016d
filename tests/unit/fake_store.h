/*
 * Fake store - what holds descriptors, by name, as a thread of the test: systemd's store in small.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/kept.h"
#include "daemon/server/left.h"

enum { FAKE_STORE_MAX = 1024, FAKE_SNAPSHOTS_MAX = 64 };

struct fake_stored {
	char name[KEPT_NAME_MAX];
	int fd;
};

struct fake_snapshot {
	struct fake_stored stored[FAKE_STORE_MAX];
	uint32_t n;
};

struct fake_store {
	int fd, held;
	pthread_t thread;
	pthread_mutex_t mutex;
	/* Any time: */
	_Atomic uint32_t slow_ms; /* before each message is looked at */
	_Atomic bool
		deaf; /* barriers are held, the last one until there is a message after it */
	_Atomic uint32_t ready;   /* who has said that he serves */
	_Atomic bool takes_shots; /* a copy of all after each message but barriers */
	/* With the mutex: */
	struct fake_stored stored[FAKE_STORE_MAX];
	uint32_t n;
	uint32_t most, barriers, messages;
	struct fake_snapshot *shots[FAKE_SNAPSHOTS_MAX];
	uint32_t n_shots;
};

/* It is at $NOTIFY_SOCKET from now on, and takes $FDSTORE descriptors. */
void fake_store_start(struct fake_store *store, uint32_t takes);
void fake_store_stop(struct fake_store *store);

/* As it is now, whatever was said and not looked at yet; the others wait for that. */
bool fake_store_has(struct fake_store *store, const char *name);
/* How many entries; and the highest number of them that there ever was. */
uint32_t fake_store_count(struct fake_store *store, uint32_t *ret_most);
/* What a process started now would be passed. */
void fake_store_leave(struct fake_store *store, struct left *ret);
void fake_shot_leave(const struct fake_snapshot *shot, struct left *ret);
