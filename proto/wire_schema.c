/*
 * The schema as data: schema.def once more, as tables that encoder, decoder and printer walk.
 */
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire_private.h"

#define REQUIRED true
#define OPTIONAL false

/* fields_hello[], ... one for each SHAPE */
#define SHAPE(shape) static const struct wire_field fields_##shape[] = {
#define FIELD(shape, wire_type, field, need, about)                \
	{.name = #field,                                           \
	 .text = about,                                            \
	 .name_size = sizeof(#field) - 1,                          \
	 .offset = (uint32_t)offsetof(struct wire_##shape, field), \
	 .type = WIRE_##wire_type,                                 \
	 .required = need},
#define LIST(shape, row, field, about)                             \
	{.name = #field,                                           \
	 .text = about,                                            \
	 .list = &wire_shapes[WIRE_SHAPE_##row],                   \
	 .name_size = sizeof(#field) - 1,                          \
	 .offset = (uint32_t)offsetof(struct wire_##shape, field), \
	 .type = WIRE_LIST},
#define SHAPE_END(shape) \
	}                \
	;
#define METHOD(NAME, wire_name, in, out, who, about)
#include "proto/schema.def"

/* Fields of one message are told apart by the bits of a word. */
#define SHAPE(shape) static_assert(ARRAY_SIZE(fields_##shape) <= 64, #shape " is too long");
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, wire_name, in, out, who, about)
#include "proto/schema.def"

const struct wire_shape wire_shapes[WIRE_SHAPES_N] = {
#define SHAPE(shape)                                    \
	[WIRE_SHAPE_##shape] = {                        \
		.name = #shape,                         \
		.fields = fields_##shape,               \
		.n_fields = ARRAY_SIZE(fields_##shape), \
		.size = sizeof(struct wire_##shape),    \
	},
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, wire_name, in, out, who, about)
#include "proto/schema.def"
};

const struct wire_method_info wire_methods[WIRE_METHODS_N] = {
#define SHAPE(shape)
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, wire_name, in, out, who, about)      \
	[WIRE_##NAME] = {                                 \
		.name = wire_name,                        \
		.text = about,                            \
		.params = &wire_shapes[WIRE_SHAPE_##in],  \
		.result = &wire_shapes[WIRE_SHAPE_##out], \
		.name_size = sizeof(wire_name) - 1,       \
		.from = WIRE_FROM_##who,                  \
	},
#include "proto/schema.def"
};

enum wire_method wire_method_find(struct wire_str name)
{
	for (unsigned i = 0; i < WIRE_METHODS_N; i++)
		if (wire_methods[i].name_size == name.size &&
		    !memcmp(wire_methods[i].name, name.data, name.size))
			return (enum wire_method)i;
	return WIRE_METHODS_N;
}

bool wire_field_is_absent(const struct wire_field *field, const void *value)
{
	if (field->required)
		return false;
	switch (field->type) {
	case WIRE_U64:
		return !*(const uint64_t *)value;
	case WIRE_BOOL:
		return !*(const bool *)value;
	case WIRE_STR:
		return !((const struct wire_str *)value)->size;
	case WIRE_LIST:
		return !((const struct wire_list *)value)->count;
	}
	assert(false);
	return false;
}

const char *wire_error_name(uint64_t code)
{
	switch (code) {
#define ERROR(name, number, status, text) \
	case number:                      \
		return #name;
#include "proto/errors.def"
#undef ERROR
	}
	return NULL;
}

void wire_trouble_set(struct wire_trouble *trouble, struct wire_str which, const char *format,
		      ...)
{
	size_t size = u64_min(which.size, sizeof(trouble->which) - 1);
	va_list args;

	for (size_t i = 0; i < size; i++)
		trouble->which[i] =
			which.data[i] >= ' ' && which.data[i] <= '~' ? which.data[i] : '?';
	trouble->which[size] = '\0';

	va_start(args, format);
	vsnprintf(trouble->text, sizeof(trouble->text), format, args);
	va_end(args);
}
