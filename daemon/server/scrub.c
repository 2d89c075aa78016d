#include "daemon/server/scrub.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/base.h"
#include "daemon/server/job.h"
#include "daemon/server/log.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"

enum {
	LOOKS_MAX = 64,   /* at one beat */
	ROUND_BEATS = 60, /* between two rounds through all windows, though no session ended */
};

struct look {
	int fd;
	uint32_t window;    /* slot */
	uint64_t committed; /* before */
	uint64_t blocks;    /* then; 0 if it could not be asked */
};

struct scrub {
	struct server *server;
	uv_work_t work;
	bool looking;      /* a worker has `looks` */
	uint32_t beats;    /* since the last round began */
	uint32_t at, left; /* slots: the next one, and how many this round has yet to see */
	uint32_t n_looks;
	struct look looks[LOOKS_MAX];
};

/* Whom to tell when a plan has ended. */
struct suspect {
	struct server *server;
	uint32_t space, window;
};

int scrub_new(struct scrub **ret, struct server *server)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));

	if (!scrub)
		return -ENOMEM;
	scrub->server = server;
	*ret = scrub;
	return 0;
}

void scrub_free(struct scrub *scrub)
{
	assert(!scrub || !scrub->looking);
	free(scrub);
}

void scrub_soon(struct scrub *scrub)
{
	scrub->left = scrub->server->files.n_windows;
}

static void suspect_done(void *userdata, const struct job_outcome *outcome)
{
	_cleanup_(freep) struct suspect *suspect = userdata;
	struct server *server = suspect->server;
	struct space_view space;

	/* What failed has been said, and the next round tries again. */
	if (server->stopping || outcome->error || !outcome->surplus ||
	    !core_space_view(server->core, suspect->space, &space))
		return;
	core_surplus(server->core, suspect->space, outcome->surplus);
	publisher_touch(server->publisher);
	log_notice("space %u (%s): window %u held %" PRIu64
		   " bytes that nobody committed; they are taken back",
		   suspect->space, space.name, suspect->window, outcome->surplus);
}

/* Moving memory, or none for the plan: another time. */
static void suspect_plan(struct scrub *scrub, uint32_t slot)
{
	struct server *server = scrub->server;
	struct suspect *suspect;
	struct plan *plan;
	int r;

	suspect = calloc(1, sizeof(*suspect));
	if (!suspect) {
		scrub_soon(scrub);
		return;
	}
	r = core_scrub(server->core, slot, &plan);
	if (r || !plan) {
		if (r == CORE_E_BUSY || r < 0)
			scrub_soon(scrub);
		free(suspect);
		return;
	}
	*suspect = (struct suspect){server, plan->space, slot};
	if (job_start(server, plan, suspect_done, suspect)) {
		scrub_soon(scrub);
		free(suspect);
	}
}

static void look(uv_work_t *work)
{
	struct scrub *scrub = container_of(work, struct scrub, work);
	struct sys *sys = scrub->server->sys;

	for (uint32_t i = 0; i < scrub->n_looks; i++) {
		struct look *at = &scrub->looks[i];

		if (sys->table->blocks(sys, at->fd, &at->blocks) || mutant(scrub_never))
			at->blocks = 0;
		closep(&at->fd);
	}
}

static void looked(uv_work_t *work, int status)
{
	struct scrub *scrub = container_of(work, struct scrub, work);
	struct server *server = scrub->server;

	(void)status; /* nothing is ever cancelled */
	scrub->looking = false;
	for (uint32_t i = 0; i < scrub->n_looks && !server->stopping; i++) {
		const struct look *at = &scrub->looks[i];
		struct window_view view;

		/* Another window may have the slot by now; then the plan's worker finds nothing. */
		if (!core_window_view(server->core, at->window, &view))
			continue;
		/* What was given or taken back meanwhile is no surplus. */
		if (at->blocks > u64_max(at->committed, view.committed))
			suspect_plan(scrub, at->window);
	}
}

void scrub_beat(struct scrub *scrub)
{
	struct server *server = scrub->server;
	const struct files *files = &server->files;
	int r;

	if (++scrub->beats >= ROUND_BEATS) {
		scrub->beats = 0;
		scrub_soon(scrub);
	}
	if (scrub->looking)
		return;

	scrub->n_looks = 0;
	while (scrub->left && scrub->n_looks < LOOKS_MAX) {
		struct look *next = &scrub->looks[scrub->n_looks];
		struct window_view view;

		scrub->at = scrub->at + 1 < files->n_windows ? scrub->at + 1 : 0;
		scrub->left--;
		if (files->windows[scrub->at].data_fd < 0 ||
		    !core_window_view(server->core, scrub->at, &view))
			continue;
		*next = (struct look){
			.window = scrub->at,
			.committed = view.committed,
			.fd = fcntl(files->windows[scrub->at].data_fd, F_DUPFD_CLOEXEC, 3),
		};
		if (next->fd < 0)
			break; /* none to be had: the next round sees it */
		scrub->n_looks++;
	}
	if (!scrub->n_looks)
		return;
	scrub->looking = true;
	r = uv_queue_work(&server->loop, &scrub->work, look, looked);
	assert(!r); /* it fails for want of a function only */
}
