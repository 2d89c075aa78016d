#include "client/private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/lock.h"
#include "proto/layout.h"

enum {
	LIFELINE_FD = 0,    /* in the daemon: not among those that its keeper passes it */
	START_SECONDS = 30, /* committing may take a while on a busy machine */
	ENDING_MS = 1000,   /* that a dying daemon's descriptors may take to close */
	DAEMON_SUFFIX = 16, /* what the daemon may append to the socket's path */
};

#define SIZE_DEFAULT ((uint64_t)256 << 20)
#define NOT_STARTED "exec failed: " /* and three digits: what is said instead of READY */

/* ---- the folder ---- */

static int folder_new(char *ret, size_t size)
{
	const char *bases[] = {secure_getenv("XDG_RUNTIME_DIR"), "/tmp"};
	int error = ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		if (!bases[i] || *bases[i] != '/')
			continue;
		if ((size_t)snprintf(ret, size, "%s/varbos-XXXXXX", bases[i]) + DAEMON_SUFFIX +
			    sizeof("/varbos.sock") >
		    SOCKET_PATH_MAX)
			continue;
		if (mkdtemp(ret))
			return 0;
		error = errno;
	}
	return error_system(error, "making a folder for the daemon's socket");
}

/* It is ours alone, mode 0700: whatever is in it goes. */
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

/* ---- the program ---- */

/* In $PATH, as execvp() would look. */
static bool search_path(char *ret, size_t size)
{
	const char *path = secure_getenv("PATH");
	size_t n;

	for (; path && *path; path += n + (path[n] == ':')) {
		n = strcspn(path, ":");
		if ((size_t)snprintf(ret, size, "%.*s%svarbosd", (int)n, path, n ? "/" : "") <
			    size &&
		    !access(ret, X_OK))
			return true;
	}
	return false;
}

/* Installed it is where the users' $PATH does not lead: look there, too. */
static int find_daemon(char *ret, size_t size, const char *given)
{
	if (!given)
		given = secure_getenv("VARBOS_DAEMON");
	if (given && *given) {
		if ((size_t)snprintf(ret, size, "%s", given) >= size)
			return error_set(VARBOS_E_INVALID, "daemon",
					 "the path of varbosd is too long");
		return 0;
	}
	if (search_path(ret, size))
		return 0;
	if ((size_t)snprintf(ret, size, "%s/varbosd", VARBOS_SBINDIR) < size &&
	    !access(ret, X_OK))
		return 0;
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_UNAVAILABLE,
				       .system_errno = ENOENT,
				       .which = "daemon"},
		"$VARBOS_DAEMON is not set, and there is no varbosd in $PATH or in %s",
		VARBOS_SBINDIR);
}

/* ---- starting ---- */

/*
 * After fork() in what may be a threaded program: async-signal-safe calls only. The daemon gets
 * standard error, its lifeline and nothing else of the program's descriptors and signals.
 */
static _Noreturn void become_daemon(const char *const *argv, int lifeline)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	char text[] = NOT_STARTED "000\n";
	char *digits = text + sizeof(NOT_STARTED) - 1;
	sigset_t none;
	int null;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	if (lifeline == LIFELINE_FD)
		fcntl(lifeline, F_SETFD, 0);
	else if (dup2(lifeline, LIFELINE_FD) < 0)
		_exit(127);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDOUT_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);

	execv(argv[0], (char *const *)(uintptr_t)argv);
	digits[0] = (char)('0' + errno / 100 % 10);
	digits[1] = (char)('0' + errno / 10 % 10);
	digits[2] = (char)('0' + errno % 10);
	_exit(write(LIFELINE_FD, text, sizeof(text) - 1) > 0 ? 127 : 126);
}

/* By way of a process in between, so that the daemon is init's child, not ours. */
static int start(const char *const *argv, int lifeline)
{
	pid_t between, pid;
	int status;

	between = fork();
	if (between < 0)
		return error_system(errno, "starting varbosd");
	if (!between) {
		setsid(); /* ^C on the terminal is for the program */
		pid = fork();
		if (!pid)
			become_daemon(argv, lifeline);
		_exit(pid < 0 ? errno : 0);
	}
	/* ECHILD: the program ignores SIGCHLD, or another thread waits for any child. */
	while ((pid = waitpid(between, &status, 0)) < 0 && errno == EINTR)
		;
	if (pid == between && WIFEXITED(status) && WEXITSTATUS(status))
		return error_system(WEXITSTATUS(status), "starting varbosd");
	return 0;
}

/* The daemon did not say READY: why not, by the line that was said instead. */
static int error_not_ready(char *line, const char *program, uint64_t size)
{
	const char *why;
	unsigned code;
	int error, at = 0;

	if (sscanf(line, NOT_STARTED "%3d", &error) == 1) {
		why = strerrordesc_np(error);
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_UNAVAILABLE,
								.system_errno = error,
								.which = "daemon"},
					 "%.160s could not be started: %s", program,
					 why ? why : "unknown error");
	}
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%3u %n", &code, &at) != 1 || !at || !line[at] ||
	    !wire_str_is_clean(wire_str(line)))
		return error_set(VARBOS_E_UNAVAILABLE, "daemon",
				 "%.160s has ended without a word", program);
	if (code == VARBOS_E_MEMORY)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_MEMORY,
								.requested = size,
								.which = "machine"},
					 "%s", line + at);
	return error_set(VARBOS_E_UNAVAILABLE, "daemon", "%s", line + at);
}

static int await_ready(int lifeline, const char *program, uint64_t size)
{
	uint64_t deadline = clock_ns() + (uint64_t)START_SECONDS * 1000000000;
	struct pollfd poll_fd = {.fd = lifeline, .events = POLLIN};
	char line[224] = "";
	size_t n = 0;
	ssize_t got = 1;

	while (got > 0 && n < sizeof(line) - 1 && !memchr(line, '\n', n)) {
		uint64_t now = clock_ns();
		int r = now < deadline
				? poll(&poll_fd, 1, (int)((deadline - now) / 1000000) + 1)
				: 0;

		if (!r)
			return error_set(VARBOS_E_TIMEOUT, "daemon",
					 "varbosd has not become ready within %d s",
					 START_SECONDS);
		if (r < 0)
			continue;
		got = recv(lifeline, line + n, sizeof(line) - 1 - n, 0);
		if (got > 0)
			n += (size_t)got;
		else if (got < 0 && errno == EINTR)
			got = 1;
	}
	line[n] = '\0';
	if (!strcmp(line, "READY\n"))
		return 0;

	return error_not_ready(line, program, size);
}

static void private_daemon_freep(struct private_daemon **daemon)
{
	private_daemon_free(*daemon, true);
}

static int check_options(uint64_t size, const char *pages)
{
	static const char *const known[] = {"auto", "4K", "2M"};

	if (size % CHUNK_BYTES)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = size,
								.which = "size"},
					 "a region of %llu bytes is not a multiple of 2 MiB",
					 (unsigned long long)size);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(pages, known[i]))
			return 0;
	return error_set(VARBOS_E_INVALID, "pages", "pages are auto, 4K or 2M, not %.32s",
			 wire_str_is_clean(wire_str(pages)) ? pages : "that");
}

int private_daemon_new(struct private_daemon **ret,
		       const struct varbos_private_options *options)
{
	_cleanup_(private_daemon_freep) struct private_daemon *daemon = NULL;
	const char *pages = options->pages ? options->pages : "auto";
	uint64_t bytes = options->size ? options->size : SIZE_DEFAULT;
	_cleanup_(closep) int theirs = -1;
	char program[4096], size[32], fd[16];
	int pair[2], r;
	struct stat st;

	r = check_options(bytes, pages);
	if (!r)
		r = find_daemon(program, sizeof(program), options->daemon);
	if (r)
		return r;
	daemon = calloc(1, sizeof(*daemon));
	if (!daemon)
		return error_system(ENOMEM, "a daemon");
	daemon->lifeline.fd = -1;
	r = folder_new(daemon->folder, sizeof(daemon->folder));
	if (r) {
		*daemon->folder = '\0';
		return r;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_system(errno, "making a lifeline");
	theirs = pair[1];
	daemon->lifeline.fd = pair[0];
	if (fstat(pair[0], &st) < 0)
		return error_system(errno, "looking at the lifeline");
	daemon->lifeline.dev = st.st_dev;
	daemon->lifeline.ino = st.st_ino;

	snprintf(daemon->lifeline.path, sizeof(daemon->lifeline.path), "%.*s/varbos.sock",
		 (int)(sizeof(daemon->lifeline.path) - sizeof("/varbos.sock")), daemon->folder);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	snprintf(fd, sizeof(fd), "%d", LIFELINE_FD);
	/* The lifeline first of the daemon's: what is wrong with the rest is said there. */
	r = start((const char *const[]){program, "--keep", "--lifeline", fd, "--socket",
					daemon->lifeline.path, "--size", size, "--pages", pages,
					NULL},
		  theirs);
	close(TAKE_FD(theirs)); /* so that the daemon's end is the daemon's alone */
	if (!r)
		r = await_ready(daemon->lifeline.fd, program, bytes);
	if (r)
		return r;

	*ret = TAKE_PTR(daemon);
	return 0;
}

/* Has the daemon closed its end, that is, ended? */
static bool has_ended(int lifeline, int wait_ms)
{
	struct pollfd poll_fd = {.fd = lifeline, .events = POLLIN};
	ssize_t got;
	char byte;

	poll(&poll_fd, 1, wait_ms);
	got = recv(lifeline, &byte, 1, MSG_DONTWAIT);
	return !got || (got < 0 && errno == ECONNRESET);
}

bool private_daemon_ended(const struct private_daemon *daemon)
{
	return daemon->lifeline.fd < 0 || has_ended(daemon->lifeline.fd, 0);
}

void private_daemon_free(struct private_daemon *daemon, bool broken)
{
	int wait_ms = broken ? ENDING_MS : 0;

	if (!daemon)
		return;
	/* A living daemon removes its files, and the folder, when its lifeline ends. */
	if (*daemon->folder &&
	    (daemon->lifeline.fd < 0 || has_ended(daemon->lifeline.fd, wait_ms)))
		folder_remove(daemon->folder);
	socket_close(&daemon->lifeline);
	free(daemon);
}

_public_ int varbos_connect_private(struct varbos **ret,
				    const struct varbos_private_options *options)
{
	static const struct varbos_private_options defaults;
	_cleanup_(private_daemon_freep) struct private_daemon *daemon = NULL;
	struct socket_policy policy;
	int r;

	error_enter("varbos_connect_private");
	if (!ret)
		return error_null("ret");
	r = private_daemon_new(&daemon, options ? options : &defaults);
	if (r)
		return r;
	socket_policy_default(&policy);
	r = connection_open(ret, daemon->lifeline.path, &policy);
	if (r)
		return r;
	(*ret)->daemon = TAKE_PTR(daemon);
	(*ret)->calls.resumption.daemon = (*ret)->daemon;
	return 0;
}
