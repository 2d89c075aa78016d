/*
 * doctor - would Varbos work here? It needs no daemon; where one runs, it is asked, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/doctor.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"

#define SIZE_DEFAULT ((uint64_t)256 << 20)

static const struct table_column columns[] = {
#define FINDING(field, title, key) TABLE_COLUMN(struct finding, field, title, key, SHOW_TEXT)
	FINDING(check, "CHECK", "check"),
	FINDING(level_name, "RESULT", "result"),
	FINDING(text, "FINDING", "text"),
	FINDING(todo, "TO DO", "todo"),
#undef FINDING
};

struct sum_line {
	uint64_t failures, warnings, notes;
};

static const struct table_column sum_columns[] = {
	TABLE_COLUMN(struct sum_line, failures, "FAILURES", "failures", SHOW_COUNT),
	TABLE_COLUMN(struct sum_line, warnings, "WARNINGS", "warnings", SHOW_COUNT),
	TABLE_COLUMN(struct sum_line, notes, "NOTES", "notes", SHOW_COUNT),
};

/* What was said here wins over what the daemon would be told. */
static enum answer wanted_read(const struct options *options, struct machine *machine)
{
	static const char flag_origin[] = "asked for here";

	if (options->given[OPTION_SIZE]) {
		machine->size = options->number[OPTION_SIZE];
		strcpy(machine->size_origin, flag_origin);
	}
	if (!options->given[OPTION_PAGES])
		return ANSWER_OK;
	strcpy(machine->pages_origin, flag_origin);
	if (pages_parse(options->text[OPTION_PAGES], &machine->pages))
		return ANSWER_OK;
	return answer_say(ANSWER_USAGE, "--pages: \"%.60s\" is none of auto, 4K, 2M, 1G",
			  options->text[OPTION_PAGES]);
}

/* Somebody serves the socket: is it a daemon, and what has it already? Silence is a finding. */
static void daemon_ask(const struct call *call, struct machine *machine)
{
	_cleanup_(link_freep) struct link *link = NULL;
	const struct wire_daemon_status *status;
	const struct wire_empty empty = {};
	const void *result;

	if (machine->socket_state != SOCKET_SERVED ||
	    link_new(&link, call->socket, call->timeout_ms) ||
	    link_ask(link, "doctor", WIRE_STATUS, &empty, &result))
		return;
	status = result;
	machine->answered = true;
	machine->isolates = status->isolates;
	machine->region = status->region;
	machine->committed = status->committed;
	machine->page = status->page;
	wire_str_copy(machine->version, sizeof(machine->version), status->version);
	wire_str_copy(machine->pages_why, sizeof(machine->pages_why), status->pages_why);
}

enum answer verb_doctor(struct call *call)
{
	_cleanup_(freep) struct machine *machine = calloc(1, sizeof(*machine));
	_cleanup_(freep) struct findings *findings = calloc(1, sizeof(*findings));
	struct sum_line sum;
	enum answer answer;

	if (!machine || !findings)
		return answer_say(ANSWER_FAILED, "doctor: %s", strerror(ENOMEM));
	snprintf(machine->socket, sizeof(machine->socket), "%s", call->socket);
	machine->size = SIZE_DEFAULT;
	machine_ask_config(machine);
	answer = wanted_read(call->options, machine);
	if (answer)
		return answer;
	machine_read("", machine);
	machine_ask(machine);
	daemon_ask(call, machine);
	doctor_look(machine, findings);

	sum = (struct sum_line){
		.failures = findings->of_level[FINDING_FAIL],
		.warnings = findings->of_level[FINDING_WARNING],
		.notes = findings->of_level[FINDING_NOTE],
	};
	table_rows(&call->page, "findings", columns, ARRAY_SIZE(columns), findings->rows,
		   findings->count, sizeof(findings->rows[0]));
	table_record(&call->page, NULL, sum_columns, ARRAY_SIZE(sum_columns), &sum);
	if (sum.failures)
		call->exit = ANSWER_FAILED;
	return ANSWER_OK;
}
