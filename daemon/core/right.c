#include "daemon/core/right.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/core/state.h"

struct right_record right_record(const struct right *right)
{
	return (struct right_record){
		.word = user_word_pack(user_word(right->user)),
		.hash = right->hash,
		.token = right->token,
		.until = right->until,
	};
}

/* Clients say what the hashes are: begun differently in each core. */
static struct right **claim_bucket(const struct core *core, uint32_t cache, uint64_t hash)
{
	uint64_t mixed = (hash ^ core->config.seed) * 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ mixed >> 32 ^ cache) * 0xbf58476d1ce4e5b9ULL;
	return &core->claims[(mixed >> 32) & (core->n_claims - 1)];
}

static struct right *right_find(const struct core *core, uint32_t cache, uint64_t hash)
{
	struct right *right = *claim_bucket(core, cache, hash);

	while (right && (right->hash != hash || right->user->cache->slot != cache))
		right = right->next_claim;
	return right;
}

/* ---- in memory, and in the accounts ---- */

static struct right *right_new(struct core *core, struct user *user, uint64_t hash,
			       uint64_t until)
{
	struct right **bucket = claim_bucket(core, user->cache->slot, hash);
	struct session *session = user->member->session;
	struct right *right = calloc(1, sizeof(*right));

	if (!right)
		return NULL;
	*right = (struct right){.user = user, .slot = SLOT_NONE, .hash = hash, .until = until};
	right->next_claim = *bucket;
	*bucket = right;
	list_append(&user->rights, &right->in_user);
	++user->cache->n_rights;
	++session->n_rights;
	core_take(core, session->quota, QUOTA_RIGHTS, METADATA_RIGHT);
	return right;
}

static void right_at_slot(struct core *core, struct right *right, uint32_t slot)
{
	right->slot = slot;
	core->rights[slot] = right;
}

void right_free(struct core *core, struct right *right)
{
	struct user *user = right->user;
	struct session *session = user->member->session;
	struct right **at = claim_bucket(core, user->cache->slot, right->hash);

	while (*at != right)
		at = &(*at)->next_claim;
	*at = right->next_claim;
	list_remove(&right->in_user);
	--user->cache->n_rights;
	--session->n_rights;
	core_give(core, session->quota, QUOTA_RIGHTS, METADATA_RIGHT);
	if (right->slot != SLOT_NONE) {
		core->rights[right->slot] = NULL;
		slots_put(&core->slots[RECORD_RIGHT], right->slot);
	}
	free(right);
}

void right_release(struct core *core, struct right *right)
{
	record_clear(core->records, RECORD_RIGHT, right->slot);
	right_free(core, right);
}

static struct right_view view_of(const struct right *right)
{
	return (struct right_view){
		.right = right->slot,
		.cache = right->user->cache->slot,
		.session = right->user->member->session->slot,
		.hash = right->hash,
		.token = right->token,
		.until = right->until,
	};
}

/* ---- verbs ---- */

int core_right_take(struct core *core, uint32_t session, uint32_t cache, uint64_t hash,
		    uint64_t until, struct right_view *ret, struct core_fault *fault)
{
	const struct asker asker = asker_take(core);
	struct user *user;
	struct right_record record;
	struct right *right;
	struct estate *estate;
	int r;

	r = user_to_write(core, session, cache, &user, fault);
	if (r)
		return r;
	estate = user->cache;
	right = right_find(core, cache, hash);
	if (right) {
		*ret = view_of(right);
		return FAULT(fault, CORE_E_EXISTS, .which = "right");
	}
	r = core_may(core, user->member->session->quota, QUOTA_RIGHTS, METADATA_RIGHT, fault);
	if (r)
		return r;
	right = right_new(core, user, hash, until);
	if (!right)
		return -ENOMEM;
	right_at_slot(core, right, slots_take(&core->slots[RECORD_RIGHT]));
	right->token = estate->token_next++;
	if (!mutant(right_token_late))
		record_cache_token(core->records, estate->slot, estate->token_next);
	record = right_record(right);
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_RIGHT,
					       .slot = right->slot,
					       .word = RECORD_WORD(right_record, word),
					       .value = record.word,
					       .answer = {right->token, right->until}});
	record_right_put(core->records, right->slot, &record);
	result_keep(core, &asker);
	if (mutant(right_token_late))
		record_cache_token(core->records, estate->slot, estate->token_next);
	*ret = view_of(right);
	return 0;
}

static struct right *right_at(const struct core *core, uint32_t right)
{
	return right < core->slots[RECORD_RIGHT].total ? core->rights[right] : NULL;
}

void core_right_end(struct core *core, uint32_t right)
{
	const struct asker asker = asker_take(core);
	struct right *at = right_at(core, right);

	assert(at);
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_RIGHT,
					       .slot = right,
					       .word = RECORD_WORD(right_record, word)});
	right_release(core, at);
	result_keep(core, &asker);
}

bool core_right_find(const struct core *core, uint32_t cache, uint64_t hash,
		     struct right_view *ret)
{
	const struct right *right = right_find(core, cache, hash);

	if (right)
		*ret = view_of(right);
	return right;
}

bool core_right_view(const struct core *core, uint32_t right, struct right_view *ret)
{
	const struct right *at = right_at(core, right);

	if (at)
		*ret = view_of(at);
	return at;
}

uint32_t core_right_next(const struct core *core, uint32_t right)
{
	return slots_next(&core->slots[RECORD_RIGHT], right);
}

uint32_t core_cache_rights(const struct core *core, uint32_t cache)
{
	return cache < core->slots[RECORD_CACHE].total && core->caches[cache]
		       ? core->caches[cache]->n_rights
		       : 0;
}

uint32_t core_session_rights(const struct core *core, uint32_t session)
{
	const struct session *at = core_session_at(core, session);

	return at ? at->n_rights : 0;
}

/* ---- from records ---- */

bool right_enter(struct core *core, uint32_t slot, const struct right_record *record,
		 struct right **ret)
{
	struct user_word word = user_word_unpack(record->word);
	struct estate *estate =
		word.cache < core->slots[RECORD_CACHE].total ? core->caches[word.cache] : NULL;
	struct session *session = core_session_at(core, word.session);
	struct member *member = session && estate ? member_find(session, estate->space) : NULL;
	struct user *user = member ? user_find(core, estate, member) : NULL;

	*ret = NULL;
	if (user_word_pack(word) != record->word || !user || member->read_only ||
	    !record->token || record->token >= estate->token_next ||
	    right_find(core, word.cache, record->hash))
		return false;
	*ret = right_new(core, user, record->hash, record->until);
	if (!*ret)
		return true;
	(*ret)->token = record->token;
	slots_claim(&core->slots[RECORD_RIGHT], slot);
	right_at_slot(core, *ret, slot);
	return true;
}
