#include "client/ctl/sim_survey.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base.h"

#define KEYS_FIRST ((uint32_t)1 << 12)
#define KEYS_MAX ((uint32_t)1 << 31)
#define REQUESTS_FIRST ((uint64_t)1 << 16)

void sim_survey_end(struct sim_survey *survey)
{
	sim_index_deinit(&survey->index);
	free(survey->last);
	survey->last = NULL;
}

void sim_survey_deinit(struct sim_survey *survey)
{
	sim_survey_end(survey);
	free(survey->next);
	survey->next = NULL;
}

/* Room for as many keys more. */
static int keys_hold(struct sim_survey *survey, size_t n)
{
	uint64_t keys = u64_max(survey->index.objects, KEYS_FIRST);
	uint32_t *last;

	while (keys < survey->keys + n)
		keys *= 2;
	if (keys == survey->index.objects)
		return 0;
	if (keys > KEYS_MAX)
		return SURVEY_E_LARGE;
	last = reallocarray(survey->last, keys, sizeof(*last));
	if (!last)
		return -ENOMEM;
	survey->last = last;
	return sim_index_grow(&survey->index, (uint32_t)keys);
}

static int requests_hold(struct sim_survey *survey, size_t n)
{
	uint64_t room = u64_max(survey->next_room, REQUESTS_FIRST);
	uint32_t *next;

	if (survey->requests + n > SURVEY_NEVER)
		return SURVEY_E_LARGE;
	while (room < survey->requests + n)
		room *= 2;
	if (room == survey->next_room)
		return 0;
	next = reallocarray(survey->next, room, sizeof(*next));
	if (!next)
		return -ENOMEM;
	survey->next = next;
	survey->next_room = room;
	return 0;
}

int sim_survey_add(struct sim_survey *survey, const struct sim_request *requests, size_t n)
{
	int r;

	r = keys_hold(survey, n);
	if (!r && survey->future)
		r = requests_hold(survey, n);
	if (r)
		return r;

	for (size_t i = 0; i < n; i++) {
		uint32_t number = sim_index_find(&survey->index, requests[i].hash);

		if (number == SIM_NONE) {
			number = survey->keys++;
			sim_index_put(&survey->index, requests[i].hash, number);
			survey->bytes += requests[i].size;
		} else if (survey->future) {
			survey->next[survey->last[number]] = (uint32_t)survey->requests;
		}
		if (survey->future) {
			survey->last[number] = (uint32_t)survey->requests;
			survey->next[survey->requests] = SURVEY_NEVER;
		}
		survey->requests++;
	}
	return 0;
}
