#include "bench/hands.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/clock.h"

static struct {
	pid_t pid;
	int fd;
} hands[HANDS_MAX];
static unsigned n_hands;

/* Forked, they have the same code at the same address. */
typedef void (*work_function)(void);

static _Noreturn void serve(int fd)
{
	work_function work;

	while (read(fd, &work, sizeof(work)) == sizeof(work)) {
		work();
		if (write(fd, "x", 1) != 1)
			break;
	}
	_exit(EXIT_SUCCESS);
}

/* On the contender's processors, and then on any of the others that there are. */
static void settle(const struct contender *contender, unsigned hand)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpu != contender->cpus[0] && cpu != contender->cpus[1])
			CPU_SET(cpu, &set);
	if (hand < CONTENDER_CPUS || sched_setaffinity(0, sizeof(set), &set))
		contender_pin(contender->cpus[hand % CONTENDER_CPUS]);
}

static void hand_start(const struct contender *contender, unsigned hand,
		       void (*ready)(const struct contender *contender, unsigned hand))
{
	int pair[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		contender_die("socketpair: %s", strerror(errno));
	hands[hand].fd = pair[0];
	hands[hand].pid = fork();
	if (hands[hand].pid < 0)
		contender_die("fork: %s", strerror(errno));
	if (!hands[hand].pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 1; i <= hand; i++)
			close(hands[i].fd);
		settle(contender, hand);
		ready(contender, hand);
		if (write(pair[1], "x", 1) != 1)
			_exit(EXIT_FAILURE);
		serve(pair[1]);
	}
	close(pair[1]);
	if (read(pair[0], &byte, 1) != 1)
		contender_die("a process ended before it was ready");
}

void hands_start(const struct contender *contender, unsigned n,
		 void (*ready)(const struct contender *contender, unsigned hand))
{
	assert(n && n <= HANDS_MAX);
	n_hands = n;
	for (unsigned hand = 1; hand < n; hand++)
		hand_start(contender, hand, ready);
}

void hands_stop(void)
{
	for (unsigned hand = 1; hand < n_hands; hand++) {
		kill(hands[hand].pid, SIGKILL);
		waitpid(hands[hand].pid, NULL, 0);
		close(hands[hand].fd);
	}
	n_hands = 0;
}

uint64_t hands_do(void (*work)(void))
{
	uint64_t start_ns = now_ns();
	char byte;

	for (unsigned hand = 1; hand < n_hands; hand++)
		if (write(hands[hand].fd, &work, sizeof(work)) != sizeof(work))
			contender_die("a process is gone");
	work();
	for (unsigned hand = 1; hand < n_hands; hand++)
		if (read(hands[hand].fd, &byte, 1) != 1)
			contender_die("a process is gone");
	return now_ns() - start_ns;
}
