#include "daemon/server/method_parts.h"

#include <errno.h>
#include <string.h>

#include "daemon/server/fault.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"

int method_text(struct request *request, struct method_text *ret, const char *field,
		struct wire_str str)
{
	/* Longer than any that is right, so the core's answer is ours. */
	if (str.size >= sizeof(ret->data) || (str.size && memchr(str.data, 0, str.size)))
		return fault_from_core(request, CORE_E_INVALID,
				       &(struct core_fault){.which = field});
	if (str.size)
		memcpy(ret->data, str.data, str.size);
	ret->data[str.size] = '\0';
	return 0;
}

int method_slot(struct request *request, uint64_t handle, uint32_t *ret)
{
	if (!handle || handle >= request->server->files.n_roots)
		return fault_set(request, FAULT_INVALID, "space",
				 "space: %llu is no handle that space.open gave",
				 (unsigned long long)handle);
	*ret = (uint32_t)handle;
	return 0;
}

int method_answer(struct request *request, int r, const struct core_fault *fault)
{
	if (r == CORE_E_BUSY)
		return REQUEST_BUSY;
	if (!r)
		publisher_touch(request->server->publisher);
	return r > 0 ? fault_from_core(request, r, fault) : r;
}

int method_later(struct request *request)
{
	struct server *server = request->server;

	server->retry = true;
	server_more(server);
	return REQUEST_BUSY;
}

void method_done(void *userdata, const struct job_outcome *outcome)
{
	struct request *request = userdata;
	int r = outcome->error;

	if (r)
		r = fault_from_system(request, r, &outcome->shortage);
	publisher_touch(request->server->publisher);
	request_finish(request, r, NULL, 0);
}

int method_after(struct request *request, struct plan *plan)
{
	struct server *server = request->server;
	struct request *kept = request_keep(request);
	int r;

	if (!kept) {
		plan_abort(server->core, plan);
		return -ENOMEM;
	}
	r = job_start(server, plan, method_done, kept);
	if (r)
		request_finish(kept, r, NULL, 0);
	return REQUEST_LATER;
}

uint32_t method_page(uint64_t after)
{
	return (uint32_t)u64_min(after, UINT32_MAX);
}
