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
extern const char guard_copy_begin[], guard_copy_end[], guard_copy_fixup[];
extern const char guard_cas_begin[], guard_cas_end[], guard_cas_fixup[];

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".p2align 4\n"
	".globl guard_copy_raw\n"
	".hidden guard_copy_raw, guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".globl guard_copy_begin, guard_copy_end, guard_copy_fixup\n"
	".type guard_copy_raw, @function\n"
	"guard_copy_raw:\n"
	"	endbr64\n"
	"	movq %rdx, %rcx\n"
	"guard_copy_begin:\n"
	"	rep movsb\n"
	"guard_copy_end:\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"guard_copy_fixup:\n"
	"	movl $-14, %eax\n"
	"	ret\n"
	".size guard_copy_raw, . - guard_copy_raw\n"
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
	"2:	adds x2, x2, #16\n"
	"	b.eq 4f\n"
	"3:	ldrb w3, [x1], #1\n"
	"	strb w3, [x0], #1\n"
	"	subs x2, x2, #1\n"
	"	b.ne 3b\n"
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

static struct sigaction previous;

struct range {
	const char *begin, *end, *fixup;
};

static const struct range copy_range = {guard_copy_begin, guard_copy_end, guard_copy_fixup};
static const struct range cas_range = {guard_cas_begin, guard_cas_end, guard_cas_fixup};

static bool is_inside(const struct range *range, uintptr_t place)
{
	return place >= (uintptr_t)range->begin && place < (uintptr_t)range->end;
}

/* NULL: outside of both. */
static const struct range *range_of(uintptr_t place)
{
	if (is_inside(&cas_range, place) && !mutant(sys_guard_copy_only))
		return &cas_range;
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

int guard_cas32(_Atomic uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *ret_seen)
{
	return guard_cas32_raw(at, expected, desired, ret_seen);
}
