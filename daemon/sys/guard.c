#include "daemon/sys/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "base/base.h"

/*
 * The copy and the compare-and-swap, written out so that their first and last instructions are
 * known. They use no stack, so a fixup only has to return. 0, or -EFAULT (-14).
 */
int guard_copy_raw(void *dst, const void *src, size_t size);
int guard_cas32_raw(_Atomic uint32_t *at, uint32_t expected, uint32_t desired,
		    uint32_t *ret_seen);
/* Whole lines of 64 bytes to where such a line begins, past the caches, unfenced. */
int guard_stream_raw(void *dst, const void *src, size_t size);
extern const char guard_stream_begin[], guard_stream_end[];
extern const char guard_copy_begin[], guard_copy_end[], guard_copy_fixup[];
extern const char guard_cas_begin[], guard_cas_end[], guard_cas_fixup[];

#if defined(__x86_64__)
/* Not `rep movsb`, which is thirty times as slow at some addresses (base/copy.c). */
__asm__(".pushsection .text\n"
	".p2align 4\n"
	".globl guard_copy_raw\n"
	".hidden guard_copy_raw, guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".globl guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".type guard_copy_raw, @function\n"
	"guard_copy_raw:\n"
	"	endbr64\n"
	"guard_copy_begin:\n"
	"	subq $64, %rdx\n"
	"	jb 2f\n"
	"1:	movdqu (%rsi), %xmm0\n"
	"	movdqu 16(%rsi), %xmm1\n"
	"	movdqu 32(%rsi), %xmm2\n"
	"	movdqu 48(%rsi), %xmm3\n"
	"	movdqu %xmm0, (%rdi)\n"
	"	movdqu %xmm1, 16(%rdi)\n"
	"	movdqu %xmm2, 32(%rdi)\n"
	"	movdqu %xmm3, 48(%rdi)\n"
	"	addq $64, %rsi\n"
	"	addq $64, %rdi\n"
	"	subq $64, %rdx\n"
	"	jae 1b\n"
	"2:	addq $56, %rdx\n" /* of what is left, less 8 */
	"	js 4f\n"
	"3:	movq (%rsi), %rax\n"
	"	movq %rax, (%rdi)\n"
	"	addq $8, %rsi\n"
	"	addq $8, %rdi\n"
	"	subq $8, %rdx\n"
	"	jns 3b\n"
	"4:	addq $8, %rdx\n"
	"	jz 6f\n"
	"5:	movb (%rsi), %al\n"
	"	movb %al, (%rdi)\n"
	"	incq %rsi\n"
	"	incq %rdi\n"
	"	decq %rdx\n"
	"	jnz 5b\n"
	"guard_copy_end:\n"
	"6:\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"guard_copy_fixup:\n"
	"	movl $-14, %eax\n"
	"	ret\n"
	".size guard_copy_raw, . - guard_copy_raw\n"
	".p2align 4\n"
	".globl guard_stream_raw\n"
	".hidden guard_stream_raw, guard_stream_begin, guard_stream_end\n"
	".globl guard_stream_begin, guard_stream_end\n"
	".type guard_stream_raw, @function\n"
	"guard_stream_raw:\n"
	"	endbr64\n"
	"guard_stream_begin:\n"
	"1:	movdqu (%rsi), %xmm0\n"
	"	movdqu 16(%rsi), %xmm1\n"
	"	movdqu 32(%rsi), %xmm2\n"
	"	movdqu 48(%rsi), %xmm3\n"
	"	prefetchnta 2048(%rsi)\n"
	"	movntdq %xmm0, (%rdi)\n"
	"	movntdq %xmm1, 16(%rdi)\n"
	"	movntdq %xmm2, 32(%rdi)\n"
	"	movntdq %xmm3, 48(%rdi)\n"
	"	addq $64, %rsi\n"
	"	addq $64, %rdi\n"
	"	subq $64, %rdx\n"
	"	jnz 1b\n"
	"guard_stream_end:\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	".size guard_stream_raw, . - guard_stream_raw\n"
	".p2align 4\n"
	".globl guard_cas32_raw\n"
	".hidden guard_cas32_raw, guard_cas_begin, guard_cas_end, guard_cas_fixup\n"
	".globl guard_cas_begin, guard_cas_end, guard_cas_fixup\n"
	".type guard_cas32_raw, @function\n"
	"guard_cas32_raw:\n"
	"	endbr64\n"
	"	movl %esi, %eax\n"
	"guard_cas_begin:\n"
	"	lock cmpxchgl %edx, (%rdi)\n"
	"guard_cas_end:\n"
	"	movl %eax, (%rcx)\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"guard_cas_fixup:\n"
	"	movl $-14, %eax\n"
	"	ret\n"
	".size guard_cas32_raw, . - guard_cas32_raw\n"
	".popsection\n");

enum { STREAMS = 1 };

/* What was streamed may be overtaken by the store that says that it is there. */
static void fence(void)
{
	if (!mutant(guard_fence_skipped))
		__asm__ volatile("sfence" ::: "memory");
}

static uintptr_t place_get(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

static void place_set(ucontext_t *context, uintptr_t place)
{
	context->uc_mcontext.gregs[REG_RIP] = (greg_t)place;
}
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".p2align 4\n"
	".globl guard_copy_raw\n"
	".hidden guard_copy_raw, guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".globl guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".type guard_copy_raw, %function\n"
	"guard_copy_raw:\n"
	"	hint #34\n" /* bti c */
	"guard_copy_begin:\n"
	"1:	subs x2, x2, #16\n"
	"	b.lo 2f\n"
	"	ldp x3, x4, [x1], #16\n"
	"	stp x3, x4, [x0], #16\n"
	"	b 1b\n"
	"2:	add x2, x2, #16\n"
	"	tbz x2, #3, 3f\n"
	"	ldr x3, [x1], #8\n"
	"	str x3, [x0], #8\n"
	"	sub x2, x2, #8\n"
	"3:	cbz x2, 4f\n"
	"	ldrb w3, [x1], #1\n"
	"	strb w3, [x0], #1\n"
	"	sub x2, x2, #1\n"
	"	b 3b\n"
	"guard_copy_end:\n"
	"4:	mov w0, #0\n"
	"	ret\n"
	"guard_copy_fixup:\n"
	"	mov w0, #-14\n"
	"	ret\n"
	".size guard_copy_raw, . - guard_copy_raw\n"
	".p2align 4\n"
	".globl guard_cas32_raw\n"
	".hidden guard_cas32_raw, guard_cas_begin, guard_cas_end, guard_cas_fixup\n"
	".globl guard_cas_begin, guard_cas_end, guard_cas_fixup\n"
	".type guard_cas32_raw, %function\n"
	"guard_cas32_raw:\n"
	"	hint #34\n" /* bti c */
	"guard_cas_begin:\n"
	"1:	ldaxr w4, [x0]\n"
	"	cmp w4, w1\n"
	"	b.ne 2f\n"
	"	stlxr w5, w2, [x0]\n"
	"	cbnz w5, 1b\n"
	"2:	dmb ish\n"
	"guard_cas_end:\n"
	"	str w4, [x3]\n"
	"	mov w0, #0\n"
	"	ret\n"
	"guard_cas_fixup:\n"
	"	mov w0, #-14\n"
	"	ret\n"
	".size guard_cas32_raw, . - guard_cas32_raw\n"
	".popsection\n");

/* Its stores through the caches do without. */
enum { STREAMS = 0 };
const char guard_stream_begin[1], guard_stream_end[1];

int guard_stream_raw(void *dst, const void *src, size_t size)
{
	return guard_copy_raw(dst, src, size);
}

static void fence(void)
{
}

static uintptr_t place_get(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.pc;
}

static void place_set(ucontext_t *context, uintptr_t place)
{
	context->uc_mcontext.pc = place;
}
#else
#error "write guard_copy_raw and guard_cas32_raw for this processor"
#endif

enum {
	LINE = 64,
	STREAMED_LEAST = 16 << 10, /* with less, to fill lines costs more than it gains */
};

static struct sigaction previous;

struct range {
	const char *begin, *end, *fixup;
};

static const struct range copy_range = {guard_copy_begin, guard_copy_end, guard_copy_fixup};
static const struct range stream_range = {guard_stream_begin, guard_stream_end,
					  guard_copy_fixup};
static const struct range cas_range = {guard_cas_begin, guard_cas_end, guard_cas_fixup};

static bool is_inside(const struct range *range, uintptr_t place)
{
	return place >= (uintptr_t)range->begin && place < (uintptr_t)range->end;
}

/* NULL: outside of all. */
static const struct range *range_of(uintptr_t place)
{
	if (is_inside(&cas_range, place) && !mutant(sys_guard_copy_only))
		return &cas_range;
	if (is_inside(&stream_range, place))
		return &stream_range;
	if (is_inside(&copy_range, place) || mutant(sys_guard_everywhere))
		return &copy_range;
	return NULL;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	const struct range *range = info->si_code > 0 ? range_of(place_get(context)) : NULL;

	if (range) {
		place_set(context, mutant(sys_guard_silent) ? (uintptr_t)range->end
							    : (uintptr_t)range->fixup);
		return;
	}

	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	} else {
		/* Dies of it when this returns, where it happened. */
		signal(number, SIG_DFL);
		raise(number);
	}
}

static int install_result;

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK};

	/* First what was there, so that no fault can find `previous` empty. */
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &previous) < 0 || sigaction(SIGBUS, &action, NULL) < 0)
		install_result = -errno;
}

int guard_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return install_result;
}

int guard_copy(void *dst, const void *src, size_t size)
{
	return guard_copy_raw(dst, src, size);
}

int guard_copy_streamed(void *dst, const void *src, size_t size)
{
	char *to = dst;
	const char *from = src;
	size_t skip, lines;
	int r;

	if (!STREAMS || size < STREAMED_LEAST)
		return guard_copy_raw(dst, src, size);
	skip = -(uintptr_t)to & (LINE - 1);
	lines = (size - skip) & ~(size_t)(LINE - 1);
	r = guard_copy_raw(to, from, skip);
	if (!r)
		r = guard_stream_raw(to + skip, from + skip, lines);
	/* Also when it failed: the memory may be another's next, who stores there. */
	fence();
	if (!r)
		r = guard_copy_raw(to + skip + lines, from + skip + lines, size - skip - lines);
	return r;
}

int guard_cas32(_Atomic uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *ret_seen)
{
	return guard_cas32_raw(at, expected, desired, ret_seen);
}
