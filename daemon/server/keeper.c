#include "daemon/server/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/left.h"
#include "daemon/server/log.h"
#include "daemon/server/program.h"
#include "daemon/server/store.h"

enum {
	STORED_MAX = 1024,
	STORED_NAME_MAX = 256,
	WORDS_MAX = 4096,
	FDS_MAX = 253, /* of one datagram */
	BACKOFF_MS = 10,
	BACKOFF_MAX_MS = 5000,
	BACKOFF_SERVED_MAX_MS = 160, /* of one that served: clients wait for the next */
	SETTLED_MS = 10000,          /* serving so long, it is not what ends at every start */
	FIRST_FD = 3,
	HEARD_MAX = 64, /* datagrams in a row */
	SPARE = 16,     /* descriptors that are not stored ones */
};

struct stored {
	char name[STORED_NAME_MAX];
	int fd;
};

struct keeper {
	int notify; /* our end of a pair: nobody else can reach it */
	int signals;
	struct stored stored[STORED_MAX];
	uint32_t n, most;
	pid_t child; /* 0: none */
	int pidfd;
	bool is_adopted; /* it is no child of ours */
	bool was_ready;  /* one was, once */
	bool ends;       /* the child has said so */
	bool told;       /* to end */
	uint64_t ready_ms, again_ms, fed_ms, watchdog_ms;
	uint32_t failures; /* in a row */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Twice so many are open where they are handed over: where they are, and where they are to be. */
static uint32_t stored_most(void)
{
	struct rlimit limit;
	uint64_t files = 0;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_max > SPARE)
		files = limit.rlim_max - SPARE;
	return mutant(stored_beyond_limit) ? STORED_MAX
					   : (uint32_t)u64_min(files / 2, STORED_MAX);
}

/* What is said to the one end bears its sender's pid. No address: a stranger could fill it. */
static int notify_pair(int *ret_hears, int *ret_speaks)
{
	_cleanup_(closep) int hears = -1, speaks = -1;
	int pair[2], on = 1;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	hears = pair[0];
	speaks = pair[1];
	if (setsockopt(hears, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return -errno;
	*ret_hears = TAKE_FD(hears);
	*ret_speaks = TAKE_FD(speaks);
	return 0;
}

static int pidfd_open_(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The daemon's, and by inheritance ours; -1: it has none. */
static int lifeline(void)
{
	for (char *const *at = program_arguments() + 1; *at; at++) {
		const char *value = at[1];

		if (strncmp(*at, "--lifeline", 10) || ((*at)[10] && (*at)[10] != '='))
			continue;
		if ((*at)[10])
			value = *at + 11;
		if (value)
			return (int)strtol(value, NULL, 10);
	}
	return -1;
}

static bool lifeline_is_cut(void)
{
	struct pollfd poll_fd = {.fd = lifeline(), .events = POLLIN};
	char byte;

	return poll_fd.fd >= 0 && poll(&poll_fd, 1, 0) > 0 && read(poll_fd.fd, &byte, 1) <= 0;
}

/* ---- what the child says ---- */

/* Told again, as by one who does not know whether it was heard. */
static bool is_stored(const struct keeper *keeper, const char *name, int fd)
{
	struct stat its, theirs;

	for (uint32_t i = 0; i < keeper->n; i++)
		if (!strcmp(keeper->stored[i].name, name) && !fstat(fd, &its) &&
		    !fstat(keeper->stored[i].fd, &theirs) && its.st_ino == theirs.st_ino &&
		    its.st_dev == theirs.st_dev)
			return true;
	return false;
}

static void stored_add(struct keeper *keeper, const char *name, int fd)
{
	struct stored *stored = &keeper->stored[keeper->n];

	if (is_stored(keeper, name, fd)) {
		close(fd);
		return;
	}
	if (keeper->n == keeper->most) {
		log_error("no room for another descriptor, %s: %u are held", name, keeper->n);
		close(fd);
		return;
	}
	snprintf(stored->name, sizeof(stored->name), "%s", *name ? name : "stored");
	stored->fd = fd;
	keeper->n++;
}

static void stored_remove(struct keeper *keeper, const char *name)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < keeper->n; i++)
		if (strcmp(keeper->stored[i].name, name))
			keeper->stored[n++] = keeper->stored[i];
		else
			close(keeper->stored[i].fd);
	keeper->n = n;
}

/* One line of it ends where the next begins. */
static void understand(struct keeper *keeper, char *words, int *fds, uint32_t n)
{
	bool stores = false, removes = false;
	char *line, *rest = words;
	const char *name = "";

	while ((line = strsep(&rest, "\n"))) {
		stores |= !strcmp(line, "FDSTORE=1");
		removes |= !strcmp(line, "FDSTOREREMOVE=1");
		if (!strncmp(line, "FDNAME=", 7))
			name = line + 7;
		if (!strcmp(line, "STOPPING=1"))
			keeper->ends = true;
		if (!strcmp(line, "WATCHDOG=1"))
			keeper->fed_ms = now_ms();
		if (!strcmp(line, "READY=1") && !keeper->ready_ms) {
			keeper->was_ready = true;
			keeper->ready_ms = keeper->fed_ms = now_ms();
		}
	}
	if (removes)
		stored_remove(keeper, name);
	for (uint32_t i = 0; stores && i < n; i++)
		stored_add(keeper, name, TAKE_FD(fds[i]));
}

/* false: there is nothing to be heard. */
static bool hear(struct keeper *keeper)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	char words[WORDS_MAX];
	struct iovec iov = {.iov_base = words, .iov_len = sizeof(words) - 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct ucred from = {};
	int fds[FDS_MAX];
	uint32_t n = 0;
	ssize_t got;

	got = recvmsg(keeper->notify, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return errno == EINTR;
	words[got] = '\0';
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
		if (at->cmsg_level != SOL_SOCKET)
			continue;
		if (at->cmsg_type == SCM_RIGHTS) {
			n = (uint32_t)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(at), n * sizeof(int));
		} else if (at->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&from, CMSG_DATA(at), sizeof(from));
		}
	}
	if ((keeper->child && from.pid == keeper->child) || mutant(keeper_hears_anybody))
		understand(keeper, words, fds, n);
	/* A barrier's among them: that it is closed is the answer. */
	for (uint32_t i = 0; i < n; i++)
		closep(&fds[i]);
	return true;
}

/* ---- the child ---- */

static void set_number(const char *variable, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	setenv(variable, text, 1);
}

/* In the child: out of the way of what is to be `beyond` it. */
static int move_up(int *fd, int beyond)
{
	if (*fd < beyond)
		*fd = fcntl(*fd, F_DUPFD_CLOEXEC, beyond);
	return *fd < 0 ? -errno : 0;
}

/* The stored ones are 3 and what follows, and it is told their names; behind them, how to speak. */
static int pass_stored(struct keeper *keeper, int speaks, pid_t parent)
{
	int last = FIRST_FD + (int)keeper->n, r;
	size_t size = 1, at = 0;
	char *names, text[48];

	r = move_up(&speaks, last + 1);
	for (uint32_t i = 0; i < keeper->n && !r; i++) {
		size += strlen(keeper->stored[i].name) + 1;
		r = move_up(&keeper->stored[i].fd, last + 1);
	}
	if (r)
		return r;
	names = calloc(1, size);
	if (!names)
		return -ENOMEM;
	for (uint32_t i = 0; i < keeper->n; i++) {
		const struct stored *stored = &keeper->stored[i];

		if (dup2(stored->fd, FIRST_FD + (int)i) < 0)
			return -errno;
		at += (size_t)sprintf(names + at, "%s%s", i ? ":" : "", stored->name);
	}
	if (dup2(speaks, last) < 0)
		return -errno;
	snprintf(text, sizeof(text), "%d:%d", (int)parent, last);
	setenv("VARBOS_KEEPER", text, 1);
	if (!keeper->n)
		return 0;
	set_number("LISTEN_FDS", keeper->n);
	set_number("LISTEN_PID", (uint64_t)getpid());
	setenv("LISTEN_FDNAMES", names, 1);
	return 0;
}

static _Noreturn void become_daemon(struct keeper *keeper, int speaks, pid_t parent)
{
	sigset_t none;
	int r;

	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("NOTIFY_SOCKET");
	r = pass_stored(keeper, speaks, parent);
	set_number("FDSTORE", keeper->most);
	if (keeper->watchdog_ms)
		set_number("WATCHDOG_PID", (uint64_t)getpid());
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!r)
		r = program_exec(program_arguments());
	log_error("%s cannot be started: %s", program_path(), strerror(-r));
	_exit(EXIT_FAILURE);
}

static int start_child(struct keeper *keeper)
{
	_cleanup_(closep) int hears = -1, speaks = -1;
	pid_t parent = getpid(), pid;
	int r;

	r = notify_pair(&hears, &speaks);
	if (r)
		return r;
	pid = fork();
	if (!pid)
		become_daemon(keeper, speaks, parent);
	if (pid < 0)
		return -errno;
	keeper->pidfd = pidfd_open_(pid);
	if (keeper->pidfd < 0) { /* nobody would see it end, and there would be two */
		r = -errno;
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return r;
	}
	closep(&keeper->notify); /* all that was said there has been heard (KP3) */
	keeper->notify = TAKE_FD(hears);
	keeper->child = pid;
	keeper->is_adopted = keeper->ends = false;
	keeper->ready_ms = keeper->again_ms = 0;
	return 0;
}

/* So much later the more often it failed. */
static void put_off(struct keeper *keeper, uint64_t most_ms)
{
	uint32_t doublings = keeper->failures < 10 ? keeper->failures : 10;
	uint64_t delay = u64_min((uint64_t)BACKOFF_MS << doublings, most_ms);

	keeper->failures++;
	keeper->again_ms = now_ms() + delay;
	log_warning("varbosd is started again in %" PRIu64 " ms, with %u descriptors", delay,
		    keeper->n);
}

/* The child has ended: -1, or the keeper's own exit status. */
static int child_ended(struct keeper *keeper)
{
	uint64_t served_ms = keeper->ready_ms ? now_ms() - keeper->ready_ms : 0;
	siginfo_t info = {.si_code = CLD_KILLED};
	pid_t pid = keeper->child;
	int status;

	while (hear(keeper)) /* KP3 */
		;
	if (!keeper->is_adopted)
		waitid(P_PIDFD, (id_t)keeper->pidfd, &info, WEXITED);
	else if (keeper->ends)
		info.si_code = CLD_EXITED;
	closep(&keeper->pidfd);
	keeper->pidfd = -1;
	keeper->child = 0;
	status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	if (keeper->told || !status || !keeper->was_ready)
		return status;
	/* One that serves sees to that itself, and tidies up. */
	if (!keeper->ready_ms && lifeline_is_cut() && !mutant(keeper_unwanted))
		return EXIT_SUCCESS;
	if (keeper->is_adopted)
		log_warning("varbosd (pid %d) has ended", (int)pid);
	else
		log_warning("varbosd (pid %d) %s %d", (int)pid,
			    info.si_code == CLD_EXITED ? "has failed with status"
						       : "was ended by signal",
			    info.si_status);
	if (served_ms >= SETTLED_MS)
		keeper->failures = 0;
	put_off(keeper, keeper->ready_ms ? BACKOFF_SERVED_MAX_MS : BACKOFF_MAX_MS);
	return -1;
}

/* ---- the keeper ---- */

static void signalled(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	if (read(keeper->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGHUP)
		keeper->told = true;
	if (keeper->child)
		syscall(SYS_pidfd_send_signal, keeper->pidfd, info.ssi_signo, NULL, 0);
}

/* Until when nothing has to be done; -1: for ever. */
static int wait_ms(const struct keeper *keeper)
{
	uint64_t now = now_ms(), until = UINT64_MAX;

	if (keeper->again_ms)
		until = keeper->again_ms;
	else if (keeper->watchdog_ms && keeper->ready_ms && keeper->child)
		until = keeper->fed_ms + keeper->watchdog_ms;
	if (until == UINT64_MAX)
		return -1;
	return until > now ? (int)u64_min(until - now, INT32_MAX) : 0;
}

static void look_at_clock(struct keeper *keeper)
{
	uint64_t now = now_ms();
	int r;

	if (keeper->again_ms && now >= keeper->again_ms) {
		r = start_child(keeper);
		if (r) {
			log_error("varbosd cannot be started: %s", strerror(-r));
			put_off(keeper, BACKOFF_MAX_MS);
		}
	}
	if (keeper->child && keeper->watchdog_ms && keeper->ready_ms &&
	    now >= keeper->fed_ms + keeper->watchdog_ms) {
		log_error("varbosd (pid %d) has not been heard of for %" PRIu64
			  " ms: it is killed",
			  (int)keeper->child, now - keeper->fed_ms);
		syscall(SYS_pidfd_send_signal, keeper->pidfd, SIGKILL, NULL, 0);
		keeper->fed_ms = now;
	}
}

static int loop(struct keeper *keeper)
{
	for (;;) {
		struct pollfd poll_fds[] = {
			{.fd = keeper->signals, .events = POLLIN},
			{.fd = keeper->notify, .events = POLLIN},
			{.fd = keeper->pidfd, .events = POLLIN},
		};
		int status = -1;

		if (poll(poll_fds, ARRAY_SIZE(poll_fds), wait_ms(keeper)) < 0 && errno != EINTR)
			return EXIT_FAILURE;
		if (poll_fds[0].revents)
			signalled(keeper);
		/* What it has said while we were stopped comes before the watchdog's word. */
		for (int i = 0; poll_fds[1].revents && i < HEARD_MAX && hear(keeper); i++)
			;
		if (keeper->pidfd >= 0 && poll_fds[2].revents)
			status = child_ended(keeper);
		if (status >= 0)
			return status;
		if (keeper->told && !keeper->child)
			return EXIT_SUCCESS;
		look_at_clock(keeper);
	}
}

static int open_all(struct keeper *keeper)
{
	struct rlimit limit;
	sigset_t ours;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	keeper->most = stored_most();
	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	sigprocmask(SIG_BLOCK, &ours, NULL);
	signal(SIGCHLD, SIG_DFL);
	keeper->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	return keeper->signals < 0 ? -errno : 0;
}

/* $WATCHDOG_USEC, as for services, where it is for us or our child. */
static void read_watchdog(struct keeper *keeper)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	pid_t whose = pid ? (pid_t)strtol(pid, NULL, 10) : getpid();

	if (usec && (whose == getpid() || whose == keeper->child))
		keeper->watchdog_ms = strtoull(usec, NULL, 10) / 1000;
}

static int take_passed(struct keeper *keeper)
{
	_cleanup_(left_deinit) struct left left = {};
	int r = left_take(&left);

	for (uint32_t i = 0; i < left.n; i++)
		stored_add(keeper, left.names[i], TAKE_FD(left.fds[i]));
	return r;
}

static const char keep_flag[] = "--keep";

static bool is_keep_flag(const char *argument)
{
	size_t n = sizeof(keep_flag) - 1;

	return !strncmp(argument, keep_flag, n) && (!argument[n] || argument[n] == '=');
}

bool keeper_is_asked(int argc, char *const *argv)
{
	return argc > 1 && is_keep_flag(argv[1]);
}

int keeper_run(int argc, char **argv)
{
	static struct keeper keeper = {.notify = -1, .pidfd = -1};
	int r, pid;

	(void)argc;
	prctl(PR_SET_NAME, "varbosd-keeper");
	if (argv[1][sizeof(keep_flag) - 1]) {
		/* By a daemon whose keeper is gone: its pid, a pidfd of it, what to listen at. */
		if (sscanf(argv[1] + sizeof(keep_flag), "%d:%d:%d", &pid, &keeper.pidfd,
			   &keeper.notify) != 3 ||
		    fcntl(keeper.pidfd, F_SETFD, FD_CLOEXEC) ||
		    fcntl(keeper.notify, F_SETFD, FD_CLOEXEC)) {
			log_error("--keep takes no value");
			return 2;
		}
		keeper.child = pid;
		keeper.is_adopted = keeper.was_ready = true;
		keeper.ready_ms = keeper.fed_ms = now_ms();
	}
	if (program_arguments()[1] && is_keep_flag(program_arguments()[1])) {
		log_error("--keep comes once");
		return 2;
	}
	if (lifeline() >= FIRST_FD) {
		log_error("with --keep, the lifeline has to be descriptor 0, 1 or 2");
		return 2;
	}
	r = open_all(&keeper);
	if (!r)
		r = take_passed(&keeper);
	read_watchdog(&keeper);
	if (!r && !keeper.is_adopted)
		r = start_child(&keeper);
	if (!r)
		return loop(&keeper);
	log_error("no start: %s", strerror(-r));
	return EXIT_FAILURE;
}

/* ---- in the daemon ---- */

/* After fork() in a threaded program: async-signal-safe calls only. */
static _Noreturn void become_keeper(char *const *argv, int pidfd, int notify)
{
	sigset_t none;

	setsid(); /* ^C on the terminal is for the daemon */
	/* pidfd and notify are beyond 4, so neither is in the other's way. */
	if (dup2(pidfd, FIRST_FD) < 0 || dup2(notify, FIRST_FD + 1) < 0)
		_exit(EXIT_FAILURE);
	close_range(FIRST_FD + 2, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	program_exec(argv);
	_exit(EXIT_FAILURE);
}

/* The daemon's arguments, and before them what makes a keeper of it. */
static char **keeper_arguments(char *flag)
{
	char *const *mine = program_arguments();
	char **argv;
	size_t n = 0;

	while (mine[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[0] = mine[0];
	argv[1] = flag;
	memcpy(argv + 2, mine + 1, n * sizeof(*argv)); /* with NULL */
	return argv;
}

int keeper_start(struct store *ret)
{
	_cleanup_(closep) int notify = -1, low = -1, self = -1, speaks = -1, keeper = -1;
	_cleanup_(freep) char **argv = NULL;
	struct store store = {.most = stored_most()};
	char flag[64];
	pid_t pid;
	int r;

	r = notify_pair(&low, &speaks);
	if (r)
		return r;
	notify = fcntl(low, F_DUPFD_CLOEXEC, FIRST_FD + 2);
	self = pidfd_open_(getpid());
	if (self >= 0 && self < FIRST_FD + 2) {
		int high = fcntl(self, F_DUPFD_CLOEXEC, FIRST_FD + 2);

		close(self);
		self = high;
	}
	if (notify < 0 || self < 0)
		return -errno;
	snprintf(flag, sizeof(flag), "%s=%d:%d:%d", keep_flag, (int)getpid(), FIRST_FD,
		 FIRST_FD + 1);
	argv = keeper_arguments(flag);
	if (!argv)
		return -ENOMEM;
	pid = fork();
	if (!pid)
		become_keeper(argv, self, notify);
	if (pid < 0)
		return -errno;
	keeper = pidfd_open_(pid); /* ours until it is waited for */
	if (keeper < 0)
		return -errno;
	store.fd = TAKE_FD(speaks);
	store.keeper = TAKE_FD(keeper);
	store.keeper_pid = pid;
	*ret = store;
	return 0;
}
