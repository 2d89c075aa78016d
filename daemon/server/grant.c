#include "daemon/server/grant.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/server.h"

struct grant {
	uv_work_t work;
	struct request *request;
	void (*done)(struct request *request, bool done);
	uint32_t n;
	int from[WIRE_FDS_MAX];
	int copy; /* closed when they are open; -1: none */
	enum sys_access access[WIRE_FDS_MAX];
	int fds[WIRE_FDS_MAX]; /* opened */
	int error;
};

static void grant_open(uv_work_t *work)
{
	struct grant *grant = container_of(work, struct grant, work);
	struct sys *sys = grant->request->server->sys;
	uint32_t opened = 0;

	while (opened < grant->n && !grant->error) {
		grant->error = sys->table->reopen(sys, grant->from[opened],
						  grant->access[opened], &grant->fds[opened]);
		opened += !grant->error;
	}
	closep(&grant->copy);
	grant->copy = -1;
	if (!grant->error)
		return;
	while (opened)
		close(grant->fds[--opened]);
	grant->n = 0;
}

static void grant_done(uv_work_t *work, int status)
{
	struct grant *grant = container_of(work, struct grant, work);

	(void)status; /* nothing is ever cancelled */
	if (grant->done)
		grant->done(grant->request, !grant->error);
	request_finish(grant->request, grant->error, grant->fds, grant->n);
	free(grant);
}

/* Takes `copy`. */
static int start(struct request *request, const int *fds, const enum sys_access *access,
		 uint32_t n, int copy, void (*done)(struct request *request, bool done))
{
	struct grant *grant;
	int r;

	assert(n <= WIRE_FDS_MAX);
	grant = calloc(1, sizeof(*grant));
	if (grant)
		grant->request = request_keep(request);
	if (!grant || !grant->request) {
		if (done)
			done(request, false);
		free(grant);
		closep(&copy);
		return -ENOMEM;
	}
	grant->done = done;
	grant->n = n;
	grant->copy = copy;
	memcpy(grant->from, fds, n * sizeof(*fds));
	memcpy(grant->access, access, n * sizeof(*access));
	r = uv_queue_work(&request->server->loop, &grant->work, grant_open, grant_done);
	assert(!r); /* it fails for want of a function only */
	return REQUEST_LATER;
}

int grant_start(struct request *request, const int *fds, const enum sys_access *access,
		uint32_t n, void (*done)(struct request *request, bool done))
{
	return start(request, fds, access, n, -1, done);
}

int grant_start_copy(struct request *request, int fd, enum sys_access access)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : start(request, &copy, &access, 1, copy, NULL);
}
