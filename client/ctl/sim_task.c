#include "client/ctl/sim_task.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/word.h"
#include "client/ctl/sim_belady.h"
#include "daemon/core/policy/policy.h"

#define CAPACITY_DEFAULT "10%"

/* Ten, from a thousandth of what would hold all to all of it. */
#define CAPACITIES_CURVE "0.1%,0.2%,0.5%,1%,2%,5%,10%,20%,50%,100%"

enum { WORD_MAX = 48 };

/* The next word of a list, whose end *at is; false: it is too long, or empty. */
static bool word_next(const char **at, char ret[static WORD_MAX])
{
	size_t length = strcspn(*at, ",");

	snprintf(ret, WORD_MAX, "%.*s", (int)u64_min(length, WORD_MAX), *at);
	*at += length;
	if (!length || length >= WORD_MAX)
		return false;
	return true;
}

/* Who wrote a part of it means it. */
static size_t distance_to(const char *known, const char *said)
{
	return strcasestr(known, said) ? 0 : word_distance(said, known);
}

static const struct policy *policy_nearest(const char *name)
{
	const struct policy *nearest = policy_at(0), *policy;
	size_t least = SIZE_MAX;

	for (uint32_t i = 0; (policy = policy_at(i)); i++) {
		size_t distance = distance_to(policy->name, name);

		if (distance < least) {
			least = distance;
			nearest = policy;
		}
	}
	return nearest;
}

static enum answer policy_add(struct sim_task *task, const char *name)
{
	const struct policy *policy;
	uint32_t id;

	policy = policy_named(name, &id);
	if (!policy)
		return answer_say(ANSWER_USAGE,
				  "--policy: no policy \"%s\"; the nearest is \"%s\"", name,
				  policy_nearest(name)->name);
	for (size_t i = 0; i < task->n_policies; i++)
		if (task->policies[i] == policy)
			return answer_say(ANSWER_USAGE, "--policy: %s is named twice", name);
	task->policies[task->n_policies++] = policy;
	return ANSWER_OK;
}

static enum answer policies_read(struct sim_task *task, const char *list)
{
	const struct policy *policy;
	char name[WORD_MAX];
	enum answer answer;

	static_assert(POLICIES < (int)TASK_POLICIES_MAX, "all of them, and Belady's");
	for (uint32_t i = 0; !list && (policy = policy_at(i)); i++)
		task->policies[task->n_policies++] = policy;
	while (list) {
		if (!word_next(&list, name))
			return answer_say(ANSWER_USAGE,
					  "--policy: \"%s\" is no name of a policy", name);
		answer = policy_add(task, name);
		if (answer)
			return answer;
		list = *list ? list + 1 : NULL;
	}
	return ANSWER_OK;
}

static enum answer capacities_read(struct sim_task *task, const char *list)
{
	struct sim_capacity *capacity;
	const char *wrong;
	char text[WORD_MAX];

	while (list) {
		if (task->n_capacities == TASK_CAPACITIES_MAX)
			return answer_say(ANSWER_USAGE, "--capacity: more than %d",
					  TASK_CAPACITIES_MAX);
		capacity = &task->capacities[task->n_capacities];
		wrong = word_next(&list, text) ? capacity_parse(text, task->bytes, capacity)
					       : "a capacity";
		if (wrong)
			return answer_say(ANSWER_USAGE, "--capacity: \"%s\" is not %s", text,
					  wrong);
		for (size_t i = 0; i < task->n_capacities; i++)
			if (task->capacities[i].amount == capacity->amount &&
			    task->capacities[i].share == capacity->share)
				return answer_say(ANSWER_USAGE, "--capacity: %s is said twice",
						  text);
		task->shares = task->shares || capacity->share;
		task->n_capacities++;
		list = *list ? list + 1 : NULL;
	}
	return ANSWER_OK;
}

static enum answer format_read(struct sim_task *task, const char *name)
{
	const char *nearest = trace_formats[0].name;
	size_t least = SIZE_MAX;

	if (!name)
		return answer_say(ANSWER_USAGE, "sim needs --format: u32be, u64be, lines or "
						"oracleGeneral");
	for (size_t i = 0; i < TRACE_FORMATS; i++) {
		size_t distance = distance_to(trace_formats[i].name, name);

		if (!strcmp(name, trace_formats[i].name))
			task->format = &trace_formats[i];
		if (distance < least) {
			least = distance;
			nearest = trace_formats[i].name;
		}
	}
	if (!task->format)
		return answer_say(ANSWER_USAGE,
				  "--format: no format \"%.60s\"; the nearest is \"%s\"", name,
				  nearest);
	if (task->bytes && !task->format->sized)
		return answer_say(ANSWER_USAGE, "--bytes: %s has no sizes", task->format->name);
	return ANSWER_OK;
}

enum answer sim_task_read(struct sim_task *ret, const struct options *options, const char *path)
{
	const char *capacities = options->text[OPTION_CAPACITY];
	struct sim_task task = {
		.path = path,
		.bytes = options->given[OPTION_BYTES],
		.future = options->given[OPTION_BELADY],
	};
	enum answer answer;

	task.curve = options->given[OPTION_CURVE];
	if (task.curve && capacities)
		return answer_say(ANSWER_USAGE, "--curve has capacities of its own: leave out "
						"--capacity");
	if (options->given[OPTION_SVG] && !task.curve)
		return answer_say(ANSWER_USAGE, "--svg goes with --curve");
	if (!capacities)
		capacities = task.curve ? CAPACITIES_CURVE : CAPACITY_DEFAULT;
	answer = format_read(&task, options->text[OPTION_FORMAT]);
	if (!answer)
		answer = policies_read(&task, options->text[OPTION_POLICY]);
	if (!answer)
		answer = capacities_read(&task, capacities);
	if (answer)
		return answer;
	if (task.future)
		task.policies[task.n_policies++] = &policy_belady;
	*ret = task;
	return ANSWER_OK;
}
