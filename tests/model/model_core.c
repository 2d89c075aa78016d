/*
 * The core against a naive heap: seeded random verbs; after every step the core's own walker, a
 * recovery from a copy of the records, and a comparison with byte maps and plain sums.
 *
 *   VARBOS_SEED    replay one seed (printed at the start and with every failure)
 *   VARBOS_STEPS   verbs for each seed
 *   VARBOS_SHIFT   with VARBOS_SEED: the page shift, 12 or 21
 */
#include <time.h>

#include "tests/model/naive.h"
#include "tests/sanitized.h"

enum { STEPS = UNDER_ASAN ? 2000 : 6000 };

static void cache_step(void)
{
	uint32_t dice = below(100);

	if (one_in(4)) {
		if (one_in(3))
			verb_right_end();
		else
			verb_right_take();
		return;
	}
	if (dice < 14)
		verb_cache_open();
	else if (dice < 55)
		verb_cache_lease();
	else if (dice < 70)
		verb_cache_seal();
	else if (dice < 89)
		verb_cache_return();
	else if (dice < 92)
		verb_cache_close();
	else if (dice < 94)
		verb_cache_change();
	else if (dice < 97)
		verb_cache_remove();
	else
		verb_cache_reap();
}

static void one_step(void)
{
	uint32_t dice = below(1000);

	if (one_in(12)) {
		verb_sweep();
		return;
	}
	if (one_in(30)) {
		verb_holder_open();
		return;
	}
	if (one_in(25)) {
		verb_channel_open();
		return;
	}
	if (one_in(50)) {
		verb_channel_close();
		return;
	}
	if (one_in(5)) {
		cache_step();
		return;
	}
	if (dice < 415)
		verb_alloc();
	else if (dice < 585)
		verb_free();
	else if (dice < 645)
		verb_free_wrong();
	else if (dice < 795)
		plan_finish_one();
	else if (dice < 835)
		verb_trim();
	else if (dice < 865)
		verb_space_create();
	else if (dice < 925)
		verb_space_open();
	else if (dice < 930)
		verb_space_close();
	else if (dice < 935)
		verb_space_remove();
	else if (dice < 955)
		verb_session_open();
	else if (dice < 960)
		verb_session_end();
	else if (dice < 967)
		verb_scrub();
	else if (dice < 991)
		verb_space_change();
	else
		verb_window_open();
}

static void run(uint64_t steps)
{
	struct record_capacity capacity = {{
		[RECORD_SPACE] = SPACES + 1,
		[RECORD_WINDOW] = WINDOWS,
		[RECORD_PAGES] = 40,
		[RECORD_SESSION] = SESSIONS + 1,
		[RECORD_MEMBER] = OPENS,
		[RECORD_EXTENT] = EXTENTS,
		[RECORD_CHANNEL] = CHANNELS,
		[RECORD_END] = ENDS,
		[RECORD_CACHE] = CACHES + 1,
		[RECORD_USER] = OPENS,
		[RECORD_RIGHT] = RIGHTS,
		[RECORD_RESULT] = (SESSIONS + 1) * RESULTS_A_SESSION,
	}};
	void *memory;

	memset(&m, 0, sizeof(m));
	state = seed;
	m.size = records_size(&capacity);
	memory = aligned_alloc(64, (m.size + 63) / 64 * 64);
	m.copy = aligned_alloc(64, (m.size + 63) / 64 * 64);
	MUST(memory && m.copy);
	memset(memory, 0, m.size);
	m.records = records_init(memory, &capacity);
	m.config = (struct core_config){
		.page_shift = shift,
		.n_nodes = 1 + one_in(3),
		.node_bytes = {(16 + below(25)) / 2 * 2 * MIB, (8 + below(16)) / 2 * 2 * MIB},
		.share = (24 + below(20)) / 2 * 2 * MIB,
		.uid = 0,
		.seed = next(),
	};
	if (shift == 12 && one_in(2)) {
		m.config.large.page_shift = 21;
		m.config.large.from = (2 + below(12)) * 2 * MIB;
		m.config.large.node_bytes[0] = (6 + below(12)) * 2 * MIB;
		m.config.large.node_bytes[1] = (4 + below(8)) * 2 * MIB;
	}
	if (m.config.n_nodes == 1)
		m.config.node_bytes[1] = m.config.large.node_bytes[1] = 0;
	m.config.share =
		u64_min(m.config.share, m.config.node_bytes[0] + m.config.node_bytes[1] +
						m.config.large.node_bytes[0] +
						m.config.large.node_bytes[1]);
	m.config.limits.keeps_last = one_in(2);
	if (one_in(2)) {
		m.config.limits.max[QUOTA_SESSIONS] = 1 + below(4);
		m.config.limits.max[QUOTA_SPACES] = 1 + below(4);
		m.config.limits.max[QUOTA_OPENS] = 1 + below(8);
		m.config.limits.max[QUOTA_WINDOWS] = 1 + below(8);
		m.config.limits.max[QUOTA_LEASES] = 1 + below(60);
		m.config.limits.max[QUOTA_CHANNELS] = 1 + below(10);
		m.config.limits.max[QUOTA_CACHES] = 1 + below(4);
		m.config.limits.max[QUOTA_RIGHTS] = 1 + below(6);
	}
	MUST(!core_new(&m.core, &m.config, m.records));
	for (step = 0; step < steps; ++step) {
		one_step();
		apply_changes();
		compare();
	}
	while (plan_finish_one())
		apply_changes();
	compare();
	core_free(m.core);
	free(memory);
	free(m.copy);
}

int main(void)
{
	const char *given = getenv("VARBOS_SEED"), *length = getenv("VARBOS_STEPS");
	const char *page = getenv("VARBOS_SHIFT");
	uint64_t steps = length ? strtoull(length, NULL, 0) : STEPS;
	struct timespec now;
	uint64_t total[40] = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	for (uint32_t round = 0; round < (given ? 1 : 8); ++round, ++seed) {
		for (uint32_t i = 0; i < 2; ++i) {
			shift = i ? 21 : 12;
			if (page && (uint32_t)atoi(page) != shift)
				continue;
			run(steps);
			for (uint32_t j = 0; j < ARRAY_SIZE(total); ++j)
				total[j] += m.counts[j];
		}
	}
	printf("alloc %" PRIu64 " planned %" PRIu64 " punched %" PRIu64 " memory %" PRIu64
	       " budget %" PRIu64 " busy %" PRIu64 " large %" PRIu64 " free %" PRIu64
	       " refused %" PRIu64 " adopted %" PRIu64 " gone %" PRIu64 " trimmed %" PRIu64
	       " scrubbed %" PRIu64 " aborted %" PRIu64 " limit %" PRIu64 " changed %" PRIu64
	       " reserved %" PRIu64 " lowered %" PRIu64 " blocks %" PRIu64 " holders %" PRIu64
	       " swept %" PRIu64 " channels %" PRIu64 " joined %" PRIu64 " reaped %" PRIu64
	       " caches %" PRIu64 " gone %" PRIu64 " leased %" PRIu64 " sealed %" PRIu64
	       " returned %" PRIu64 " rights %" PRIu64 " claimed %" PRIu64 " retired %" PRIu64
	       " barred %" PRIu64 " answered %" PRIu64 "\n",
	       total[N_ALLOC], total[N_PLANNED], total[N_PUNCHED], total[N_MEMORY],
	       total[N_BUDGET], total[N_BUSY], total[N_LARGE], total[N_FREE], total[N_REFUSED],
	       total[N_ADOPTED], total[N_GONE], total[N_TRIMMED], total[N_SCRUBBED],
	       total[N_ABORTED], total[N_LIMIT], total[N_CHANGED], total[N_RESERVED],
	       total[N_LOWERED], total[N_BLOCKS], total[N_HOLDERS], total[N_SWEPT],
	       total[N_CHANNELS], total[N_JOINED], total[N_REAPED], total[N_CACHES],
	       total[N_CACHES_GONE], total[N_LEASED], total[N_SEALED], total[N_RETURNED],
	       total[N_RIGHTS], total[N_CLAIMED], total[N_RETIRED], total[N_BARRED],
	       total[N_ANSWERED]);
	return 0;
}
