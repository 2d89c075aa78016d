/*
 * Survey - what must be known of a trace before it is replayed: how many keys there are, what they
 * need together, and when each is asked for next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ctl/sim_index.h"
#include "client/ctl/sim_trace.h"

/* A request's key is not asked for again. */
#define SURVEY_NEVER UINT32_MAX

enum {
	SURVEY_E_LARGE = 1, /* more keys, or more requests, than are counted */
};

struct sim_survey {
	struct sim_index index;
	uint32_t *last; /* by the key's number: its last request, so far */
	uint32_t *next; /* by request: its key's next; NULL unless wanted */
	bool future;    /* it is wanted */
	uint64_t requests, next_room;
	uint32_t keys;
	unsigned __int128 bytes; /* of each key, as large as it was when it came first */
};

/* Zeroed, but for `future`, is fine to begin with, and for deinit. */
void sim_survey_deinit(struct sim_survey *survey);
/* These come next. -ENOMEM. */
int sim_survey_add(struct sim_survey *survey, const struct sim_request *requests, size_t n);
/* What was needed to count goes. */
void sim_survey_end(struct sim_survey *survey);
