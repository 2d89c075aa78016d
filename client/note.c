#include "client/note.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/error.h"

void note_handle(struct calls *calls, const struct wire_message *message)
{
	const struct wire_extent_refused *refused = &message->body.extent_refused;
	const char *quiet = getenv("VARBOS_QUIET");
	char text[256];

	if (message->method != WIRE_EXTENT_REFUSED)
		return;
	atomic_fetch_add_explicit(&calls->refused, 1, memory_order_relaxed);
	if (quiet && *quiet)
		return;
	fprintf(stderr,
		"varbos: the daemon refused to free the block at offset 0x%llx of space %llu "
		"(tag 0x%llx): %s: %s\n",
		(unsigned long long)refused->offset, (unsigned long long)refused->space,
		(unsigned long long)refused->tag, varbos_code_name((int)refused->code),
		wire_str_copy(text, sizeof(text), refused->message));
}
