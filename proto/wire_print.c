/*
 * Messages for people: one line each, fields that are absent left out.
 */
#include <inttypes.h>

#include "base/base.h"
#include "proto/wire_private.h"

static void print_shape(FILE *out, const struct wire_shape *shape, const void *base);

static void print_str(FILE *out, const struct wire_str *str)
{
	fputc('"', out);
	for (uint32_t i = 0; i < str->size; i++) {
		if (str->data[i] == '"' || str->data[i] == '\\')
			fputc('\\', out);
		fputc(str->data[i], out);
	}
	fputc('"', out);
}

static void print_list(FILE *out, const struct wire_shape *shape, const struct wire_list *list)
{
	fputc('[', out);
	for (uint32_t i = 0; i < list->count; i++) {
		if (i)
			fputs(", ", out);
		print_shape(out, shape, (const char *)list->rows + (size_t)i * shape->size);
	}
	fputc(']', out);
}

static void print_value(FILE *out, const struct wire_field *field, const void *value)
{
	switch (field->type) {
	case WIRE_U64:
		fprintf(out, "%" PRIu64, *(const uint64_t *)value);
		return;
	case WIRE_BOOL:
		fputs(*(const bool *)value ? "true" : "false", out);
		return;
	case WIRE_STR:
		print_str(out, value);
		return;
	case WIRE_LIST:
		print_list(out, field->list, value);
		return;
	}
}

static void print_shape(FILE *out, const struct wire_shape *shape, const void *base)
{
	const struct wire_field *field;
	const void *value;
	const char *comma = "";

	fputc('{', out);
	for (uint32_t i = 0; i < shape->n_fields; i++) {
		field = &shape->fields[i];
		value = (const char *)base + field->offset;
		if (wire_field_is_absent(field, value))
			continue;
		fprintf(out, "%s%s: ", comma, field->name);
		print_value(out, field, value);
		comma = ", ";
	}
	fputc('}', out);
}

void wire_print(FILE *out, const struct wire_message *message)
{
	const struct wire_method_info *info = &wire_methods[message->method];
	const char *error;

	switch (message->kind) {
	case WIRE_REQUEST:
		fprintf(out, "-> %" PRIu64 " %s ", message->id, info->name);
		print_shape(out, info->params, &message->body);
		break;
	case WIRE_NOTE:
		fprintf(out, "%s %s ", info->from == WIRE_FROM_DAEMON ? "<-" : "->",
			info->name);
		print_shape(out, info->params, &message->body);
		break;
	case WIRE_RESPONSE:
		fprintf(out, "<- %" PRIu64 " %s ", message->id, info->name);
		if (!message->failed) {
			print_shape(out, info->result, &message->body);
			break;
		}
		error = wire_error_name(message->fault.code);
		fprintf(out, "%s ", error ? error : "an error of its own");
		print_shape(out, &wire_shape_fault, &message->fault);
		break;
	}
	fputc('\n', out);
}
