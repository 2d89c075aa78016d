#include "daemon/server/grant.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/server.h"

struct grant {
	uv_work_t work;
	struct request *request;
	void (*failed)(struct request *request);
	uint32_t n;
	int from[WIRE_FDS_MAX];
	enum sys_access access[WIRE_FDS_MAX];
	int fds[WIRE_FDS_MAX]; /* opened */
	int error;
};

static void grant_open(uv_work_t *work)
{
	struct grant *grant = container_of(work, struct grant, work);
	struct sys *sys = grant->request->server->sys;
	uint32_t i;

	for (i = 0; i < grant->n && !grant->error; i++)
		grant->error = sys->table->reopen(sys, grant->from[i], grant->access[i],
						  &grant->fds[i]);
	if (!grant->error)
		return;
	for (i--; i-- > 0;)
		close(grant->fds[i]);
	grant->n = 0;
}

static void grant_done(uv_work_t *work, int status)
{
	struct grant *grant = container_of(work, struct grant, work);

	(void)status; /* nothing is ever cancelled */
	if (grant->error && grant->failed)
		grant->failed(grant->request);
	request_finish(grant->request, grant->error, grant->fds, grant->n);
	free(grant);
}

int grant_start(struct request *request, const int *fds, const enum sys_access *access,
		uint32_t n, void (*failed)(struct request *request))
{
	struct grant *grant;
	int r;

	assert(n <= WIRE_FDS_MAX);
	grant = calloc(1, sizeof(*grant));
	if (grant)
		grant->request = request_keep(request);
	if (!grant || !grant->request) {
		if (failed)
			failed(request);
		free(grant);
		return -ENOMEM;
	}
	grant->failed = failed;
	grant->n = n;
	memcpy(grant->from, fds, n * sizeof(*fds));
	memcpy(grant->access, access, n * sizeof(*access));
	r = uv_queue_work(&request->server->loop, &grant->work, grant_open, grant_done);
	assert(!r); /* it fails for want of a function only */
	return REQUEST_LATER;
}
