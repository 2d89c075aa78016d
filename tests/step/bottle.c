#include "tests/step/bottle.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

enum { RED_ZONE = 128, PATIENCE = 10 /* seconds */ };

/* Where functions return to, and a system call to lend. */
extern const char bottle_end[], bottle_call[];
__asm__(".text\n"
	"bottle_end: int3\n"
	"bottle_call: syscall\n"
	"int3\n");

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bottle: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t stack_top(const struct bottle *bottle)
{
	return (uint64_t)(uintptr_t)bottle->memory + BOTTLE_PRIVATE + BOTTLE_STACK;
}

static void registers_get(struct bottle *bottle, struct user_regs_struct *ret)
{
	check(!ptrace(PTRACE_GETREGS, bottle->pid, NULL, ret), "PTRACE_GETREGS");
}

static void registers_set(struct bottle *bottle, const struct user_regs_struct *registers)
{
	check(!ptrace(PTRACE_SETREGS, bottle->pid, NULL, registers), "PTRACE_SETREGS");
}

static uint64_t rip(struct bottle *bottle)
{
	errno = 0;
	return (uint64_t)ptrace(PTRACE_PEEKUSER, bottle->pid,
				offsetof(struct user_regs_struct, rip), NULL);
}

/* The signal it has stopped by; 0 if it has not within the patience. */
static int wait_stop(struct bottle *bottle)
{
	int status;
	pid_t r = waitpid(bottle->pid, &status, 0);

	if (r < 0 && errno == EINTR)
		return 0;
	check(r == bottle->pid, "waitpid");
	errno = 0;
	check(WIFSTOPPED(status), "it has ended");
	return WSTOPSIG(status);
}

static void alarmed(int signal)
{
}

/* The signal it stops by, which it does at once. */
static int wait_sure(struct bottle *bottle)
{
	int signal;

	do
		signal = wait_stop(bottle);
	while (!signal);
	return signal;
}

static unsigned n_open;

/* While there are bottles it goes off now and then, so that no wait is for ever. */
static void timer_set(time_t seconds)
{
	struct sigaction action = {.sa_handler = alarmed}; /* no SA_RESTART */
	struct itimerval timer = {.it_value.tv_sec = seconds, .it_interval.tv_sec = seconds};

	check(!sigaction(SIGALRM, &action, NULL), "sigaction");
	check(!setitimer(ITIMER_REAL, &timer, NULL), "setitimer");
}

void bottle_open(struct bottle *bottle)
{
	bottle->memory = mmap(NULL, BOTTLE_PRIVATE + BOTTLE_STACK, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(bottle->memory != MAP_FAILED, "mmap");
	if (!n_open++)
		timer_set(PATIENCE);
	fflush(NULL);
	bottle->pid = fork();
	check(bottle->pid >= 0, "fork");
	if (!bottle->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(EXIT_FAILURE);
	}
	check(wait_sure(bottle) == SIGSTOP, "PTRACE_TRACEME");
}

void bottle_close(struct bottle *bottle)
{
	int status;

	pid_t r;

	kill(bottle->pid, SIGKILL);
	do
		r = waitpid(bottle->pid, &status, 0);
	while (r < 0 && errno == EINTR);
	check(r == bottle->pid && WIFSIGNALED(status), "SIGKILL");
	munmap(bottle->memory, BOTTLE_PRIVATE + BOTTLE_STACK);
	*bottle = (struct bottle){};
	if (!--n_open)
		timer_set(0);
}

void bottle_start(struct bottle *bottle, bottle_f *f)
{
	struct user_regs_struct registers;
	uint64_t *top = (uint64_t *)(void *)(uintptr_t)(stack_top(bottle) - 16);

	registers_get(bottle, &registers);
	top[-1] = (uint64_t)(uintptr_t)bottle_end;
	registers.rsp = (uint64_t)(uintptr_t)&top[-1];
	registers.rdi = (uint64_t)(uintptr_t)bottle->memory;
	registers.rip = (uint64_t)(uintptr_t)f;
	registers.orig_rax = UINT64_MAX;      /* no system call to begin again */
	registers.eflags &= ~(uint64_t)0x500; /* trap, direction */
	registers_set(bottle, &registers);
}

static enum bottle_is stopped(struct bottle *bottle, int signal)
{
	siginfo_t info;

	if (signal == SIGTRAP)
		return BOTTLE_RUNS;
	if (signal != SIGSEGV)
		return BOTTLE_CRASHED;
	check(!ptrace(PTRACE_GETSIGINFO, bottle->pid, NULL, &info), "PTRACE_GETSIGINFO");
	bottle->fault = info.si_addr;
	return BOTTLE_FAULTS;
}

#ifdef VARBOS_MUTANTS
/* Asking which defect there is, is no part of what is stepped: done here, in no instructions. */
static void mutant_answer(struct bottle *bottle)
{
	struct user_regs_struct registers;
	uint64_t *stack;

	if (rip(bottle) != (uint64_t)(uintptr_t)mutant_is)
		return;
	registers_get(bottle, &registers);
	stack = (uint64_t *)(void *)(uintptr_t)registers.rsp;
	registers.rax = mutant_is((const char *)(uintptr_t)registers.rdi);
	registers.rip = stack[0];
	registers.rsp += 8;
	registers_set(bottle, &registers);
}
#else
static void mutant_answer(struct bottle *bottle)
{
}
#endif

enum bottle_is bottle_step(struct bottle *bottle)
{
	enum bottle_is is;

	mutant_answer(bottle);
	check(!ptrace(PTRACE_SINGLESTEP, bottle->pid, NULL, NULL), "PTRACE_SINGLESTEP");
	is = stopped(bottle, wait_sure(bottle));
	if (is == BOTTLE_RUNS && rip(bottle) == (uint64_t)(uintptr_t)bottle_end)
		return BOTTLE_ENDED;
	return is;
}

enum bottle_is bottle_finish(struct bottle *bottle)
{
	enum bottle_is is;
	int signal;

	if (rip(bottle) == (uint64_t)(uintptr_t)bottle_end)
		return BOTTLE_ENDED;
	check(!ptrace(PTRACE_CONT, bottle->pid, NULL, NULL), "PTRACE_CONT");
	/* The first time it went off may have been as soon as this began. */
	signal = wait_stop(bottle);
	if (!signal)
		signal = wait_stop(bottle);
	if (!signal) {
		kill(bottle->pid, SIGSTOP);
		wait_sure(bottle);
		return BOTTLE_HANGS;
	}
	is = stopped(bottle, signal);
	if (is != BOTTLE_RUNS)
		return is;
	return rip(bottle) == (uint64_t)(uintptr_t)bottle_end + 1 ? BOTTLE_ENDED
								  : BOTTLE_CRASHED;
}

void bottle_save(struct bottle *bottle, struct bottle_state *ret)
{
	struct iovec vector = {.iov_base = ret->xstate, .iov_len = sizeof(ret->xstate)};
	uint64_t from;

	registers_get(bottle, &ret->registers);
	check(!ptrace(PTRACE_GETREGSET, bottle->pid, (void *)NT_X86_XSTATE, &vector),
	      "PTRACE_GETREGSET");
	ret->xstate_size = vector.iov_len;
	memcpy(ret->private, bottle->memory, BOTTLE_PRIVATE);
	from = ret->registers.rsp - RED_ZONE;
	check(from >= stack_top(bottle) - BOTTLE_STACK && from < stack_top(bottle), "stack");
	ret->stack_used = stack_top(bottle) - from;
	memcpy(ret->stack, (void *)(uintptr_t)from, ret->stack_used);
}

void bottle_restore(struct bottle *bottle, const struct bottle_state *state)
{
	struct iovec vector = {.iov_base = (void *)(uintptr_t)state->xstate,
			       .iov_len = state->xstate_size};
	struct user_regs_struct registers = state->registers;

	registers.orig_rax = UINT64_MAX;
	registers_set(bottle, &registers);
	check(!ptrace(PTRACE_SETREGSET, bottle->pid, (void *)NT_X86_XSTATE, &vector),
	      "PTRACE_SETREGSET");
	memcpy(bottle->memory, state->private, BOTTLE_PRIVATE);
	memcpy((void *)(uintptr_t)(stack_top(bottle) - state->stack_used), state->stack,
	       state->stack_used);
}

void bottle_protect(struct bottle *bottle, void *memory, size_t size, int protection)
{
	struct user_regs_struct saved, registers;

	registers_get(bottle, &saved);
	registers = saved;
	registers.rax = SYS_mprotect;
	registers.rdi = (uint64_t)(uintptr_t)memory;
	registers.rsi = size;
	registers.rdx = (uint64_t)protection;
	registers.rip = (uint64_t)(uintptr_t)bottle_call;
	registers.orig_rax = UINT64_MAX;
	registers_set(bottle, &registers);
	check(!ptrace(PTRACE_CONT, bottle->pid, NULL, NULL), "PTRACE_CONT");
	check(wait_sure(bottle) == SIGTRAP, "a lent system call");
	registers_get(bottle, &registers);
	errno = (int)-(int64_t)registers.rax;
	check(!registers.rax, "mprotect");
	saved.orig_rax = UINT64_MAX;
	registers_set(bottle, &saved);
}
