#include "tests/integration/daemon.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LISTEN_FD = 3 };

static void folder_remove(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(path);
}

static void print_log(const struct test_daemon *daemon)
{
	FILE *log = fopen(daemon->log, "re");
	char line[512];

	while (log && fgets(line, sizeof(line), log))
		fprintf(stderr, "  %s", line);
	if (log)
		fclose(log);
}

/* The program may lie where that user cannot come; its descriptor can be executed all the same. */
static _Noreturn void become_other(const struct test_daemon *daemon, const char **argv)
{
	int program = open(argv[0], O_RDONLY | O_CLOEXEC);
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (program < 0 || dup2(daemon->listen_fd, LISTEN_FD) < 0 || setgroups(0, NULL) ||
	    setresgid(daemon->gid, daemon->gid, daemon->gid) ||
	    setresuid(daemon->uid, daemon->uid, daemon->uid))
		_exit(126);
	fexecve(program, (char **)(uintptr_t)argv, environ);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static _Noreturn void become_daemon(const struct test_daemon *daemon, const char **argv,
				    int lifeline)
{
	int log = open(daemon->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);

	dup2(log, STDERR_FILENO);
	fcntl(lifeline, F_SETFD, 0);
	/* Unless a test says otherwise: what the machine's pool has is what another test has borrowed. */
	setenv("VARBOS_MEMORY_PAGES", "4K", 0);
	if (daemon->uid)
		become_other(daemon, argv);
	execv(argv[0], (char **)(uintptr_t)argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static bool says_ready(int lifeline)
{
	char said[16];
	size_t n = 0;
	ssize_t got;

	do {
		got = recv(lifeline, said + n, sizeof(said) - n, 0);
		n += got > 0 ? (size_t)got : 0;
	} while ((got > 0 && n < sizeof(said) && !memchr(said, '\n', n)) ||
		 (got < 0 && errno == EINTR));
	return n == 6 && !memcmp(said, "READY\n", 6);
}

/* Out of the way of what is passed. */
static void move_up(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, LISTEN_FD + 1);

	ck_assert_int_gt(high, LISTEN_FD);
	close(*fd);
	*fd = high;
}

/* 0 when it serves, or its exit status; -1 if a signal ended it. */
static int run(struct test_daemon *daemon)
{
	const char *program = getenv("VARBOSD");
	const char *argv[7 + TEST_DAEMON_ARGS + 1];
	int argc = 0, pair[2], status;
	char fd[16];

	ck_assert_msg(program, "$VARBOSD does not say where varbosd is");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	move_up(&pair[1]);
	snprintf(fd, sizeof(fd), "%d", pair[1]);
	argv[argc++] = program;
	argv[argc++] = "--socket";
	argv[argc++] = daemon->socket;
	argv[argc++] = "--size";
	argv[argc++] = daemon->size;
	argv[argc++] = "--lifeline";
	argv[argc++] = fd;
	for (int i = 0; daemon->extra[i]; i++)
		argv[argc++] = daemon->extra[i];
	argv[argc] = NULL;

	daemon->pid = fork();
	ck_assert_int_ge(daemon->pid, 0);
	if (!daemon->pid)
		become_daemon(daemon, argv, pair[1]);
	close(pair[1]);
	daemon->lifeline = pair[0];
	if (says_ready(pair[0]))
		return 0;

	close(daemon->lifeline);
	ck_assert_int_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
	daemon->pid = 0;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : -1;
}

static void prepare(struct test_daemon *daemon, const char *size, va_list extra)
{
	*daemon = (struct test_daemon){
		.folder = "/tmp/varbos-test-XXXXXX", .size = size, .listen_fd = -1};
	ck_assert_ptr_nonnull(mkdtemp(daemon->folder));
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/varbos.sock", daemon->folder);
	snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->folder);
	for (int i = 0; (daemon->extra[i] = va_arg(extra, const char *)); i++)
		ck_assert_int_lt(i, TEST_DAEMON_ARGS - 1);
}

static int start(struct test_daemon *daemon, const char *size, va_list extra)
{
	prepare(daemon, size, extra);
	return run(daemon);
}

/* In a folder that is the daemon's, since its statistics lie beside it. */
static void listen_for(struct test_daemon *daemon)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert(strlen(daemon->socket) < sizeof(address.sun_path));
	strcpy(address.sun_path, daemon->socket);
	daemon->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(daemon->listen_fd, 0);
	move_up(&daemon->listen_fd);
	ck_assert_int_eq(bind(daemon->listen_fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(daemon->listen_fd, 64), 0);
	ck_assert_int_eq(chown(daemon->socket, 0, daemon->gid), 0);
	ck_assert_int_eq(chmod(daemon->socket, 0660), 0);
	ck_assert_int_eq(chown(daemon->folder, daemon->uid, daemon->gid), 0);
	ck_assert_int_eq(chmod(daemon->folder, 0755), 0);
}

static void expect_serving(struct test_daemon *daemon, int status)
{
	if (!status)
		return;
	print_log(daemon);
	folder_remove(daemon->folder);
	ck_abort_msg("varbosd does not serve (exit status %d)", status);
}

void test_daemon_start(struct test_daemon *daemon, const char *size, ...)
{
	va_list extra;
	int r;

	va_start(extra, size);
	r = start(daemon, size, extra);
	va_end(extra);
	expect_serving(daemon, r);
}

int test_daemon_try_as(struct test_daemon *daemon, uid_t uid, gid_t gid, const char *size, ...)
{
	va_list extra;
	int r;

	va_start(extra, size);
	prepare(daemon, size, extra);
	va_end(extra);
	daemon->uid = uid;
	daemon->gid = gid;
	listen_for(daemon);
	r = run(daemon);
	if (r) {
		print_log(daemon);
		close(daemon->listen_fd);
		folder_remove(daemon->folder);
	}
	return r;
}

int test_daemon_try(struct test_daemon *daemon, const char *size, ...)
{
	va_list extra;
	int r;

	va_start(extra, size);
	r = start(daemon, size, extra);
	va_end(extra);
	if (r)
		folder_remove(daemon->folder);
	return r;
}

void test_daemon_restart(struct test_daemon *daemon)
{
	ck_assert(!daemon->pid);
	expect_serving(daemon, run(daemon));
}

void test_daemon_kill(struct test_daemon *daemon)
{
	kill(daemon->pid, SIGKILL);
	ck_assert_int_eq(waitpid(daemon->pid, NULL, 0), daemon->pid);
	daemon->pid = 0;
	close(daemon->lifeline);
}

void test_daemon_stop(struct test_daemon *daemon)
{
	int status = 0;

	if (daemon->pid) {
		kill(daemon->pid, SIGTERM);
		ck_assert_int_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
		daemon->pid = 0;
		close(daemon->lifeline);
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			print_log(daemon);
			folder_remove(daemon->folder);
			ck_abort_msg("varbosd did not end well: wait status 0x%x",
				     (unsigned)status);
		}
		ck_assert_msg(daemon->uid || access(daemon->socket, F_OK) < 0,
			      "%s is left behind", daemon->socket);
	}
	if (daemon->listen_fd >= 0)
		close(daemon->listen_fd);
	folder_remove(daemon->folder);
}

void test_daemon_pin(const struct test_daemon *daemon, int cpu)
{
	const struct dirent *entry;
	cpu_set_t set;
	char path[64];
	DIR *tasks;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon->pid);
	tasks = opendir(path);
	ck_assert_ptr_nonnull(tasks);
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.')
			ck_assert_int_eq(
				sched_setaffinity(atoi(entry->d_name), sizeof(set), &set), 0);
	closedir(tasks);
}

uint32_t test_daemon_fds(const struct test_daemon *daemon, bool print)
{
	const struct dirent *entry;
	char path[64], target[64];
	uint32_t n = 0;
	ssize_t size;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon->pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		size = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[size > 0 ? size : 0] = 0;
		n += !strstr(target, "varbos-bell");
		if (print)
			printf("%s -> %s\n", entry->d_name, target);
	}
	closedir(dir);
	return n;
}
