#include "tests/model/naive.h"

static bool there(uint32_t space)
{
	const struct naive_space *s = &m.spaces[space];

	return s->there && !s->pending && s->idle_low != UINT32_MAX;
}

static bool has_words(const struct naive_extent *e, uint32_t space)
{
	return e->there && !e->pending && e->space == space && e->kind != EXTENT_PRIVATE &&
	       !e->cache;
}

/* There are more than sessions and channels: all that may be missing is being swept. */
static bool has_id(const struct naive_space *s)
{
	for (uint32_t i = 1; i < IDS_MAX; ++i)
		if (s->ids[i] == ID_FREE && !s->kept[i])
			return true;
	return false;
}

void verb_holder_open(void)
{
	uint32_t session, space, id;
	struct core_fault fault;
	struct naive_space *s;
	int r;

	if (!some_member(&session, &space))
		return;
	s = &m.spaces[space];
	r = core_holder_open(m.core, session, space, &id, &fault);
	if (s->barred[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "revoked"));
		return;
	}
	if (s->read_only[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "write"));
		return;
	}
	if (s->id[session]) {
		MUST(!r && id == s->id[session]);
		return;
	}
	if (!has_id(s)) {
		MUST(r == CORE_E_BUSY && s->sweeping && !strcmp(fault.which, "sweep"));
		++m.counts[N_BUSY];
		return;
	}
	MUST(!r && id && id < IDS_MAX && s->ids[id] == ID_FREE && !s->kept[id]);
	s->ids[id] = ID_ALIVE;
	s->id[session] = id;
	++m.counts[N_HOLDERS];
}

void holder_dies(uint32_t session, uint32_t space, bool died)
{
	struct naive_space *s = &m.spaces[space];

	ends_die(session, space, died);
	if (s->id[session])
		s->ids[s->id[session]] = ID_DEAD;
	s->id[session] = 0;
}

static void sweep_begin(uint32_t space)
{
	struct naive_space *s = &m.spaces[space];
	uint64_t dead[ID_WORDS], none[ID_WORDS];
	bool any = s->owed;

	for (uint32_t i = 0; i < IDS_MAX; ++i)
		any |= s->ids[i] == ID_DEAD;
	MUST(core_sweep_due(m.core, space) == any);
	MUST(!core_sweep_begin(m.core, space, dead));
	MUST(core_sweep_begin(m.core, space, none) == CORE_E_BUSY);
	MUST(!core_sweep_due(m.core, space) && !core_sweep_pays(m.core, space));
	for (uint32_t i = 0; i < IDS_MAX; ++i) {
		s->kept[i] = s->past[i] && s->ids[i] == ID_FREE;
		MUST((s->ids[i] == ID_DEAD || s->kept[i]) == (dead[i / 64] >> i % 64 & 1));
		if (s->ids[i] == ID_DEAD)
			s->ids[i] = ID_SWEPT;
	}
	for (uint32_t i = 0; i < EXTENTS; ++i)
		if (m.extents[i].space == space)
			m.extents[i].listed = 0;
	s->sweeping = true;
	s->listed = false;
	s->owed = false;
	s->swept = step;
}

static struct naive_extent *listed_as(uint32_t space, const struct extent_place *place)
{
	for (uint32_t i = 0; i < EXTENTS; ++i) {
		struct naive_extent *e = &m.extents[i];

		if (has_words(e, space) && e->window == place->window &&
		    e->first == place->first && e->count == place->count &&
		    e->tag == place->tag && e->kind == place->kind)
			return e;
	}
	return NULL;
}

/* What is listed is there; of what holds nothing by the dice, what may go goes. */
static void sweep_list(uint32_t space)
{
	struct extent_place places[40];
	uint32_t n, max = 1 + below(ARRAY_SIZE(places));
	int r = core_sweep_next(m.core, space, places, max, &n);

	MUST((!r || r == CORE_MORE) && n <= max);
	m.spaces[space].listed = !r;
	for (uint32_t i = 0; i < n; ++i) {
		struct naive_extent *e = listed_as(space, &places[i]);

		MUST(e && places[i].session == e->session && places[i].worded == e->worded);
		++e->listed;
		MUST(e->listed == 1);
	}
	for (uint32_t i = 0; i < n; ++i) {
		struct extent_place place = places[i];
		struct naive_extent *e = listed_as(space, &place);
		bool may =
			e->kind == EXTENT_SHARED || (e->kind == EXTENT_BLOCKS && !e->session);

		if (!one_in(4))
			continue;
		switch (below(8)) {
		case 0:
			++place.tag;
			may = false;
			break;
		case 1:
			++place.count;
			may = false;
			break;
		case 2:
			place.first = below(SLICES_MAX);
			may &= place.first == e->first;
			break;
		case 3:
			place.window = below(WINDOWS + 1);
			may &= place.window == e->window;
			break;
		default:
			break;
		}
		MUST(core_sweep_free(m.core, space, &place) == may);
		if (!may)
			continue;
		extent_gone(e);
		++m.counts[N_SWEPT];
	}
}

static void sweep_end(uint32_t space)
{
	struct naive_space *s = &m.spaces[space];
	bool done = s->listed && !one_in(8);

	for (uint32_t i = 0; s->listed && i < EXTENTS; ++i)
		MUST(!has_words(&m.extents[i], space) || m.extents[i].stored > s->swept ||
		     m.extents[i].listed == 1);
	if (done)
		channels_go(space);
	core_sweep_end(m.core, space, done);
	s->owed |= !done;
	for (uint32_t i = 0; i < IDS_MAX; ++i) {
		s->past[i] |= done && s->ids[i] == ID_SWEPT;
		s->kept[i] = false;
		if (s->ids[i] == ID_SWEPT)
			s->ids[i] = done ? ID_FREE : ID_DEAD;
	}
	s->sweeping = false;
}

void verb_sweep(void)
{
	uint32_t space = 1 + below(SPACES), n;
	uint64_t dead[ID_WORDS];
	struct extent_place place = {0};

	if (!there(space)) {
		MUST(core_sweep_begin(m.core, space, dead) == CORE_E_NOT_FOUND);
		MUST(core_sweep_next(m.core, space, &place, 1, &n) == CORE_E_NOT_FOUND);
		MUST(!core_sweep_free(m.core, space, &place));
		MUST(!core_sweep_due(m.core, space));
	} else if (!m.spaces[space].sweeping) {
		MUST(core_sweep_next(m.core, space, &place, 1, &n) == CORE_E_NOT_FOUND);
		MUST(!core_sweep_free(m.core, space, &place));
		sweep_begin(space);
	} else if (m.spaces[space].listed) {
		sweep_end(space);
	} else {
		sweep_list(space);
	}
}

bool sweep_finish_one(void)
{
	for (uint32_t i = 1; i <= SPACES; ++i) {
		if (m.spaces[i].sweeping) {
			sweep_end(i);
			return true;
		}
	}
	return false;
}

void compare_ids(const struct core *again)
{
	for (uint32_t i = 1; i <= SPACES; ++i) {
		const struct naive_space *s = &m.spaces[i];
		uint64_t words[IDS_MAX], recovered[IDS_MAX];
		uint32_t coming = 0;
		bool worded = false;

		if (!there(i))
			continue;
		for (uint32_t j = 0; j < EXTENTS; ++j)
			worded |= has_words(&m.extents[j], i);
		core_id_words(m.core, i, words);
		core_id_words(again, i, recovered);
		for (uint32_t id = 1; id < IDS_MAX; ++id) {
			struct id_info info = id_word_unpack(words[id]);

			coming += s->ids[id] == ID_COMING;
			MUST(words[id] == recovered[id]);
			MUST(info.dead == (s->ids[id] != ID_ALIVE));
			if (!info.dead)
				MUST(s->words[id] == words[id]);
			else
				MUST(!s->words[id] || id_word_unpack(s->words[id]).dead);
		}
		for (uint32_t j = 1; j <= SESSIONS; ++j)
			MUST(!s->id[j] || id_word_unpack(words[s->id[j]]).pid == m.pids[j]);
		/* What nobody has may stand in some word that the one before could have told. */
		MUST(ids_alive(&again->spaces[i]->ids) + coming ==
		     ids_alive(&m.core->spaces[i]->ids));
		MUST(ids_dead(&again->spaces[i]->ids) ==
		     (worded ? IDS_MAX - 1 - ids_alive(&again->spaces[i]->ids) : 0));
	}
}
