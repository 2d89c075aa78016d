#include "tests/model/naive.h"

struct naive_asked naive_ask(uint32_t session)
{
	struct naive_asked asked = {0};

	if (one_in(3))
		return asked;
	asked = (struct naive_asked){
		.session = session, .verb = 1 + below(250), .id = ++m.asked};
	core_asked(m.core, session, asked.verb, asked.id);
	return asked;
}

void naive_answered(struct naive_asked asked, uint64_t a, uint64_t b)
{
	if (!asked.id)
		return;
	m.results[asked.session][asked.id % RESULTS_A_SESSION] =
		(struct naive_result){asked, {a, b}};
	++m.counts[N_ANSWERED];
}

void naive_planned(struct naive_asked asked, const struct plan *plan, uint64_t a, uint64_t b)
{
	for (uint32_t i = 0; i < PLANS; ++i)
		if (m.plans[i].plan == plan)
			m.plans[i].result = (struct naive_result){asked, {a, b}};
}

void naive_results_end(uint32_t session)
{
	memset(m.results[session], 0, sizeof(m.results[session]));
	for (uint32_t i = 0; i < PLANS; ++i)
		if (m.plans[i].result.asked.session == session)
			m.plans[i].result.asked.id = 0;
}

void compare_results(const struct core *core)
{
	for (uint32_t session = 0; session <= SESSIONS; ++session)
		for (uint32_t i = 0; i < RESULTS_A_SESSION; ++i) {
			const struct naive_result *result = &m.results[session][i];
			uint32_t slot = session * RESULTS_A_SESSION + i;
			struct result_view view;

			MUST(records_valid(core->records, RECORD_RESULT, slot) ==
			     !!result->asked.id);
			if (!result->asked.id)
				continue;
			MUST(core_result(core, session, result->asked.verb, result->asked.id,
					 &view));
			MUST(!memcmp(view.answer, result->answer, sizeof(view.answer)));
			MUST(!core_result(core, session, result->asked.verb + 1,
					  result->asked.id, &view));
		}
}
