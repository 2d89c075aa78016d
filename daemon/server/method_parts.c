#include "daemon/server/method_parts.h"

#include <errno.h>
#include <string.h>

#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/method_cache.h"
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

int method_in_use(struct request *request, uint32_t thing, uint64_t sessions,
		  uint32_t (*next)(const struct core *core, uint32_t thing, uint32_t session))
{
	const struct server *server = request->server;
	char who[120] = "";
	size_t used = 0;

	for (uint32_t slot = next(server->core, thing, 0); slot != UINT32_MAX;
	     slot = next(server->core, thing, slot + 1)) {
		const struct client *client = server->clients[slot];

		if (!client)
			continue;
		used += (size_t)snprintf(who + used, sizeof(who) - used, "%s%u (%s)",
					 used ? ", " : "", client->pid, client->name);
		if (used >= sizeof(who)) {
			strcpy(who + sizeof(who) - 4, "...");
			break;
		}
	}
	request->fault = (struct wire_fault){.available = sessions};
	return fault_set(request, FAULT_IN_USE, "sessions", "in use by %llu session%s: %s",
			 (unsigned long long)sessions, sessions == 1 ? "" : "s", who);
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
	else if (request->method == WIRE_CACHE_SEGMENT)
		r = cache_leased(request);
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
