#include "daemon/server/waker.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/server.h"

struct waker {
	struct server *server;
	uv_work_t work;
	bool running;
	uint32_t at; /* slot of the space whose crowd is woken, or was last */
	/*
	 * In its root file. The space may go meanwhile, and the file be unmapped: nobody is woken
	 * through an address where nothing is, and who is woken for nothing looks again.
	 */
	const _Atomic uint32_t *word;
};

int waker_new(struct waker **ret, struct server *server)
{
	struct waker *waker = calloc(1, sizeof(*waker));

	if (!waker)
		return -ENOMEM;
	waker->server = server;
	*ret = waker;
	return 0;
}

void waker_free(struct waker *waker)
{
	assert(!waker || !waker->running);
	free(waker);
}

static void wake_crowd(uv_work_t *work)
{
	struct waker *waker = container_of(work, struct waker, work);
	struct sys *sys = waker->server->sys;

	sys->table->wake(sys, waker->word, INT_MAX);
}

static void crowd_woken(uv_work_t *work, int status)
{
	struct waker *waker = container_of(work, struct waker, work);

	(void)status; /* nothing is ever cancelled */
	waker->running = false;
	waker_look(waker);
}

/* The next one from the last on. */
static bool find_crowd(struct waker *waker)
{
	struct files *files = &waker->server->files;

	for (uint32_t i = 0; i < files->n_roots; i++) {
		struct root_files *root;

		waker->at = waker->at + 1 < files->n_roots ? waker->at + 1 : 0;
		root = &files->roots[waker->at];
		if (!root->crowded)
			continue;
		root->crowded = false;
		waker->word = &root->root->deaths;
		return true;
	}
	files->crowded = false;
	return false;
}

void waker_look(struct waker *waker)
{
	struct server *server = waker->server;
	int r;

	if (waker->running || !server->files.crowded || server->stopping || !find_crowd(waker))
		return;
	waker->running = true;
	r = uv_queue_work(&server->loop, &waker->work, wake_crowd, crowd_woken);
	assert(!r); /* it fails for want of a function only */
}
