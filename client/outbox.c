#include "client/outbox.h"

#include <assert.h>
#include <string.h>

#include "base/base.h"

static size_t size_of(enum wire_method method)
{
	const struct outbox_note *note = NULL;

	switch ((int)method) {
	case WIRE_EXTENT_FREE:
		return sizeof(note->params.extent_free);
	case WIRE_CHANNEL_CLOSE:
		return sizeof(note->params.channel_close);
	case WIRE_CACHE_CLOSE:
		return sizeof(note->params.cache_close);
	case WIRE_CACHE_SEAL:
		return sizeof(note->params.cache_seal);
	case WIRE_CACHE_FETCH_END:
		return sizeof(note->params.cache_fetch_end);
	case WIRE_CACHE_COUNT:
		return sizeof(note->params.cache_count);
	default:
		return 0;
	}
}

static struct outbox_note *note_at(struct outbox *outbox, uint64_t position)
{
	return &outbox->notes[position % OUTBOX_NOTES];
}

void outbox_add(struct outbox *outbox, uint64_t order, enum wire_method method,
		const void *params)
{
	struct outbox_note *note = note_at(outbox, outbox->end++);
	size_t size = size_of(method);

	assert(size); /* what may be a note here */
	assert(outbox->end - outbox->first <= OUTBOX_NOTES);
	*note = (struct outbox_note){.order = order, .method = method};
	memcpy(&note->params, params, size);
}

const struct outbox_note *outbox_next(const struct outbox *outbox)
{
	return outbox->sent == outbox->end ? NULL : &outbox->notes[outbox->sent % OUTBOX_NOTES];
}

int outbox_encode(const struct outbox_note *note, char *buf, size_t size)
{
	return wire_encode_note(buf, size, note->method, &note->params);
}

void outbox_taken(struct outbox *outbox, uint64_t order)
{
	while (outbox->first < outbox->sent && note_at(outbox, outbox->first)->order < order)
		outbox->first++;
}

void outbox_again(struct outbox *outbox)
{
	uint64_t to = outbox->first;

	for (uint64_t at = outbox->first; at < outbox->end; at++) {
		struct outbox_note note = *note_at(outbox, at);
		bool before = at < outbox->sent;

		if (before && note.method == WIRE_CACHE_COUNT)
			continue;
		if (before && note.method == WIRE_EXTENT_FREE && !mutant(outbox_certain))
			note.params.extent_free.maybe = true;
		*note_at(outbox, to++) = note;
	}
	outbox->end = to;
	outbox->sent = outbox->first;
}
