/*
 * Method parts - what the methods have in common: reading what a request says, asking the core,
 * answering when a plan has been carried out.
 */
#pragma once

#include <stdint.h>

#include "daemon/server/job.h"
#include "daemon/server/request.h"

enum {
	METHOD_ROWS = 64, /* of a list, in one answer: they fit with room to spare */
};

/* Strings of a request end where the datagram goes on; the core wants them terminated. */
struct method_text {
	char data[256];
};

int method_text(struct request *request, struct method_text *ret, const char *field,
		struct wire_str str);
/* What clients see as handles and session numbers are the core's slots, which start at 1. */
int method_slot(struct request *request, uint64_t handle, uint32_t *ret);
/* Where a list goes on: 0 is its start, and never a `next`. */
uint32_t method_page(uint64_t after);

/* What a verb of the core has answered, as the answer to the request. */
int method_answer(struct request *request, int r, const struct core_fault *fault);
/*
 * CORE_E_IN_USE, with who it is that has the thing open, as far as a line goes; `next` is the first
 * session at or after one that has, UINT32_MAX if none.
 */
int method_in_use(struct request *request, uint32_t thing, uint64_t sessions,
		  uint32_t (*next)(const struct core *core, uint32_t thing, uint32_t session));

/* Others first; then this request is tried again, and does the next steps. */
int method_later(struct request *request);

/* Carry the plan out, then answer with the result that is there. */
int method_after(struct request *request, struct plan *plan);
/* The job_done_fn of that, for a request that was kept. */
void method_done(void *userdata, const struct job_outcome *outcome);
