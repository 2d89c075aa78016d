#include "client/crew.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/lock.h"

enum {
	STACK = 256 << 10,
	/* A crew that is not faster by a fifth is not worth its processors. */
	PAYS_ALONE = 6,
	PAYS_TOGETHER = 5,
};

static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};

/* ---- one copy ---- */

static void alone(const struct crew_work *work, size_t at, size_t size)
{
	if (work->from)
		copy_streamed(work->to + at, work->from + at, size);
	else
		zero_streamed(work->to + at, size);
}

struct job {
	const struct crew_work *work;
	_Atomic size_t next;
};

static void take_part(struct job *job)
{
	size_t size = job->work->size, at;

	/* Nobody sees by it what another has done: that is by the thread's end. */
	while ((at = atomic_fetch_add_explicit(&job->next, CREW_STEP, memory_order_relaxed)) <
	       size)
		alone(job->work, at, (size_t)u64_min(CREW_STEP, size - at));
}

static void *member(void *userdata)
{
	prctl(PR_SET_NAME, "varbos-copy");
	take_part(userdata);
	return NULL;
}

static unsigned members_start(struct job *job, pthread_t *threads, unsigned n)
{
	pthread_attr_t attributes;
	sigset_t blocked, before;
	unsigned started = 0;

	if (pthread_attr_init(&attributes))
		return 0;
	sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&blocked, faults[i]);
	if (mutant(crew_signals_open))
		sigemptyset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	pthread_attr_setstacksize(&attributes, STACK);
	while (started < n && !pthread_create(&threads[started], &attributes, member, job))
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return started;
}

void crew_run(const struct crew_work *work, unsigned members)
{
	struct job job = {.work = work};
	pthread_t threads[CREW_MAX - 1];
	unsigned started;
	int cancel;

	/* To join is where a thread is cancelled, and the others would go on in its stack. */
	pthread_setcancelstate(mutant(crew_cancelled) ? PTHREAD_CANCEL_ENABLE
						      : PTHREAD_CANCEL_DISABLE,
			       &cancel);
	started = members_start(&job, threads, members - 1);
	take_part(&job);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_setcancelstate(cancel, NULL);
}

unsigned crew_members(void)
{
	cpu_set_t allowed;

	/* (More processors than such a set has: an error.) */
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return 1;
	return (unsigned)u64_min(CREW_MAX, (uint64_t)CPU_COUNT(&allowed));
}

/* ---- does it pay? ---- */

static int score_of(uint32_t word)
{
	return (int8_t)(word & 255);
}

static uint32_t word_of(uint32_t turn, int score)
{
	return turn << 8 | (uint8_t)score;
}

enum crew_plan crew_plan(uint32_t *word)
{
	uint32_t turn = *word >> 8;
	int score = score_of(*word);

	*word = word_of(turn + 1, score);
	if (abs(score) < CREW_SURE ||
	    (turn % CREW_AGAIN == 0 && !mutant(crew_verdict_for_ever)))
		return CREW_TRIAL;
	return score > 0 ? CREW_TOGETHER : CREW_ALONE;
}

void crew_vote(uint32_t *word, uint64_t alone_ns, uint64_t together_ns)
{
	bool pays = together_ns * PAYS_ALONE <= alone_ns * PAYS_TOGETHER;
	int score = score_of(*word);

	if (pays && score < CREW_SCORE_MAX)
		score++;
	else if (!pays && score > -CREW_SCORE_MAX)
		score--;
	*word = word_of(*word >> 8, score);
}

/* A quarter alone, a half together, a quarter alone: what changes meanwhile meets both. */
static void trial(const struct crew_work *work, unsigned members, _Atomic uint32_t *of)
{
	size_t quarter = work->size / 4, half = 2 * quarter;
	uint64_t start_ns = clock_ns(), first_ns, second_ns, end_ns;
	struct crew_work middle = {work->to + quarter, NULL, half};
	uint32_t word;

	if (work->from)
		middle.from = work->from + quarter;
	alone(work, 0, quarter);
	first_ns = clock_ns();
	crew_run(&middle, members);
	second_ns = clock_ns();
	alone(work, quarter + half, work->size - quarter - half);
	end_ns = clock_ns();

	word = atomic_load_explicit(of, memory_order_relaxed);
	crew_vote(&word, first_ns - start_ns + end_ns - second_ns, second_ns - first_ns);
	atomic_store_explicit(of, word, memory_order_relaxed);
}

void crew_do(const struct crew_work *work)
{
	static _Atomic uint32_t words[2];
	_Atomic uint32_t *of = &words[work->from ? 1 : 0];
	unsigned members = work->size < CREW_LEAST ? 1 : crew_members();
	enum crew_plan plan = CREW_ALONE;
	uint32_t word;

	if (members > 1) {
		word = atomic_load_explicit(of, memory_order_relaxed);
		plan = crew_plan(&word);
		atomic_store_explicit(of, word, memory_order_relaxed);
	}
	switch (plan) {
	case CREW_ALONE:
		alone(work, 0, work->size);
		break;
	case CREW_TOGETHER:
		crew_run(work, members);
		break;
	case CREW_TRIAL:
		trial(work, members, of);
		break;
	}
}
