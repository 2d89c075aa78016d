#include "tests/integration/person.h"

#include <check.h>
#include <grp.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/attempts.h"
#include "tests/integration/peer.h"

/* What libcheck has noted of an assertion that failed there: text, among numbers. */
static void tell(const struct other_person *person)
{
	char byte, line[512];
	size_t n = 0;

	for (off_t at = 0; pread(person->notes, &byte, 1, at) == 1; at++) {
		bool is_text = byte >= ' ' && byte <= '~' && n < sizeof(line) - 1;

		if (is_text)
			line[n++] = byte;
		if (!is_text && n > 3 && memcmp(line + n - 2, ".c", 2)) /* where: marks.c */
			fprintf(stderr, "%.*s\n", (int)n, line);
		n = is_text ? n : 0;
	}
	if (n)
		fprintf(stderr, "%.*s\n", (int)n, line);
}

void person_start(struct other_person *person, const struct person *who,
		  void (*live)(struct other_person *person))
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	person->notes = memfd_create("notes", MFD_CLOEXEC);
	person->pid = fork();
	ck_assert_int_ge(person->pid, 0);
	if (person->pid) {
		close(pair[1]);
		person->fd = pair[0];
		return;
	}
	close(pair[0]);
	person->fd = pair[1];
	peer_leave_check_to(person->notes);
	if (setgroups(who->n_groups, who->groups) || setresgid(who->gid, who->gid, who->gid) ||
	    setresuid(who->uid, who->uid, who->uid) || attempts_prepare() ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	live(person);
	_exit(0);
}

void person_say(const struct other_person *person, uint64_t word)
{
	ck_assert_int_eq(send(person->fd, &word, sizeof(word), MSG_NOSIGNAL), sizeof(word));
}

uint64_t person_hear(const struct other_person *person)
{
	uint64_t word;

	if (recv(person->fd, &word, sizeof(word), 0) == sizeof(word))
		return word;
	if (person->pid)
		tell(person);
	ck_abort_msg("the other process has ended");
}

void person_end(struct other_person *person)
{
	int status;

	close(person->fd);
	ck_assert_int_eq(waitpid(person->pid, &status, 0), person->pid);
	if (status)
		tell(person);
	close(person->notes);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
}
