#include "tests/integration/other.h"

#include <check.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

void other_start(struct other *other, const char *socket, const char *space, uint32_t flags,
		 void (*run)(struct other *other))
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*other = (struct other){.fd = pair[0]};
	fflush(NULL);
	other->pid = fork();
	ck_assert_int_ge(other->pid, 0);
	if (other->pid) {
		close(pair[1]);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pair[0]);
	other->fd = pair[1];
	OTHER_EXPECT(!varbos_connect(&other->vb, socket));
	OTHER_EXPECT(!varbos_space_open(&other->space, other->vb, space,
					&(struct varbos_space_options){.flags = flags}));
	run(other);
	_exit(0);
}

void other_say(const struct other *other, uint64_t word)
{
	if (send(other->fd, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word))
		return;
	if (!other->pid)
		_exit(1);
	ck_abort_msg("the other process does not listen");
}

uint64_t other_hear(const struct other *other)
{
	uint64_t word;

	if (recv(other->fd, &word, sizeof(word), 0) == sizeof(word))
		return word;
	if (!other->pid)
		_exit(1);
	ck_abort_msg("the other process has ended");
}

void other_end(struct other *other)
{
	int status;

	ck_assert_int_eq(waitpid(other->pid, &status, 0), other->pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
	close(other->fd);
}

void other_kill(struct other *other)
{
	ck_assert_int_eq(kill(other->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(other->pid, NULL, 0), other->pid);
	close(other->fd);
}
