/*
 * What the files of the keep have in common: what is kept, and where it stands. With the lock, but for
 * what is set once.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/server/kept.h"
#include "daemon/server/store.h"

enum keep_state {
	KEEP_WANTED,  /* somebody waits for the store to have it */
	KEEP_KEPT,    /* the store has it */
	KEEP_LEAVING, /* removed; the store is still to be told */
};

/* A keep_put(). */
struct keep_wish {
	uint32_t n; /* entries that are neither kept nor refused yet */
	int r;
};

struct keep_group {
	struct keep_group *next;
	uint64_t number;
	int pair[2]; /* -1: not in the store yet */
	struct keep_entry *entries;
	uint32_t n;
	bool changed;
	/* Its next state, until the store has it: */
	uint64_t next_number;
	int next_pair[2];
};

struct keep_entry {
	struct keep_entry *next;      /* of its bucket */
	struct keep_entry *after;     /* in the queue */
	struct keep_entry *neighbour; /* in its group */
	struct keep_group *group;     /* NULL: it is on its own */
	struct keep_wish *wish;
	int fd;
	enum keep_state state;
	bool is_left;   /* nobody has taken it */
	bool is_stored; /* on its own: told, and perhaps taken */
	char name[KEPT_NAME_MAX];
};

struct keep {
	pthread_mutex_t mutex;
	struct store store;
	uint32_t patience_ms;
	struct keep_entry **buckets;
	uint32_t n_buckets, n; /* n: but for those that leave */
	bool resumes;
	FILE *list; /* of what is handed over */

	/* The thread's, where there is a store: */
	bool has_thread, ending;
	bool busy;      /* it is telling the store something, though the lock be open */
	bool owes_all;  /* another keeper has not got all yet */
	bool tells_all; /* it is being told: what is in the buckets stays where it is */
	pthread_t thread;
	pthread_cond_t settled; /* a wish is */
	int wake;               /* eventfd */
	struct keep_entry *queue, **tail;
	struct keep_group *groups;
	uint32_t alone_max, groups_max, n_alone, n_groups;
	uint64_t group_last; /* number */
};
