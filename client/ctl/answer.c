#include "client/ctl/answer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <varbos/varbos.h>

#include "base/size.h"
#include "client/ctl/text.h"
#include "proto/wire.h"

static const struct {
	uint64_t code;
	enum answer answer;
} codes[] = {
#define ERROR(name, number, status, text) {number, (enum answer)(status)},
#include "proto/errors.def"
#undef ERROR
};

enum answer answer_say(enum answer answer, const char *format, ...)
{
	va_list args;

	fputs("varbosctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	putc('\n', stderr);
	return answer;
}

enum answer answer_of_code(uint64_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return codes[i].answer;
	return ANSWER_FAILED;
}

static void number_print(const char **between, const char *name, uint64_t number, bool bytes)
{
	char size[SIZE_TEXT_MAX];

	if (!number)
		return;
	if (bytes)
		fprintf(stderr, "%s%s %s", *between, name,
			size_format(size, sizeof(size), number));
	else
		fprintf(stderr, "%s%s %" PRIu64, *between, name, number);
	*between = ", ";
}

enum answer answer_fault(const char *what, const struct wire_fault *fault)
{
	const char *name = wire_error_name(fault->code), *between = ": ";
	/* Elsewhere the numbers may count sessions, versions or records. */
	bool bytes = fault->code == VARBOS_E_MEMORY || fault->code == VARBOS_E_TOO_LARGE ||
		     fault->code == VARBOS_E_BUDGET;

	fprintf(stderr, "varbosctl: %s: ", what);
	text_print(stderr, fault->message.data, fault->message.size);
	fprintf(stderr, " (%s", name ? name : "unknown code");
	if (!name)
		number_print(&between, "code", fault->code, false);
	if (fault->which.size) {
		fputs(between, stderr);
		text_print(stderr, fault->which.data, fault->which.size);
		between = ", ";
	}
	number_print(&between, "requested", fault->requested, bytes);
	number_print(&between, "available", fault->available, bytes);
	number_print(&between, "largest", fault->largest, bytes);
	number_print(&between, "max", fault->max, bytes);
	number_print(&between, "remaining", fault->remaining, bytes);
	number_print(&between, "pinned", fault->pinned, bytes);
	if (fault->system_errno && fault->system_errno < 4096)
		fprintf(stderr, "%s%s", between, strerror((int)fault->system_errno));
	fputs(")\n", stderr);

	return answer_of_code(fault->code);
}
