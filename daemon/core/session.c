#include "daemon/core/session.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/position.h"
#include "daemon/core/state.h"

struct session *session_new(struct core *core, const struct session_request *request)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->quota = quota_ref(&core->quotas, request->credentials.uid);
	if (!session->quota) {
		free(session);
		return NULL;
	}
	core_take(core, session->quota, QUOTA_SESSIONS, METADATA_SESSION);
	session->slot = SLOT_NONE;
	session->request = *request;
	list_init(&session->members);
	return session;
}

void session_free(struct core *core, struct session *session)
{
	if (!session)
		return;
	core_keep(core, session->quota, &session->files, 0, NULL);
	core_give(core, session->quota, QUOTA_SESSIONS, METADATA_SESSION);
	quota_unref(&core->quotas, session->quota);
	free(session);
}

struct session_record session_record(const struct session *session)
{
	const struct session_request *request = &session->request;

	return (struct session_record){
		.word = session_word_pack(
			(struct session_word){.pid = request->pid, .serial = session->serial}),
		.birth = request->birth,
		.owner = request->credentials.uid | (uint64_t)request->credentials.gid << 32,
		.image = request->image,
	};
}

int core_session_files(struct core *core, uint32_t session, uint64_t bytes,
		       struct core_fault *fault)
{
	struct session *of = core->sessions[session];

	return of ? core_keep(core, of->quota, &of->files, bytes, fault) : 0;
}

int core_session_open(struct core *core, const struct session_request *request, uint32_t *ret,
		      struct core_fault *fault)
{
	struct slots *slots = &core->slots[RECORD_SESSION];
	struct session_record record;
	struct session *session;
	struct quota *quota;
	int r;

	quota = quota_ref(&core->quotas, request->credentials.uid);
	if (!quota)
		return -ENOMEM;
	r = core_may(core, quota, QUOTA_SESSIONS, METADATA_SESSION, fault);
	quota_unref(&core->quotas, quota);
	if (r)
		return r;
	session = session_new(core, request);
	if (!session)
		return -ENOMEM;
	session->slot = slots_take(slots);
	session->serial = core_serial_take(core);
	core->sessions[session->slot] = session;
	++core->n_sessions;
	record = session_record(session);
	record_session_put(core->records, session->slot, &record);
	*ret = session->slot;
	return 0;
}

int core_session_end(struct core *core, uint32_t slot, struct plan **ret)
{
	struct session *session = core_session_at(core, slot);
	uint32_t steps;

	if (!session)
		return CORE_E_NOT_FOUND;
	session->ending = true;
	steps = STEP_EXTENTS;
	while (!list_empty(&session->members)) {
		struct member *member =
			list_entry(session->members.next, struct member, in_session);
		int r = member_leave(core, member, &session->going, &steps, &(struct asker){0});

		if (r)
			return r;
	}
	assert(!session->used);
	position_release(core, session);
	results_end(core, slot);
	record_clear(core->records, RECORD_SESSION, slot);
	slots_put(&core->slots[RECORD_SESSION], slot);
	core->sessions[slot] = NULL;
	--core->n_sessions;
	*ret = session->going ? &session->going->plan : NULL;
	session_free(core, session);
	return 0;
}

struct member *member_find(const struct session *session, const struct space *space)
{
	list_for_each(at, &session->members)
	{
		struct member *member = list_entry(at, struct member, in_session);

		if (member->space == space)
			return member;
	}
	return NULL;
}
