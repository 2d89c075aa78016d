#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/dice.h"
#include "bench/handover.h"

enum { SIZE_LEAST = 64, SIZE_MOST = 1087, BLOCKS = 19200 };

static uint64_t state = 1, sent;
static size_t batch;
static pid_t receiver;
static int done = -1; /* a message for each round that is received */

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(EXIT_FAILURE);
}

static void hear(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		contender_die("handover: the receiver is gone");
}

static _Noreturn void receive(const struct contender *contender, int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	contender_pin(contender->cpus[1]);
	hear(fd); /* the sender has made what there is to open */
	handover_receive_start(contender);
	say(fd);
	for (uint64_t received = 0;;) {
		received += handover_receive(batch, received);
		if (received % BLOCKS == 0)
			say(fd);
	}
}

static void start(const struct contender *contender)
{
	int pair[2];

	batch = contender->size;
	if (!batch || batch > HANDOVER_BATCH_MAX || BLOCKS % batch)
		contender_die("handover: %zu at a time?", batch);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		contender_die("socketpair: %s", strerror(errno));
	receiver = fork();
	if (receiver < 0)
		contender_die("fork: %s", strerror(errno));
	if (!receiver) {
		close(pair[0]);
		receive(contender, pair[1]);
	}
	close(pair[1]);
	done = pair[0];
	handover_send_start(contender);
	say(done);
	hear(done);
}

static void stop(void)
{
	kill(receiver, SIGKILL);
	waitpid(receiver, NULL, 0);
	handover_send_stop();
}

static uint64_t handover_round(void)
{
	uint32_t sizes[HANDOVER_BATCH_MAX];
	uint64_t start_ns = now_ns();

	for (uint64_t end = sent + BLOCKS; sent < end; sent += batch) {
		for (size_t i = 0; i < batch; i++)
			sizes[i] = SIZE_LEAST + dice_below(&state, SIZE_MOST - SIZE_LEAST + 1);
		handover_send(sizes, batch, sent);
	}
	hear(done);
	return (now_ns() - start_ns) * 1000 / BLOCKS;
}

static const struct contender_row rows[] = {
	{"handover", NULL, handover_round, 3},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), start, stop);
}
