#include "tests/fuzz/sample.h"

#include <assert.h>
#include <string.h>

#include "base/base.h"

/* splitmix64 */
uint64_t sample_random(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static void *memory_take(struct sample_memory *memory, size_t size)
{
	void *p = memory->bytes + memory->used;

	assert(size <= sizeof(memory->bytes) - memory->used - 8);
	memory->used += (size + 7) & ~(size_t)7;
	return p;
}

/* Every width that MessagePack has for a number. */
static uint64_t number_make(uint64_t *seed)
{
	static const uint64_t edges[] = {
		0,         1,          127,        128,        255,
		256,       65535,      65536,      UINT32_MAX, (uint64_t)UINT32_MAX + 1,
		INT64_MAX, 1ULL << 63, UINT64_MAX,
	};
	uint64_t pick = sample_random(seed);

	return pick & 1 ? edges[(pick >> 1) % ARRAY_SIZE(edges)] : sample_random(seed);
}

static struct wire_str str_make(struct sample_memory *memory, uint64_t *seed)
{
	static const uint32_t sizes[] = {0, 1, 7, 31, 32, 255, 256, 300};
	static const char *const texts[] = {"images", "gr\xc3\xb6\xc3\x9f\x65", "\xe2\x82\xac",
					    "\xf0\x9f\x90\x9f"};
	uint64_t pick = sample_random(seed);
	uint32_t size = sizes[(pick >> 8) % ARRAY_SIZE(sizes)];
	char *bytes;

	if (pick & 1)
		return wire_str(texts[(pick >> 8) % ARRAY_SIZE(texts)]);
	bytes = memory_take(memory, size);
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (char)(' ' + sample_random(seed) % 95);
	return (struct wire_str){.data = bytes, .size = size};
}

static struct wire_list list_make(const struct wire_shape *shape, struct sample_memory *memory,
				  uint64_t *seed, bool all)
{
	uint32_t count = (uint32_t)(sample_random(seed) % 4);
	char *rows = memory_take(memory, (size_t)count * shape->size);

	for (uint32_t i = 0; i < count; i++)
		sample_fill(shape, rows + (size_t)i * shape->size, memory, seed, all);
	return (struct wire_list){.rows = rows, .count = count};
}

void sample_fill(const struct wire_shape *shape, void *ret, struct sample_memory *memory,
		 uint64_t *seed, bool all)
{
	const struct wire_field *field;
	void *value;

	memset(ret, 0, shape->size);
	for (uint32_t i = 0; i < shape->n_fields; i++) {
		field = &shape->fields[i];
		value = (char *)ret + field->offset;
		if (!field->required && !all)
			continue;
		switch (field->type) {
		case WIRE_U64:
			*(uint64_t *)value = number_make(seed);
			break;
		case WIRE_BOOL:
			*(bool *)value = sample_random(seed) & 1;
			break;
		case WIRE_STR:
			*(struct wire_str *)value = str_make(memory, seed);
			break;
		case WIRE_LIST:
			*(struct wire_list *)value = list_make(field->list, memory, seed, all);
			break;
		}
	}
}

static bool value_equal(const struct wire_field *field, const void *a, const void *b)
{
	const struct wire_list *rows_a = a, *rows_b = b;
	const struct wire_str *str_a = a, *str_b = b;

	switch (field->type) {
	case WIRE_U64:
		return *(const uint64_t *)a == *(const uint64_t *)b;
	case WIRE_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case WIRE_STR:
		return str_a->size == str_b->size &&
		       (!str_a->size || !memcmp(str_a->data, str_b->data, str_a->size));
	case WIRE_LIST:
		if (rows_a->count != rows_b->count)
			return false;
		for (uint32_t i = 0; i < rows_a->count; i++)
			if (!sample_equal(
				    field->list,
				    (const char *)rows_a->rows + (size_t)i * field->list->size,
				    (const char *)rows_b->rows + (size_t)i * field->list->size))
				return false;
		return true;
	}
	assert(false);
	return false;
}

bool sample_equal(const struct wire_shape *shape, const void *a, const void *b)
{
	for (uint32_t i = 0; i < shape->n_fields; i++)
		if (!value_equal(&shape->fields[i], (const char *)a + shape->fields[i].offset,
				 (const char *)b + shape->fields[i].offset))
			return false;
	return true;
}

int sample_encode(void *buf, size_t size, const struct wire_message *message)
{
	switch (message->kind) {
	case WIRE_REQUEST:
		return wire_encode_request(buf, size, message->id, message->method,
					   &message->body);
	case WIRE_NOTE:
		return wire_encode_note(buf, size, message->method, &message->body);
	case WIRE_RESPONSE:
		if (message->failed)
			return wire_encode_fault(buf, size, message->id, &message->fault);
		return wire_encode_result(buf, size, message->id, message->method,
					  &message->body);
	}
	assert(false);
	return 0;
}

bool sample_same(const struct wire_message *a, const struct wire_message *b)
{
	const struct wire_method_info *info = &wire_methods[a->method];

	if (a->kind != b->kind || a->method != b->method || a->failed != b->failed ||
	    (a->kind != WIRE_NOTE && a->id != b->id))
		return false;
	if (a->failed)
		return sample_equal(&wire_shape_fault, &a->fault, &b->fault);
	return sample_equal(a->kind == WIRE_RESPONSE ? info->result : info->params, &a->body,
			    &b->body);
}

enum wire_method sample_method_of(void *userdata, uint64_t id)
{
	(void)userdata;
	return id < WIRE_METHODS_N ? (enum wire_method)id : WIRE_METHODS_N;
}
