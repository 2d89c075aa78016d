#include "tests/model/ask.h"

struct ask asking(enum verb verb, uint32_t session, uint32_t space)
{
	static uint64_t asked;

	return (struct ask){.verb = verb, .session = session, .space = space, .id = ++asked};
}

enum record_kind ask_kind(enum verb verb)
{
	static const enum record_kind kinds[ASKS] = {
		[ASK_CREATE] = RECORD_SPACE,       [ASK_OPEN] = RECORD_MEMBER,
		[ASK_CLOSE] = RECORD_MEMBER,       [ASK_REMOVE] = RECORD_SPACE,
		[ASK_ALLOC] = RECORD_EXTENT,       [ASK_FREE] = RECORD_EXTENT,
		[ASK_CHANNEL_OPEN] = RECORD_END,   [ASK_CHANNEL_CLOSE] = RECORD_END,
		[ASK_CACHE_OPEN] = RECORD_USER,    [ASK_CACHE_CLOSE] = RECORD_USER,
		[ASK_CACHE_REMOVE] = RECORD_CACHE, [ASK_LEASE] = RECORD_EXTENT,
		[ASK_SEAL] = RECORD_EXTENT,        [ASK_RIGHT_TAKE] = RECORD_RIGHT,
		[ASK_RIGHT_END] = RECORD_RIGHT,
	};

	return kinds[verb];
}

int ask(struct core *of, struct ask *a, struct plan **plan)
{
	struct core_fault fault;
	struct channel_info channel = {0};
	struct extent_info extent = {0};
	struct right_view right = {0};
	uint32_t slot = 0;
	int r;

	*plan = NULL;
	a->create.name = a->channel.name = a->open.name = a->name;
	core_asked(of, a->session, a->verb, a->id);
	switch (a->verb) {
	case ASK_CREATE:
		r = core_space_create(of, &a->create, &slot, plan, &fault);
		a->answer = (struct result_view){{slot, a->create.hash_seed}};
		return r;
	case ASK_OPEN:
		r = core_space_open(of, a->session, a->name, a->flag, NULL, 0, &slot, &fault);
		a->answer = (struct result_view){{slot}};
		return r;
	case ASK_CLOSE:
		return core_space_close(of, a->session, a->space, plan);
	case ASK_REMOVE:
		return core_space_remove(of, (struct credentials){0, 0}, a->name, a->flag, plan,
					 &fault);
	case ASK_ALLOC:
	case ASK_LEASE:
		if (a->verb == ASK_ALLOC)
			r = core_extent_alloc(of, a->session, a->space, &a->alloc, &extent,
					      plan, &fault);
		else
			r = core_cache_lease(of, a->session, a->cache, &a->lease, &extent, plan,
					     &fault);
		a->answer = (struct result_view){
			{extent.offset | (uint64_t)extent.tag << OFFSET_BITS, extent.size}};
		return r;
	case ASK_FREE:
		return core_extent_free(of, a->session, a->space, a->offset, a->tag, &fault);
	case ASK_CHANNEL_OPEN:
		r = core_channel_open(of, a->session, a->space, &a->channel, &channel, plan,
				      &fault);
		a->answer = (struct result_view){
			{channel.offset | (uint64_t)channel.tag << OFFSET_BITS,
			 channel.id | (uint64_t)channel.capacity << 32}};
		return r;
	case ASK_CHANNEL_CLOSE:
		return core_channel_close(of, a->session, a->space, a->tag, a->roles, &fault);
	case ASK_CACHE_OPEN:
		r = core_cache_open(of, a->session, a->space, &a->open, &slot, &fault);
		a->answer = (struct result_view){{slot}};
		return r;
	case ASK_CACHE_CLOSE:
		return core_cache_close(of, a->session, a->space, a->cache);
	case ASK_CACHE_REMOVE:
		return core_cache_remove(of, a->session, a->space, a->name, a->flag, &fault);
	case ASK_SEAL:
		return core_cache_seal(of, a->session, a->space, a->offset, a->tag, &fault);
	case ASK_RIGHT_TAKE:
		r = core_right_take(of, a->session, a->cache, a->hash, a->until, &right,
				    &fault);
		a->answer = (struct result_view){{right.token, right.until}};
		return r;
	case ASK_RIGHT_END:
		core_right_end(of, a->right);
		return 0;
	case ASK_NOTHING:
	case ASKS:
		break;
	}
	return -1;
}
