#include "tests/integration/traced.h"

#include <check.h>
#include <signal.h>
#include <sys/wait.h>

bool traced_go_on(pid_t pid, enum __ptrace_request how)
{
	int status;

	ck_assert_int_eq(ptrace(how, pid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSTOPPED(status)) {
		ck_assert_msg(WSTOPSIG(status) == SIGTRAP, "signal %d", WSTOPSIG(status));
		return true;
	}
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
	return false;
}
