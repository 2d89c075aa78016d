/*
 * Decoding: the scan, then msgpack-c, then a walk of what it found along the schema's tables.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire_private.h"

enum {
	/* Small enough for the allocator's fast path, large enough for all but lists. */
	ZONE_CHUNK = 1000,
};

/* What a walk along the tables needs to know all the way down. */
struct walk {
	msgpack_zone *zone;
	struct wire_trouble *trouble;
	const char *where; /* the method, for the text of a trouble */
	bool strict;       /* unknown fields are refused, not skipped */
};

void wire_message_deinit(struct wire_message *message)
{
	if (message->has_zone)
		msgpack_zone_destroy(&message->zone);
	message->has_zone = false;
}

static const char *found_name(const msgpack_object *object)
{
	switch (object->type) {
	case MSGPACK_OBJECT_NIL:
		return "nil";
	case MSGPACK_OBJECT_BOOLEAN:
		return "a boolean";
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return "a number";
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return "a negative number";
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return "a floating-point number";
	case MSGPACK_OBJECT_STR:
		return "a string";
	case MSGPACK_OBJECT_ARRAY:
		return "an array";
	case MSGPACK_OBJECT_MAP:
		return "a map";
	case MSGPACK_OBJECT_BIN:
		return "binary data";
	case MSGPACK_OBJECT_EXT:
		return "an extension";
	default:
		return "something unknown";
	}
}

static const char *wanted_name(enum wire_type type)
{
	switch (type) {
	case WIRE_U64:
		return "a number from 0 to 2^64 - 1";
	case WIRE_BOOL:
		return "a boolean";
	case WIRE_STR:
		return "a string";
	case WIRE_LIST:
		return "an array of maps";
	}
	assert(false);
	return NULL;
}

static struct wire_str key_of(const msgpack_object_kv *kv)
{
	return (struct wire_str){.data = kv->key.via.str.ptr, .size = kv->key.via.str.size};
}

static bool field_is(const struct wire_field *field, struct wire_str key)
{
	return field->name_size == key.size && !memcmp(field->name, key.data, key.size);
}

/* Fields mostly come in the order of the schema: look first where the next one should be. */
static const struct wire_field *field_find(const struct wire_shape *shape, struct wire_str key,
					   uint32_t hint)
{
	if (hint < shape->n_fields && field_is(&shape->fields[hint], key))
		return &shape->fields[hint];
	for (uint32_t i = 0; i < shape->n_fields; i++)
		if (field_is(&shape->fields[i], key))
			return &shape->fields[i];
	return NULL;
}

static int map_decode(const struct walk *walk, const struct wire_shape *shape,
		      const msgpack_object *object, void *ret);

static int list_decode(const struct walk *walk, const struct wire_shape *shape,
		       const msgpack_object_array *array, struct wire_list *ret)
{
	char *rows;
	int r;

	if (!array->size)
		return 0;

	/* Bounded by the datagram: an element is a byte at least. */
	rows = msgpack_zone_malloc(walk->zone, (size_t)array->size * shape->size);
	if (!rows)
		return -ENOMEM;
	memset(rows, 0, (size_t)array->size * shape->size);

	for (uint32_t i = 0; i < array->size; i++) {
		r = map_decode(walk, shape, &array->ptr[i], rows + (size_t)i * shape->size);
		if (r)
			return r;
	}

	ret->rows = rows;
	ret->count = array->size;
	return 0;
}

static int value_decode(const struct walk *walk, const struct wire_field *field,
			const msgpack_object *object, void *ret)
{
	struct wire_str str;

	switch (field->type) {
	case WIRE_U64:
		if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
			break;
		*(uint64_t *)ret = object->via.u64;
		return 0;
	case WIRE_BOOL:
		if (object->type != MSGPACK_OBJECT_BOOLEAN)
			break;
		*(bool *)ret = object->via.boolean;
		return 0;
	case WIRE_STR:
		if (object->type != MSGPACK_OBJECT_STR)
			break;
		str = (struct wire_str){.data = object->via.str.ptr,
					.size = object->via.str.size};
		if (!wire_str_is_clean(str)) {
			wire_trouble_set(walk->trouble, wire_str(field->name),
					 "%s: %s is not UTF-8, or holds control characters",
					 walk->where, field->name);
			return WIRE_E_FIELD;
		}
		*(struct wire_str *)ret = str;
		return 0;
	case WIRE_LIST:
		if (object->type != MSGPACK_OBJECT_ARRAY)
			break;
		return list_decode(walk, field->list, &object->via.array, ret);
	}

	wire_trouble_set(walk->trouble,
			 (struct wire_str){.data = field->name, .size = field->name_size},
			 "%s: %s is %s, not %s", walk->where, field->name, found_name(object),
			 wanted_name(field->type));
	return WIRE_E_FIELD;
}

/* `ret` is the shape's struct, zeroed. */
static int map_decode(const struct walk *walk, const struct wire_shape *shape,
		      const msgpack_object *object, void *ret)
{
	const struct wire_field *field;
	const msgpack_object_kv *kv;
	struct wire_str key;
	uint64_t seen = 0, bit;
	int r;

	if (object->type != MSGPACK_OBJECT_MAP) {
		wire_trouble_set(walk->trouble, (struct wire_str){}, "%s: %s is %s, not a map",
				 walk->where, shape->name, found_name(object));
		return WIRE_E_FIELD;
	}

	for (uint32_t i = 0; i < object->via.map.size; i++) {
		kv = &object->via.map.ptr[i];
		if (kv->key.type != MSGPACK_OBJECT_STR) {
			wire_trouble_set(walk->trouble, (struct wire_str){},
					 "%s: the name of a field is %s, not a string",
					 walk->where, found_name(&kv->key));
			return WIRE_E_FIELD;
		}
		key = key_of(kv);
		field = field_find(shape, key, i);
		if (!field) {
			if (!walk->strict)
				continue;
			wire_trouble_set(walk->trouble, key, "%s: there is no such field",
					 walk->where);
			return WIRE_E_FIELD;
		}

		bit = (uint64_t)1 << (field - shape->fields);
		if (seen & bit && !mutant(wire_field_twice)) {
			wire_trouble_set(walk->trouble, key, "%s: %s stands there twice",
					 walk->where, field->name);
			return WIRE_E_FIELD;
		}
		seen |= bit;

		r = value_decode(walk, field, &kv->val, (char *)ret + field->offset);
		if (r)
			return r;
	}

	for (uint32_t i = 0; i < shape->n_fields; i++) {
		field = &shape->fields[i];
		if (!field->required || seen >> i & 1)
			continue;
		wire_trouble_set(walk->trouble, wire_str(field->name), "%s: %s is missing",
				 walk->where, field->name);
		return WIRE_E_FIELD;
	}
	return 0;
}

static int protocol_trouble(struct wire_trouble *trouble, const char *text)
{
	wire_trouble_set(trouble, (struct wire_str){}, "%s", text);
	return WIRE_E_PROTOCOL;
}

/*
 * From bytes to the elements of the outer array: kind, id and their number are right. *ret is
 * empty but for kind, id and zone.
 */
static int open_message(struct wire_message *ret, const void *data, size_t size,
			const msgpack_object **ret_elements, struct wire_trouble *trouble)
{
	const msgpack_object *elements;
	msgpack_object root;
	uint32_t n;
	int r;

	*ret = (struct wire_message){};

	r = wire_scan(data, size, trouble);
	if (r)
		return r;
	trouble->has_id = false;
	trouble->id = 0;

	if (!msgpack_zone_init(&ret->zone, ZONE_CHUNK))
		return -ENOMEM;
	ret->has_zone = true;

	switch (msgpack_unpack(data, size, NULL, &ret->zone, &root)) {
	case MSGPACK_UNPACK_SUCCESS:
		break;
	case MSGPACK_UNPACK_NOMEM_ERROR:
		return -ENOMEM;
	case MSGPACK_UNPACK_EXTRA_BYTES:
	case MSGPACK_UNPACK_CONTINUE:
	case MSGPACK_UNPACK_PARSE_ERROR:
		return protocol_trouble(trouble, "not MessagePack");
	}

	if (root.type != MSGPACK_OBJECT_ARRAY || !root.via.array.size)
		return protocol_trouble(trouble, "a message is an array");
	elements = root.via.array.ptr;
	n = root.via.array.size;
	if (elements[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
	    elements[0].via.u64 > WIRE_NOTE)
		return protocol_trouble(trouble, "a message begins with 0, 1 or 2");
	ret->kind = (enum wire_kind)elements[0].via.u64;

	if (ret->kind != WIRE_NOTE) {
		if (n < 2 || elements[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
			return protocol_trouble(trouble,
						"the id is a number from 0 to 2^64 - 1");
		ret->id = trouble->id = elements[1].via.u64;
		trouble->has_id = true;
	}
	if (n != (ret->kind == WIRE_NOTE ? 3 : 4))
		return protocol_trouble(trouble,
					"a request has four elements: 0, id, method, params; a "
					"response 1, id, error, result; a notification three: "
					"2, method, params");

	*ret_elements = elements;
	return 0;
}

static int decode_method(struct wire_message *ret, const msgpack_object *name,
			 struct wire_trouble *trouble)
{
	struct wire_str str;

	if (name->type != MSGPACK_OBJECT_STR)
		return protocol_trouble(trouble, "a method is named by a string");

	str = (struct wire_str){.data = name->via.str.ptr, .size = name->via.str.size};
	ret->method = wire_method_find(str);
	if (ret->method == WIRE_METHODS_N) {
		ret->method = (enum wire_method)0;
		wire_trouble_set(trouble, str, "there is no such method");
		return WIRE_E_METHOD;
	}
	return 0;
}

int wire_decode_call(struct wire_message *ret, const void *data, size_t size,
		     struct wire_trouble *trouble)
{
	const struct wire_method_info *info;
	const msgpack_object *elements;
	struct walk walk;
	int r;

	r = open_message(ret, data, size, &elements, trouble);
	if (r)
		return r;
	if (ret->kind == WIRE_RESPONSE) {
		trouble->has_id = false; /* an answer is not answered */
		return protocol_trouble(trouble, "clients send no responses");
	}

	elements += ret->kind == WIRE_REQUEST ? 2 : 1;
	r = decode_method(ret, &elements[0], trouble);
	if (r)
		return r;
	info = &wire_methods[ret->method];
	if (info->from == WIRE_FROM_DAEMON ||
	    (ret->kind == WIRE_NOTE && info->from != WIRE_FROM_CLIENT_OR_NOTE)) {
		wire_trouble_set(trouble, wire_str(info->name),
				 "%s: clients do not send this%s", info->name,
				 ret->kind == WIRE_NOTE ? " as a notification" : "");
		return WIRE_E_METHOD;
	}

	walk = (struct walk){
		.zone = &ret->zone,
		.trouble = trouble,
		.where = info->name,
		.strict = true,
	};
	return map_decode(&walk, info->params, &elements[1], &ret->body);
}

static int decode_response(struct wire_message *ret, const msgpack_object *error,
			   const msgpack_object *result, struct wire_trouble *trouble)
{
	struct walk walk = {
		.zone = &ret->zone,
		.trouble = trouble,
		.where = wire_methods[ret->method].name,
	};

	if ((error->type == MSGPACK_OBJECT_NIL) == (result->type == MSGPACK_OBJECT_NIL))
		return protocol_trouble(trouble,
					"of error and result of a response one is nil");

	ret->failed = error->type != MSGPACK_OBJECT_NIL;
	if (ret->failed)
		return map_decode(&walk, &wire_shape_fault, error, &ret->fault);
	return map_decode(&walk, wire_methods[ret->method].result, result, &ret->body);
}

/* An error with the id 0 answers a request whose id could not be read: at least say why. */
static int unasked(struct wire_message *ret, const msgpack_object *error,
		   struct wire_trouble *trouble)
{
	struct walk walk = {.zone = &ret->zone, .trouble = trouble, .where = "an error"};
	struct wire_fault fault = {};

	if (error->type == MSGPACK_OBJECT_MAP &&
	    !map_decode(&walk, &wire_shape_fault, error, &fault)) {
		wire_trouble_set(trouble, fault.which, "an answer to what was not asked: %.*s",
				 (int)fault.message.size, fault.message.data);
		return WIRE_E_PROTOCOL;
	}
	return protocol_trouble(trouble, "an answer to what was not asked");
}

int wire_decode_answer(struct wire_message *ret, const void *data, size_t size,
		       enum wire_method (*method_of)(void *userdata, uint64_t id),
		       void *userdata, struct wire_trouble *trouble)
{
	const struct wire_method_info *info;
	const msgpack_object *elements;
	enum wire_method method;
	struct walk walk;
	int r;

	r = open_message(ret, data, size, &elements, trouble);
	if (r)
		return r;
	if (ret->kind == WIRE_REQUEST)
		return protocol_trouble(trouble, "daemons send no requests");

	if (ret->kind == WIRE_RESPONSE) {
		method = method_of(userdata, ret->id);
		if (method == WIRE_METHODS_N)
			return unasked(ret, &elements[2], trouble);
		ret->method = method;
		return decode_response(ret, &elements[2], &elements[3], trouble);
	}

	r = decode_method(ret, &elements[1], trouble);
	if (r)
		return r;
	info = &wire_methods[ret->method];
	if (info->from != WIRE_FROM_DAEMON) {
		wire_trouble_set(trouble, wire_str(info->name), "%s: daemons do not send this",
				 info->name);
		return WIRE_E_METHOD;
	}

	walk = (struct walk){.zone = &ret->zone, .trouble = trouble, .where = info->name};
	return map_decode(&walk, info->params, &elements[2], &ret->body);
}
