#include "daemon/server/method_who.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/server.h"
#include "proto/block_word.h"
#include "proto/size_class.h"

/* A question that a worker reads words for. */
struct asking {
	uv_work_t work;
	struct request *request;
	struct extent_place place;
	uint32_t space, tag;
	uint64_t position; /* in the window, of the byte that is asked for */
	uint32_t number;   /* of the window, in the space */
	int fd;
	uint32_t n_slices;
	/* What was found: */
	int error; /* -errno, or: */
	const char *why;
	uint64_t start, size; /* of the block, in the window */
	bool has_word;
	struct block_info info;
};

static int read_word(struct asking *asking, uint64_t offset, uint32_t *ret)
{
	struct sys *sys = asking->request->server->sys;

	return sys->table->words_read(sys, asking->fd, offset, ret);
}

/* Where the block begins that the position is in, as the owner of the slice says. */
static int find_block(struct asking *asking, uint64_t *ret_index)
{
	uint32_t slice = (uint32_t)(asking->position >> SLICE_SHIFT), first, block, note;
	const struct extent_place *place = &asking->place;
	const struct size_class *class;
	struct slice_cut cut;
	int r;

	r = read_word(asking,
		      words_notes(asking->n_slices) + slice * sizeof(struct slice_note) +
			      offsetof(struct slice_note, info),
		      &note);
	if (r)
		return r;
	cut = slice_cut_unpack(note);
	if (!cut.class_plus_1 || cut.class_plus_1 > CLASSES ||
	    cut.back > slice - place->first) {
		asking->why = "freed"; /* or never given out: nothing of it was */
		return 0;
	}
	class = &size_classes[cut.class_plus_1 - 1];
	first = slice - cut.back;
	block = (uint32_t)((asking->position - first * SLICE_BYTES) / class->size);
	if ((cut.back >= class->slices || block >= class->blocks ||
	     first + class->slices > place->first + place->count) &&
	    !mutant(who_note_believed)) {
		asking->why = "interior"; /* what is left over at the end of a run */
		return 0;
	}
	asking->start = first * SLICE_BYTES + (uint64_t)block * class->size;
	asking->size = class->size;
	*ret_index = words_index(first, block);
	return 0;
}

static void judge(struct asking *asking, uint32_t word)
{
	bool shared = asking->place.kind == EXTENT_SHARED;

	asking->info = block_word_unpack(word);
	/* A shared extent that has no word of its own yet: its users may keep none. */
	if (shared && asking->info.generation != asking->place.tag) {
		asking->why = asking->tag == asking->place.tag ? NULL : "stale";
		return;
	}
	asking->has_word = true;
	switch (block_word_check(word, asking->tag)) {
	case BLOCK_E_STALE:
		asking->why = "stale";
		break;
	case BLOCK_E_FREED:
		asking->why = "freed";
		break;
	}
}

static void ask(uv_work_t *work)
{
	struct asking *asking = container_of(work, struct asking, work);
	uint64_t index = words_index(asking->place.first, 0);
	uint32_t word;

	if (asking->place.kind == EXTENT_BLOCKS)
		asking->error = find_block(asking, &index);
	if (asking->error || asking->why)
		return;
	asking->error = read_word(asking, index * sizeof(word), &word);
	if (!asking->error)
		judge(asking, word);
}

static void name_client(struct wire_block_holder *holder, const struct client *client)
{
	if (!client)
		return;
	holder->session = client->session;
	holder->uid = client->credentials.uid;
	holder->name = wire_str(client->name);
	holder->pid = client->pid;
}

static void name_channel(struct wire_block_holder *holder, const struct server *server,
			 uint32_t space, uint32_t id)
{
	static char name[CHANNEL_NAME_MAX + 1];
	struct channel_view view;

	if (!core_channel_view(server->core, space, id, &view))
		return; /* its last end has gone */
	snprintf(name, sizeof(name), "%s", view.name);
	holder->channel = wire_str(name);
}

/* None, if it is 0. */
static void name_cache(struct wire_block_holder *holder, const struct server *server,
		       uint32_t cache)
{
	static char name[CACHE_NAME_MAX + 1];
	struct estate_view view;

	if (!core_cache_view(server->core, cache, &view))
		return;
	snprintf(name, sizeof(name), "%s", view.name);
	holder->cache = wire_str(name);
}

static void name_id(struct wire_block_holder *holder, const struct server *server,
		    uint32_t space, uint32_t id)
{
	static uint64_t words[IDS_MAX];
	struct id_info info;
	uint32_t session;

	holder->id = id;
	if (!id)
		return;
	core_id_words(server->core, space, words);
	info = id_word_unpack(words[id]);
	holder->dead = info.dead || info.kind == ID_NONE;
	if (info.kind == ID_PROCESS)
		holder->pid = info.pid;
	if (info.kind == ID_CHANNEL)
		name_channel(holder, server, space, id);
	session = core_holder_at(server->core, space, id);
	if (session)
		name_client(holder, server->clients[session]);
}

static void answer_from(struct asking *asking)
{
	static const char *const kinds[] = {
		[EXTENT_PRIVATE] = "private", [EXTENT_SHARED] = "shared",
		[EXTENT_BLOCKS] = "blocks",   [EXTENT_CHANNEL] = "channel",
		[EXTENT_SEGMENT] = "segment", [EXTENT_OBJECT] = "object",
	};
	const struct server *server = asking->request->server;
	struct wire_block_holder *holder = &asking->request->result.block_holder;

	*holder = (struct wire_block_holder){
		.kind = wire_str(kinds[asking->place.kind]),
		.state = wire_str(!asking->has_word                  ? "leased"
				  : asking->info.state == BLOCK_HELD ? "held"
								     : "sent"),
		.offset = offset_make(asking->number, asking->start),
		.size = asking->size,
		.owner = asking->place.session,
	};
	name_cache(holder, server, asking->place.cache);
	if (asking->has_word)
		name_id(holder, server, asking->space, asking->info.id);
	else if (asking->place.session)
		name_client(holder, server->clients[asking->place.session]);
	else if (asking->place.kind == EXTENT_CHANNEL)
		name_channel(holder, server, asking->space,
			     core_channel_at(server->core, asking->space, holder->offset));
}

static int refuse(struct request *request, const char *why)
{
	return fault_from_core(request, CORE_E_REFERENCE, &(struct core_fault){.which = why});
}

static void asked(uv_work_t *work, int status)
{
	_cleanup_(freep) struct asking *asking = container_of(work, struct asking, work);
	int r = asking->error;

	(void)status; /* nothing is ever cancelled */
	if (!r && asking->why)
		r = refuse(asking->request, asking->why);
	if (!r)
		answer_from(asking);
	request_finish(asking->request, r, NULL, 0);
}

static int ask_later(const struct asking *question)
{
	struct asking *asking = malloc(sizeof(*asking));
	const struct window_files *files;
	struct server *server = question->request->server;

	if (!asking)
		return -ENOMEM;
	*asking = *question;
	asking->request = request_keep(question->request);
	if (!asking->request) {
		free(asking);
		return -ENOMEM;
	}
	files = &server->files.windows[asking->place.window];
	asking->fd = files->words_fd;
	asking->n_slices = (uint32_t)(files->bytes / SLICE_BYTES);
	uv_queue_work(&server->loop, &asking->work, ask, asked);
	return REQUEST_LATER;
}

int run_block_who(struct request *request, const union wire_body *params)
{
	struct core *core = request->server->core;
	uint64_t offset = ref_offset(params->block_who.ref);
	struct asking asking = {
		.request = request,
		.tag = ref_tag(params->block_who.ref),
		.position = offset_position(offset),
		.number = offset_window(offset),
	};
	struct core_fault fault = {};
	uint32_t window;
	bool read_only;
	int r;

	r = method_slot(request, params->block_who.space, &asking.space);
	if (r)
		return r;
	r = core_window_open(core, request->client->session, asking.space, asking.number,
			     &window, &read_only, &fault);
	if (r == CORE_E_NOT_FOUND &&
	    core_session_has(core, request->client->session, asking.space))
		return refuse(request, "foreign");
	if (r)
		return method_answer(request, r, &fault);
	if (!core_extent_at(core, asking.space, offset, &asking.place))
		return refuse(request, "freed");
	asking.start = asking.place.first * SLICE_BYTES;
	asking.size = asking.place.count * SLICE_BYTES;
	if (asking.place.kind == EXTENT_SHARED || asking.place.kind == EXTENT_BLOCKS)
		return ask_later(&asking);
	if (asking.tag != asking.place.tag)
		return refuse(request, "stale");
	answer_from(&asking);
	return 0;
}
