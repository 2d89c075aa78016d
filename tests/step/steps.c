#include "tests/step/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/base.h"

enum { STEPS_MAX = 50 * 1000 * 1000 };

/* What outlives the one who acts, beside the memory. */
struct place {
	volatile uint32_t act; /* those before it are acknowledged */
};

static const struct steps *with;
static struct place *place;
static void *memory, *left; /* left: by one who has died, for the next */
static char *seen, *seen_left, *begun;
static bool again;
static struct facts *after; /* n_acts + 1: as of the acts before it; shared */
static uint32_t at;         /* the act that is looked at */
static char complaint[512];
static uint64_t n_points, n_states, n_again;

/* ---- facts ---- */

void fact(struct facts *facts, const char *format, ...)
{
	va_list args;

	if (facts->n == FACTS_MAX)
		steps_give_up("too many facts", FACTS_MAX);
	va_start(args, format);
	vsnprintf(facts->text[facts->n++], FACT_TEXT, format, args);
	va_end(args);
}

const char *fact_find(const struct facts *facts, const char *begins)
{
	size_t length = strlen(begins);

	for (uint32_t i = 0; i < facts->n; ++i)
		if (!strncmp(facts->text[i], begins, length))
			return facts->text[i];
	return NULL;
}

static bool knows(const struct facts *facts, const char *text)
{
	for (uint32_t i = 0; i < facts->n; ++i)
		if (!strcmp(facts->text[i], text))
			return true;
	return false;
}

/* ---- the one who acts ---- */

_Noreturn void steps_give_up(const char *what, int r)
{
	fprintf(stderr, "%s: %d\n", what, r);
	_exit(EXIT_FAILURE);
}

static void begin(void)
{
	memset(memory, 0, with->size);
	with->begin(memory);
}

/* Stops himself in front of act `from`. */
static _Noreturn void live(uint32_t from)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin();
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	for (uint32_t i = 0; i < with->n_acts; ++i) {
		if (i == from)
			raise(SIGSTOP);
		with->acts[i].run();
		place->act = i + 1;
	}
	_exit(EXIT_SUCCESS);
}

/*
 * What each act comes to, by one that nobody interrupts: a process of its own, for who has asked once
 * whether there is a defect does not ask again.
 */
static bool rehearse(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		begin();
		with->tell(&after[0]);
		for (uint32_t i = 0; i < with->n_acts; ++i) {
			with->acts[i].run();
			with->tell(&after[i + 1]);
		}
		_exit(EXIT_SUCCESS);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

/* ---- the one who looks ---- */

bool steps_wrong(const char *format, ...)
{
	va_list args;
	int n = snprintf(complaint, sizeof(complaint), "%s, point %" PRIu64 ": ",
			 at < with->n_acts ? with->acts[at].name : "the end", n_points);

	va_start(args, format);
	vsnprintf(complaint + n, sizeof(complaint) - (size_t)n, format, args);
	va_end(args);
	return false;
}

const void *steps_begun(void)
{
	return begun;
}

bool steps_again(void)
{
	return again;
}

const struct facts *steps_was(void)
{
	return &after[at];
}

const struct facts *steps_will(void)
{
	return &after[at < with->n_acts ? at + 1 : at];
}

bool steps_acknowledged(const struct facts *now)
{
	const struct facts *was = steps_was(), *will = steps_will();

	for (uint32_t i = 0; i < was->n; ++i)
		if (knows(will, was->text[i]) && !knows(now, was->text[i]))
			return steps_wrong("lost: %s", was->text[i]);
	for (uint32_t i = 0; i < now->n; ++i)
		if (!knows(was, now->text[i]) && !knows(will, now->text[i]))
			return steps_wrong("neither before nor after: %s", now->text[i]);
	return true;
}

static bool go_on(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid ||
	    !WIFSTOPPED(status))
		return steps_wrong("it ended early");
	if (WSTOPSIG(status) != SIGTRAP)
		return steps_wrong("it stopped by signal %d", WSTOPSIG(status));
	++n_points;
	return true;
}

/* ---- who comes next, and dies, too ---- */

/*
 * What he is left is read-only: each instruction that stores there faults, is let do so alone, and traps
 * behind it, where he is looked at. In between nothing changes.
 */
enum { TRAP_FLAG = 0x100 };

static void may_store(bool may, void *context, greg_t flag)
{
	ucontext_t *of = context;

	mprotect(left, with->size, may ? PROT_READ | PROT_WRITE : PROT_READ);
	of->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	of->uc_mcontext.gregs[REG_EFL] |= flag;
}

static void faulted(int number, siginfo_t *info, void *context)
{
	uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)left;

	if (offset >= with->size)
		signal(number, SIG_DFL);
	else
		may_store(true, context, TRAP_FLAG);
}

static void stored(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	may_store(false, context, 0);
}

static pid_t heir(void)
{
	const struct sigaction on_fault = {.sa_sigaction = faulted, .sa_flags = SA_SIGINFO};
	const struct sigaction on_trap = {.sa_sigaction = stored, .sa_flags = SA_SIGINFO};
	pid_t pid;

	memcpy(left, memory, with->size);
	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	sigaction(SIGSEGV, &on_fault, NULL);
	sigaction(SIGTRAP, &on_trap, NULL);
	mprotect(left, with->size, PROT_READ);
	with->recover(left);
	_exit(EXIT_SUCCESS);
}

/* After each store that the next one makes. */
static bool step_again(void)
{
	bool good = true;
	int status = 0;
	pid_t pid = heir();

	again = true;
	memcpy(seen_left, memory, with->size);
	while (good && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGTRAP && memcmp(seen_left, left, with->size)) {
			memcpy(seen_left, left, with->size);
			good = with->look(left);
			++n_again;
		}
		ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status));
	}
	again = false;
	if (good)
		return (WIFEXITED(status) && !WEXITSTATUS(status)) ||
		       steps_wrong("it cannot be recovered from: status %#x", (unsigned)status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return false;
}

/* ---- acts, step by step ---- */

/* After every instruction of acts [from, to). */
static bool step(uint32_t from, uint32_t to)
{
	bool good = true;
	int status;
	pid_t pid;

	fflush(NULL);
	place->act = 0;
	pid = fork();
	if (pid < 0)
		return steps_wrong("fork: %s", strerror(errno));
	if (!pid)
		live(from);
	at = from;
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return steps_wrong("it did not come so far");
	memcpy(seen, memory, with->size);
	memcpy(begun, memory, with->size);
	for (uint64_t i = 0; good && i < STEPS_MAX && place->act < to; ++i) {
		good = go_on(pid);
		if (good && place->act != at) {
			at = place->act;
			memcpy(begun, memory, with->size);
		}
		if (!good || !memcmp(seen, memory, with->size))
			continue;
		memcpy(seen, memory, with->size);
		good = with->look(memory) && step_again();
		++n_states;
	}
	if (good && place->act < to)
		good = steps_wrong("it did not come to its end");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return good;
}

/* ---- defects ---- */

#ifdef VARBOS_MUTANTS
static const char *picked = "";

/* Weak: where all is built with defects, base has one. */
__attribute__((weak)) bool mutant_is(const char *name)
{
	return !strcmp(name, picked);
}

__attribute__((weak)) void mutant_moment(void)
{
}

/* Each in a process of its own, likewise. */
static int run_mutants(void)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < with->n_defects; ++i) {
		const struct step_defect *defect = &with->defects[i];
		uint32_t act = 0;
		int status;
		pid_t pid;

		while (strcmp(with->acts[act].name, defect->act))
			++act;
		fflush(NULL);
		pid = fork();
		if (!pid) {
			bool missed;

			picked = defect->name;
			setenv("VARBOS_MUTANT", picked, 1);
			missed = step(act, act + 1);
			printf(missed ? "MISSED: %s\n" : "caught: %s: %s\n", picked, complaint);
			fflush(stdout);
			_exit(missed ? EXIT_FAILURE : EXIT_SUCCESS);
		}
		waitpid(pid, &status, 0);
		n += WIFEXITED(status) && !WEXITSTATUS(status);
	}
	printf("%u of %u\n", n, with->n_defects);
	return n == with->n_defects ? EXIT_SUCCESS : EXIT_FAILURE;
}
#endif

/* What it prints; NULL: it did not start. */
static FILE *program_start(const char *program, pid_t *ret)
{
	int ends[2];

	fflush(stdout);
	if (pipe2(ends, O_CLOEXEC))
		return NULL;
	*ret = fork();
	if (!*ret) {
		dup2(ends[1], STDOUT_FILENO);
		execl(program, program, "--all", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	return fdopen(ends[0], "re");
}

/* The other program's last line. */
static bool mutants_caught(const char *program, unsigned *ret)
{
	int status = -1;
	unsigned all = 0;
	char line[1200];
	pid_t pid;
	FILE *said;

	said = program_start(program, &pid);
	if (!said)
		return false;
	while (fgets(line, sizeof(line), said))
		if (sscanf(line, "%u of %u", ret, &all) != 2)
			fputs(line, stdout);
	fclose(said);
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status && all && *ret == all;
}

static void *shared_memory(size_t size)
{
	void *mapped =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mapped == MAP_FAILED)
		steps_give_up("mmap", errno);
	return mapped;
}

int steps_main(const struct steps *steps, int argc, char **argv)
{
	unsigned n_caught = 0;
	bool good;

#ifdef VARBOS_MUTANTS
	if (getenv("VARBOS_MUTANT")) /* once asked for, it stays */
		picked = getenv("VARBOS_MUTANT");
#endif
	with = steps;
	place = shared_memory(sizeof(*place));
	memory = shared_memory(with->size);
	after = shared_memory((with->n_acts + 1) * sizeof(*after));
	begun = shared_memory(with->size);
	seen = shared_memory(with->size);
	left = shared_memory(with->size);
	seen_left = shared_memory(with->size);
	if (!rehearse())
		return EXIT_FAILURE;
#ifdef VARBOS_MUTANTS
	if (argc > 1 && !strcmp(argv[1], "--all"))
		return run_mutants();
#endif
	good = step(0, with->n_acts);
	if (!good)
		fprintf(stderr, "%s\n", complaint);
	else if (argc > 1 && !getenv("VARBOS_MUTANT"))
		good = mutants_caught(argv[1], &n_caught);
	printf("%" PRIu64 " points tried in %u acts, %" PRIu64 " states recovered, %" PRIu64
	       " of recovery, %u mutants caught\n",
	       n_points, with->n_acts, n_states, n_again, n_caught);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
