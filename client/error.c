#include "client/error.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

static _Thread_local struct varbos_error last;
/* Written by each call, so where no function has to be asked for its address. */
static _Thread_local const char *entered __attribute__((tls_model("initial-exec"))) = "varbos";

/* Whose failure `last` is of which only the code is noted; NULL: it is complete. */
static _Thread_local const char *quick __attribute__((tls_model("initial-exec")));

#define ERROR(name, number, status, text) \
	static_assert(VARBOS_E_##name == (number), "the public copy of proto/errors.def");
#include "proto/errors.def"
#undef ERROR

static const char *text_of(enum varbos_code code)
{
	switch ((int)code) {
#define ERROR(name, number, status, text) \
	case number:                      \
		return text;
#include "proto/errors.def"
#undef ERROR
	default:
		return "it failed";
	}
}

_public_ const struct varbos_error *varbos_error(void)
{
	const char *function = quick;

	if (function) {
		quick = NULL;
		last = (struct varbos_error){.code = last.code};
		snprintf(last.message, sizeof(last.message), "%s: %s", function,
			 text_of(last.code));
	}
	return &last;
}

_public_ const char *varbos_code_name(int code)
{
	switch (code) {
	case VARBOS_OK:
		return "VARBOS_OK";
#define ERROR(name, number, status, text) \
	case number:                      \
		return "VARBOS_E_" #name;
#include "proto/errors.def"
#undef ERROR
	default:
		return "VARBOS_E_(unknown)";
	}
}

void error_enter(const char *function)
{
	entered = function;
}

const char *error_entered(void)
{
	return entered;
}

int error_quick(enum varbos_code code, const char *function)
{
	last.code = code;
	quick = function;
	return (int)code;
}

int error_restore(const struct varbos_error *error)
{
	quick = NULL;
	last = *error;
	return (int)last.code;
}

static void fill_message(const char *format, va_list args) _printf_(1, 0);

static void fill_message(const char *format, va_list args)
{
	int n = snprintf(last.message, sizeof(last.message), "%s: ", entered);

	if (n >= 0 && (size_t)n < sizeof(last.message))
		vsnprintf(last.message + n, sizeof(last.message) - (size_t)n, format, args);
}

int error_set(enum varbos_code code, const char *which, const char *format, ...)
{
	va_list args;

	quick = NULL;
	last = (struct varbos_error){.code = code};
	snprintf(last.which, sizeof(last.which), "%s", which ? which : "");
	va_start(args, format);
	fill_message(format, args);
	va_end(args);
	return (int)code;
}

int error_null(const char *argument)
{
	return error_set(VARBOS_E_INVALID, argument, "%s is NULL", argument);
}

int error_within(const char *function)
{
	char inner[sizeof(last.message)];

	memcpy(inner, varbos_error()->message, sizeof(inner));
	error_enter(function);
	/* What is too long is cut off at its end. */
	if (snprintf(last.message, sizeof(last.message), "%s: %s", function, inner) < 0)
		last.message[0] = '\0';
	return (int)last.code;
}

int error_parents(const char *what)
{
	return error_set(VARBOS_E_INVALID, "process",
			 "%s was made by the process that this one was forked from", what);
}

int error_set_numbers(const struct varbos_error *numbers, const char *format, ...)
{
	va_list args;

	quick = NULL;
	last = *numbers;
	va_start(args, format);
	fill_message(format, args);
	va_end(args);
	return (int)last.code;
}

int error_system(int error, const char *format, ...)
{
	char text[160];
	va_list args;

	if (error < 0)
		error = -error;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_SYSTEM, .system_errno = error},
		"%s: %s", text,
		strerrordesc_np(error) ? strerrordesc_np(error) : "unknown error");
}

void error_of_fault(struct varbos_error *ret, const struct wire_fault *fault)
{
	*ret = (struct varbos_error){
		.code = (enum varbos_code)fault->code,
		.system_errno = fault->system_errno <= INT_MAX ? (int)fault->system_errno : 0,
		.requested = fault->requested,
		.available = fault->available,
		.largest = fault->largest,
		.max = fault->max,
		.remaining = fault->remaining,
		.pinned = fault->pinned,
	};
	wire_str_copy(ret->which, sizeof(ret->which), fault->which);
	wire_str_copy(ret->message, sizeof(ret->message), fault->message);
}

/* The daemon's line says what it knows; for the numbers one that reads alike everywhere. */
int error_fault(const struct wire_fault *fault)
{
	char asked[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];
	struct varbos_error error;
	const char *said = error.message;

	error_of_fault(&error, fault);
	if (!fault->code || !wire_error_name(fault->code))
		return error_set(VARBOS_E_PROTOCOL, "code",
				 "the daemon answered with a code that this library does not "
				 "know, %llu: %s",
				 (unsigned long long)fault->code, said);

	size_format(asked, sizeof(asked), fault->requested);
	size_format(most, sizeof(most), fault->max);
	size_format(left, sizeof(left), fault->remaining);
	if (error.code == VARBOS_E_BUDGET && error.pinned)
		return error_set_numbers(
			&error,
			"%s asked, %s left in the budget of the %s, whose views keep %s", asked,
			left, *error.which ? error.which : "space",
			size_format(most, sizeof(most), error.pinned));
	if (error.code == VARBOS_E_BUDGET)
		return error_set_numbers(&error, "%s asked, %s left in the budget of the %s",
					 asked, left, *error.which ? error.which : "space");
	if (error.code == VARBOS_E_TOO_LARGE)
		return error_set_numbers(
			&error, "%s asked, %s is the most that could ever be had", asked, most);
	/* Of "nodes" or the "host" the daemon knows more than the numbers say. */
	if (error.code == VARBOS_E_MEMORY && (!*error.which || !strcmp(error.which, "region")))
		return error_set_numbers(&error, "%s asked, %s free, the longest run %s", asked,
					 size_format(left, sizeof(left), fault->available),
					 size_format(most, sizeof(most), fault->largest));
	return error_set_numbers(&error, "%s", said);
}
