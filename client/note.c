#include "client/note.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/error.h"

void note_print(const char *format, ...)
{
	const char *quiet = getenv("VARBOS_QUIET");
	char text[512];
	va_list args;

	if (quiet && *quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "varbos: %s\n", text);
}

void note_handle(struct calls *calls, const struct wire_message *message)
{
	const struct wire_extent_refused *refused = &message->body.extent_refused;
	char text[256];

	if (message->method != WIRE_EXTENT_REFUSED)
		return;
	atomic_fetch_add_explicit(&calls->refused, 1, memory_order_relaxed);
	note_print("the daemon refused to free the block at offset 0x%llx of space %llu "
		   "(tag 0x%llx): %s: %s",
		   (unsigned long long)refused->offset, (unsigned long long)refused->space,
		   (unsigned long long)refused->tag, varbos_code_name((int)refused->code),
		   wire_str_copy(text, sizeof(text), refused->message));
}
