/*
 * Unfenced - were the streaming stores of a call fenced when it returned? By single steps: whoever
 * looks at memory alone needs luck to see that they were not.
 */
#pragma once

#include "tests/sanitized.h"

/* TSan delivers signals when it likes. */
#if defined(__x86_64__) && !UNDER_TSAN
#define UNFENCED_SEEN 1
#else
#define UNFENCED_SEEN 0
#endif

#if UNFENCED_SEEN
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

enum { UNFENCED_TRAP_FLAG = 0x100 };

static volatile sig_atomic_t unfenced_streamed, unfenced_now;

/* The instruction to come, as far as it matters here: MOVNTDQ, MOVNTPS, MOVNTPD, MOVNTI. */
static inline bool unfenced_is_streaming(const unsigned char *code)
{
	if (code[0] == 0xc5)
		return (code[1] & 3) < 2 && (code[2] == 0xe7 || code[2] == 0x2b);
	if (code[0] == 0xc4 && (code[1] & 31) == 1)
		return code[3] == 0xe7 || code[3] == 0x2b;
	if (code[0] == 0x62 && (code[1] & 7) == 1)
		return code[4] == 0xe7 || code[4] == 0x2b;
	code += code[0] == 0x66;
	code += (code[0] & 0xf0) == 0x40;
	return code[0] == 0x0f && (code[1] == 0xe7 || code[1] == 0x2b || code[1] == 0xc3);
}

static inline void unfenced_step(int number, siginfo_t *info, void *context)
{
	const ucontext_t *at = context;
	const unsigned char *code = (const void *)(uintptr_t)at->uc_mcontext.gregs[REG_RIP];

	if (unfenced_is_streaming(code)) {
		unfenced_streamed = unfenced_streamed + 1;
		unfenced_now = 1;
	} else if (code[0] == 0x0f && code[1] == 0xae && code[2] == 0xf8) {
		unfenced_now = 0;
	}
}

/*
 * From the one to the other each instruction is looked at before it runs. (Below the stack
 * pointer there may be something of the caller's.)
 */
static inline __attribute__((always_inline)) void unfenced_begin(void)
{
	const struct sigaction action = {.sa_sigaction = unfenced_step, .sa_flags = SA_SIGINFO};

	sigaction(SIGTRAP, &action, NULL);
	unfenced_streamed = unfenced_now = 0;
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq %0, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::"i"(UNFENCED_TRAP_FLAG)
			 : "memory", "cc");
}

/* Were there any unfenced? And how many in all, added. */
static inline __attribute__((always_inline)) bool unfenced_end(unsigned *streamed)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq %0, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::"i"(~UNFENCED_TRAP_FLAG)
			 : "memory", "cc");
	signal(SIGTRAP, SIG_DFL);
	*streamed += (unsigned)unfenced_streamed;
	return unfenced_now;
}
#endif
