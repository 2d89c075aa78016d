/*
 * Encoding: the schema's tables, packed by msgpack-c into a buffer that does not grow.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire_private.h"

struct buffer {
	char *data;
	size_t size, used;
	bool full; /* something did not fit; nothing more is taken */
};

static int buffer_write(void *userdata, const char *data, size_t size)
{
	struct buffer *buffer = userdata;

	if (buffer->full || size > buffer->size - buffer->used) {
		buffer->full = true;
		return -1;
	}
	if (size)
		memcpy(buffer->data + buffer->used, data, size);
	buffer->used += size;
	return 0;
}

/* A name of the schema. */
static void pack_name(msgpack_packer *pk, const char *data, size_t size)
{
	msgpack_pack_str(pk, size);
	msgpack_pack_str_body(pk, data, size);
}

/* W4: what is no clean character leaves as a question mark. */
static void pack_text(msgpack_packer *pk, struct wire_str str)
{
	size_t n;

	msgpack_pack_str(pk, str.size);
	if (wire_str_is_clean(str)) {
		msgpack_pack_str_body(pk, str.data, str.size);
		return;
	}
	for (uint32_t at = 0; at < str.size; at += (uint32_t)n) {
		n = wire_str_character(str, at);
		msgpack_pack_str_body(pk, n ? str.data + at : "?", n ? n : 1);
		n += !n;
	}
}

static void pack_shape(msgpack_packer *pk, const struct wire_shape *shape, const void *base);

static void pack_value(msgpack_packer *pk, const struct wire_field *field, const void *value)
{
	const struct wire_list *list;

	switch (field->type) {
	case WIRE_U64:
		msgpack_pack_uint64(pk, *(const uint64_t *)value);
		return;
	case WIRE_BOOL:
		*(const bool *)value ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
		return;
	case WIRE_STR:
		pack_text(pk, *(const struct wire_str *)value);
		return;
	case WIRE_LIST:
		list = value;
		msgpack_pack_array(pk, list->count);
		for (uint32_t i = 0; i < list->count; i++)
			pack_shape(pk, field->list,
				   (const char *)list->rows + (size_t)i * field->list->size);
		return;
	}
}

static void pack_shape(msgpack_packer *pk, const struct wire_shape *shape, const void *base)
{
	const struct wire_field *field;
	const void *value;
	uint64_t absent = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < shape->n_fields; i++) {
		field = &shape->fields[i];
		value = (const char *)base + field->offset;
		if (wire_field_is_absent(field, value))
			absent |= (uint64_t)1 << i;
		else
			n++;
	}

	msgpack_pack_map(pk, n);
	for (uint32_t i = 0; i < shape->n_fields; i++) {
		if (absent >> i & 1)
			continue;
		field = &shape->fields[i];
		pack_name(pk, field->name, field->name_size);
		pack_value(pk, field, (const char *)base + field->offset);
	}
}

static void pack_begin(msgpack_packer *pk, struct buffer *buffer, enum wire_kind kind)
{
	msgpack_packer_init(pk, buffer, buffer_write);
	msgpack_pack_array(pk, kind == WIRE_NOTE ? 3 : 4);
	msgpack_pack_uint8(pk, (uint8_t)kind);
}

static struct buffer buffer_make(void *data, size_t size)
{
	return (struct buffer){.data = data, .size = u64_min(size, WIRE_MESSAGE_MAX)};
}

static int buffer_result(const struct buffer *buffer)
{
	return buffer->full ? -EMSGSIZE : (int)buffer->used;
}

int wire_encode_request(void *buf, size_t size, uint64_t id, enum wire_method method,
			const void *params)
{
	const struct wire_method_info *info = &wire_methods[method];
	struct buffer buffer = buffer_make(buf, size);
	msgpack_packer pk;

	pack_begin(&pk, &buffer, WIRE_REQUEST);
	msgpack_pack_uint64(&pk, id);
	pack_name(&pk, info->name, info->name_size);
	pack_shape(&pk, info->params, params);
	return buffer_result(&buffer);
}

int wire_encode_note(void *buf, size_t size, enum wire_method method, const void *params)
{
	const struct wire_method_info *info = &wire_methods[method];
	struct buffer buffer = buffer_make(buf, size);
	msgpack_packer pk;

	pack_begin(&pk, &buffer, WIRE_NOTE);
	pack_name(&pk, info->name, info->name_size);
	pack_shape(&pk, info->params, params);
	return buffer_result(&buffer);
}

int wire_encode_result(void *buf, size_t size, uint64_t id, enum wire_method method,
		       const void *result)
{
	struct buffer buffer = buffer_make(buf, size);
	msgpack_packer pk;

	pack_begin(&pk, &buffer, WIRE_RESPONSE);
	msgpack_pack_uint64(&pk, id);
	msgpack_pack_nil(&pk);
	pack_shape(&pk, wire_methods[method].result, result);
	return buffer_result(&buffer);
}

int wire_encode_fault(void *buf, size_t size, uint64_t id, const struct wire_fault *fault)
{
	struct buffer buffer = buffer_make(buf, size);
	msgpack_packer pk;

	pack_begin(&pk, &buffer, WIRE_RESPONSE);
	msgpack_pack_uint64(&pk, id);
	pack_shape(&pk, &wire_shape_fault, fault);
	msgpack_pack_nil(&pk);
	return buffer_result(&buffer);
}
