/*
 * Daemon - a varbosd of the test's own, in a folder of its own.
 *
 * The program is $VARBOSD (meson sets it). It ends with the test, however that ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TEST_DAEMON_ARGS = 16 };

struct test_daemon {
	pid_t pid; /* 0: it does not run */
	int lifeline;
	char folder[64];
	char socket[96];
	char log[96]; /* its standard error */
	const char *size;
	const char *extra[TEST_DAEMON_ARGS]; /* ended by NULL; they have to live as long */
	/* Of whom it is; 0: of who runs the test. */
	uid_t uid;
	gid_t gid; /* may connect */
	int listen_fd;
};

/*
 * Starts it and returns when it serves: `varbosd --socket ... --size SIZE EXTRA...`, the extra
 * arguments ended by NULL. Fails the test if it does not serve.
 */
void test_daemon_start(struct test_daemon *daemon, const char *size, ...)
	__attribute__((sentinel));

/* The same, but a daemon that refuses is a result: its exit status, or 0 if it serves. */
int test_daemon_try(struct test_daemon *daemon, const char *size, ...)
	__attribute__((sentinel));

/*
 * The same as root, of a daemon of another user, as a service manager would: it is passed its socket,
 * to which the group may connect. One that refuses has said why.
 */
int test_daemon_try_as(struct test_daemon *daemon, uid_t uid, gid_t gid, const char *size, ...)
	__attribute__((sentinel));

/*
 * SIGTERM; fails the test unless it ends with status 0 and leaves no socket behind. The folder
 * goes, also of one that was killed.
 */
void test_daemon_stop(struct test_daemon *daemon);

/* All its threads, to this processor. */
void test_daemon_pin(const struct test_daemon *daemon, int cpu);

/* SIGKILL; what it leaves behind stays where it is. */
void test_daemon_kill(struct test_daemon *daemon);

/* After that: another at the same place. */
void test_daemon_restart(struct test_daemon *daemon);

/*
 * How many descriptors it has open, from outside; but for the bell, which comes with whoever opens lanes
 * first, and stays. And what each is, on standard output.
 */
uint32_t test_daemon_fds(const struct test_daemon *daemon, bool print);
