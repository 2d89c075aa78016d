/*
 * Clients of other uids that do what no client should: refused or dropped, and afterwards the
 * daemon has as many descriptors as before, and hardly more memory. What has to hold with an
 * older kernel, too, is tried a second time under a filter that hides SO_PASSRIGHTS.
 */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/passrights.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	NOBODY = 65534,
	OTHER = 12345,
	RIGHTS_MAX = 253, /* SCM_MAX_FD */
	RSS_MORE = 24,    /* MiB: what its allocator may keep, sanitizers included */
	FLAT_TRIES = 2000,
};

static struct test_daemon daemon_;
static struct peer victim;
static uint32_t fds_before;
static uint64_t rss_before;

/* ---- the daemon, from outside ---- */

static uint64_t daemon_rss(void)
{
	unsigned long long size, resident;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)daemon_.pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%llu %llu", &size, &resident), 2);
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The very number of descriptors as before; they close by and by. */
static void expect_flat(void)
{
	uint32_t now = 0;

	for (int i = 0; i < FLAT_TRIES; i++) {
		peer_status(&victim); /* it serves on */
		now = test_daemon_fds(&daemon_, false);
		if (now == fds_before)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	ck_assert_uint_eq(now, fds_before);
	ck_assert_uint_le(daemon_rss(), rss_before + RSS_MORE * MIB);
}

static void let_in(void)
{
	char folder[sizeof(daemon_.folder)];

	/* Other uids are to come in, whether there is a group for that or not. */
	strcpy(folder, daemon_.folder);
	ck_assert(!chmod(folder, 0755) && !chmod(daemon_.socket, 0666));
	peer_open(&victim, daemon_.socket);
	peer_create_space(&victim, "a", 16 * MIB);
	peer_status(&victim);
	fds_before = test_daemon_fds(&daemon_, false);
	rss_before = daemon_rss();
}

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", "--limits.hello=2s", "--limits.connections=100",
			  NULL);
	let_in();
}

/* A daemon that has few descriptors for clients: a few uids can fill what one may not. */
static void set_up_few(void)
{
	/* This process's, too: it is the test's own. */
	ck_assert(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256}));
	test_daemon_start(&daemon_, "64M", NULL);
	let_in();
}

static void set_up_old(void)
{
	hide_passrights();
	set_up();
}

static void tear_down(void)
{
	expect_flat();
	peer_close(&victim);
	test_daemon_stop(&daemon_);
}

/* ---- who is hostile ---- */

/* Run it as that uid; 0 is what was expected. */
static pid_t start_as(uint32_t uid, int (*act)(void))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	peer_leave_check();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (setgid(uid) || setuid(uid))
		_exit(100);
	_exit(act());
}

static void expect_done(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
}

static void as(uint32_t uid, int (*act)(void))
{
	expect_done(start_as(uid, act));
}

/* -1 where not even that works. */
static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	strcpy(address.sun_path, daemon_.socket);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static bool say(int fd, uint64_t id, enum wire_method method, const void *params)
{
	char buf[512];
	int n = wire_encode_request(buf, sizeof(buf), id, method, params);

	return n > 0 && send(fd, buf, (size_t)n, MSG_NOSIGNAL) == n;
}

static enum wire_method method_of(void *userdata, uint64_t id)
{
	return *(enum wire_method *)userdata;
}

/* 0: a result; a fault's code, with `which` in the text; -1: the end. */
static int hear(int fd, enum wire_method method, char which[64])
{
	static char buf[WIRE_MESSAGE_MAX];
	struct wire_message message;
	struct wire_trouble trouble;
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	int r;

	if (n <= 0)
		return -1;
	r = wire_decode_answer(&message, buf, (size_t)n, method_of, &method, &trouble);
	if (r)
		return -2;
	r = message.failed ? (int)message.fault.code : 0;
	if (r && which)
		snprintf(which, 64, "%.*s", (int)message.fault.which.size,
			 message.fault.which.data);
	wire_message_deinit(&message);
	return r;
}

static const struct wire_hello hello = {.protocol = 1, .layout_min = 1, .layout_max = 1};

/* A session, or -1. */
static int join(void)
{
	int fd = dial();

	if (fd < 0)
		return -1;
	if (say(fd, 1, WIRE_HELLO, &hello) && !hear(fd, WIRE_HELLO, NULL))
		return fd;
	close(fd);
	return -1;
}

/* Somebody else finds the daemon as usual. */
static int is_served(void)
{
	int fd = join();

	if (fd < 0)
		return 1;
	for (uint64_t i = 0; i < 100; i++)
		if (!say(fd, i + 2, WIRE_PING, &(struct wire_ping){.token = i}) ||
		    hear(fd, WIRE_PING, NULL))
			return 2;
	return 0;
}

/* ---- hello ---- */

static int say_nothing(void)
{
	struct pollfd fd = {.fd = dial(), .events = POLLIN};
	int polite = join();
	char byte;

	if (fd.fd < 0 || polite < 0)
		return 1;
	if (poll(&fd, 1, 10000) != 1 || recv(fd.fd, &byte, 1, 0) > 0)
		return 2;
	/* Who has said it stays. */
	return !say(polite, 2, WIRE_PING, &(struct wire_ping){}) ||
	       hear(polite, WIRE_PING, NULL);
}

START_TEST(who_never_says_hello_is_dropped)
{
	as(NOBODY, say_nothing);
}
END_TEST

/* How many of this uid have not said it. */
static uint64_t waiting(void)
{
	struct wire_daemon_status status = peer_status(&victim);
	const struct wire_limit_row *rows = status.limits.rows;

	for (uint32_t i = 0; i < status.limits.count; i++)
		if (wire_str_is(rows[i].key, "limits.waiting"))
			return rows[i].mine;
	ck_abort_msg("no row for limits.waiting");
}

START_TEST(who_says_hello_while_the_daemon_is_stopped_is_heard)
{
	struct peer prompt;

	peer_connect(&prompt, daemon_.socket);
	while (waiting() != 1)
		usleep(1000);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(waitpid(daemon_.pid, NULL, WUNTRACED), daemon_.pid);
	peer_send(&prompt, WIRE_HELLO, &hello);
	usleep(2100000); /* beyond limits.hello */
	kill(daemon_.pid, SIGCONT);
	ck_assert(peer_receive(&prompt));
	ck_assert(!prompt.answer.failed);
	ck_assert(peer_call(&prompt, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&prompt);
}
END_TEST

static int wait_in_vain(void)
{
	/* Again where that took so long that the first were dropped already. */
	for (int tries = 0; tries < 20; tries++) {
		char which[64] = "";
		int fds[100], r = 0;

		for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
			fds[i] = dial();
			if (fds[i] < 0)
				return 1;
		}
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
			if (r != FAULT_LIMIT)
				r = hear(fds[i], WIRE_HELLO, which);
			if (r == FAULT_LIMIT && i < 64)
				return 2; /* no sooner than its limit */
			close(fds[i]);
		}
		if (r == FAULT_LIMIT) /* the name of a key */
			return strcmp(which, "limits.waiting") ? 3 : 0;
	}
	return 4;
}

START_TEST(who_lets_many_wait_before_hello_is_told_which_limit_that_is)
{
	struct wire_daemon_status status;
	const struct wire_limit_row *rows;
	bool counted = false;

	as(NOBODY, wait_in_vain);
	status = peer_status(&victim);
	rows = status.limits.rows;
	for (uint32_t i = 0; i < status.limits.count; i++)
		counted |= !strncmp(rows[i].key.data, "limits.waiting", rows[i].key.size) &&
			   rows[i].refused && rows[i].max == 64;
	ck_assert(counted);
}
END_TEST

static int pipe_ready[2];

/* Thousands, held for as long as the daemon lets it, and opened again. */
static int flood(void)
{
	struct rlimit many;
	uint32_t n = 0;

	if (getrlimit(RLIMIT_NOFILE, &many))
		return 1;
	many.rlim_cur = many.rlim_max;
	setrlimit(RLIMIT_NOFILE, &many);
	for (int i = 0; i < 4000; i++) {
		int fd = dial();

		n += fd >= 0;
		if (i == 1000 && write(pipe_ready[1], "x", 1) != 1)
			return 2;
	}
	if (n < 2000)
		return 3;
	pause(); /* with all of them open, until killed */
	return 0;
}

START_TEST(thousands_of_connections_of_one_uid_lock_no_other_out)
{
	char byte;
	pid_t pid;

	ck_assert(!pipe(pipe_ready));
	pid = start_as(NOBODY, flood);
	ck_assert_int_eq(read(pipe_ready[0], &byte, 1), 1);
	for (int i = 0; i < 20; i++)
		as(OTHER, is_served);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pipe_ready[0]);
	close(pipe_ready[1]);
}
END_TEST

static int take_connections(void)
{
	char which[64] = "";
	int fd, n, r = 0;

	/* Sessions of one process end at 64: so two processes. */
	pid_t child = fork();

	for (n = 0; n < 60 && join() >= 0; n++)
		;
	if (!child) {
		if (write(pipe_ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(pipe_ready[0], which, 1) != 1)
		return 1;
	fd = dial();
	if (fd < 0)
		return 2;
	r = hear(fd, WIRE_HELLO, which);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return r != FAULT_LIMIT ? 3 : strcmp(which, "limits.connections") ? 4 : 0;
}

START_TEST(connections_of_a_uid_are_limited_whatever_they_say)
{
	ck_assert(!pipe(pipe_ready));
	as(NOBODY, take_connections);
	as(OTHER, is_served);
	close(pipe_ready[0]);
	close(pipe_ready[1]);
}
END_TEST

/* ---- who does not read ---- */

/* As many sessions as the daemon gives one uid, kept until killed. */
static int take_sessions(void)
{
	for (int i = 0; i < 64; i++)
		if (join() < 0)
			break;
	if (write(pipe_ready[1], "x", 1) != 1)
		return 1;
	pause();
	return 0;
}

START_TEST(many_uids_together_leave_descriptors_for_a_session_of_another)
{
	pid_t pids[8];
	char byte;

	ck_assert(!pipe(pipe_ready));
	for (uint32_t i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = start_as(20000 + i, take_sessions);
		ck_assert_int_eq(read(pipe_ready[0], &byte, 1), 1);
	}
	as(OTHER, is_served);
	for (uint32_t i = 0; i < ARRAY_SIZE(pids); i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	close(pipe_ready[0]);
	close(pipe_ready[1]);
}
END_TEST

static int never_read(void)
{
	int fd = join();

	if (fd < 0)
		return 1;
	for (uint64_t i = 0; i < 2000000; i++)
		if (!say(fd, i + 2, WIRE_SPACE_LIST, &(struct wire_page_after){}))
			return errno == EPIPE || errno == ECONNRESET ? 0 : 2;
	return 3;
}

START_TEST(who_never_reads_is_dropped)
{
	as(NOBODY, never_read);
	as(OTHER, is_served);
}
END_TEST

static int stop_amidst(void)
{
	int fd = join();

	if (fd < 0)
		return 1;
	for (uint64_t i = 0; i < 10; i++)
		say(fd, i + 2, WIRE_SPACE_LIST, &(struct wire_page_after){});
	raise(SIGSTOP);
	return 0;
}

START_TEST(who_is_stopped_hurts_nobody_and_leaves_nothing)
{
	pid_t pids[8];

	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		pids[i] = start_as(NOBODY, stop_amidst);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		ck_assert_int_eq(waitpid(pids[i], NULL, WUNTRACED), pids[i]);
	as(OTHER, is_served);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}
END_TEST

static int close_half(void)
{
	for (int i = 0; i < 200; i++) {
		int fd = i & 1 ? dial() : join();

		if (fd < 0)
			return 1;
		if (i & 2)
			say(fd, 2, WIRE_STATUS, &(struct wire_empty){});
		shutdown(fd, i & 4 ? SHUT_WR : SHUT_RD);
		if (i & 8)
			say(fd, 3, WIRE_SPACE_LIST, &(struct wire_page_after){});
		close(fd);
		if (i % 50 == 49 && fork() == 0) /* sessions of one process are few */
			continue;
		else if (i % 50 == 49)
			return wait(NULL) < 0;
	}
	return 0;
}

START_TEST(half_open_connections_are_dropped)
{
	as(NOBODY, close_half);
	as(OTHER, is_served);
}
END_TEST

/* ---- uninvited descriptors ---- */

static ssize_t send_fds(int to, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	} control = {};
	char byte = 'x';
	struct iovec piece = {&byte, 1};
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(to, &header, MSG_NOSIGNAL);
}

static bool refused(ssize_t sent)
{
	return sent < 0 && (errno == EPERM || errno == EPIPE || errno == ECONNRESET);
}

static int send_253(void)
{
	int fds[RIGHTS_MAX];

	for (int i = 0; i < RIGHTS_MAX; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 40; i++) {
		int fd = i % 2 ? dial() : join();

		if (fd < 0)
			continue; /* its uid has too many, until they are closed */
		for (int j = 0; j < 10; j++)
			if (send_fds(fd, fds, RIGHTS_MAX) < 0 && !refused(-1) &&
			    errno != ETOOMANYREFS)
				return 2;
		close(fd);
	}
	return 0;
}

START_TEST(descriptors_that_nobody_asked_for_are_closed)
{
	as(NOBODY, send_253);
	as(OTHER, is_served);
}
END_TEST

/* A TCP socket whose last close waits, for a minute, for a reader that never reads. */
static int lingering(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static char bytes[1 << 16];
	socklen_t size = sizeof(address);
	int here = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(here, (struct sockaddr *)&address, sizeof(address)) || listen(here, 1) ||
	    getsockname(here, (struct sockaddr *)&address, &size) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 60},
		   sizeof(struct linger));
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return fd;
}

/* The daemon is stopped meanwhile: so its copy is the last there is when it gets to it. */
static int send_lingering(void)
{
	for (int i = 0; i < 12; i++) { /* more than there are workers */
		int socket = dial(), fd = lingering();

		if (socket < 0 || fd < 0)
			return 1;
		if (send_fds(socket, &fd, 1) < 0) {
			if (!refused(-1))
				return 2;
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
				   sizeof(struct linger));
		}
		close(fd);
	}
	if (write(pipe_ready[1], "x", 1) != 1)
		return 3;
	pause();
	return 0;
}

START_TEST(a_socket_that_lingers_holds_nobody_up)
{
	char byte;
	pid_t pid;

	ck_assert(!pipe(pipe_ready));
	kill(daemon_.pid, SIGSTOP);
	pid = start_as(NOBODY, send_lingering);
	ck_assert_int_eq(read(pipe_ready[0], &byte, 1), 1);
	kill(daemon_.pid, SIGCONT);
	alarm(30); /* less than any of them would linger, however patient the suite is */
	for (int i = 0; i < 20; i++)
		as(OTHER, is_served);
	/* Work for the workers. */
	peer_open_space(&victim, "a");
	ck_assert(
		peer_call(&victim, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 1}));
	alarm(0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pipe_ready[0]);
	close(pipe_ready[1]);
}
END_TEST

static void fuse_answer(int fd, uint64_t unique, int error, const void *data, size_t size)
{
	char buf[256];
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + size), .error = error, .unique = unique};

	memcpy(buf, &header, sizeof(header));
	if (size)
		memcpy(buf + sizeof(header), data, size);
	(void)!write(fd, buf, sizeof(header) + size);
}

/* A file system of one file, whose close is told of and never answered. */
static void fuse_serve(int fd)
{
	static char buf[1 << 17];
	const struct fuse_init_out init = {.major = 7,
					   .minor = 31,
					   .max_background = 12,
					   .max_write = 4096,
					   .time_gran = 1};
	const struct fuse_entry_out entry = {
		.nodeid = 2,
		.attr_valid = 60,
		.attr = {.ino = 2, .mode = S_IFREG | 0666, .nlink = 1}};
	struct fuse_attr_out attr = {.attr_valid = 60, .attr = {.nlink = 1}};
	const struct fuse_open_out opened = {.fh = 1};

	while (read(fd, buf, sizeof(buf)) > 0) {
		struct fuse_in_header in;

		memcpy(&in, buf, sizeof(in));
		attr.attr.ino = in.nodeid;
		attr.attr.mode = in.nodeid == 1 ? S_IFDIR | 0777 : S_IFREG | 0666;
		switch (in.opcode) {
		case FUSE_INIT:
			fuse_answer(fd, in.unique, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			fuse_answer(fd, in.unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			fuse_answer(fd, in.unique, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			fuse_answer(fd, in.unique, 0, &opened, sizeof(opened));
			break;
		case FUSE_FLUSH:
			(void)!write(pipe_ready[1], "f", 1);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		default:
			fuse_answer(fd, in.unique, -ENOSYS, NULL, 0);
		}
	}
}

static char fuse_folder[] = "/tmp/varbos-fuse-XXXXXX";

static int send_unanswered(void)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "%s/f", fuse_folder);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 1;
	for (int i = 0; i < 12; i++) { /* more than there are workers */
		int socket = dial();

		if (socket < 0 || (send_fds(socket, &file, 1) < 0 && !refused(-1)))
			return 2;
	}
	pause(); /* nobody but the daemon closes it */
	return 0;
}

START_TEST(a_file_whose_close_is_never_answered_holds_nobody_up)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t server, sender;
	char options[64], byte;

	ck_assert_ptr_nonnull(mkdtemp(fuse_folder));
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse);
	if (fuse < 0 ||
	    mount("varbos-test", fuse_folder, "fuse", MS_NOSUID | MS_NODEV, options)) {
		printf("SKIPPED: no file system can be served here: %s\n", strerror(errno));
		rmdir(fuse_folder);
		return;
	}
	ck_assert(!pipe(pipe_ready));
	server = fork();
	ck_assert_int_ge(server, 0);
	if (!server) {
		peer_leave_check();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fuse_serve(fuse);
		_exit(0);
	}
	close(fuse);
	sender = start_as(NOBODY, send_unanswered);
	ck_assert_int_eq(read(pipe_ready[0], &byte, 1), 1); /* one close waits */
	umount2(fuse_folder, MNT_DETACH);
	rmdir(fuse_folder);
	for (int i = 0; i < 20; i++)
		as(OTHER, is_served);
	/* Work for the workers. */
	peer_open_space(&victim, "a");
	ck_assert(
		peer_call(&victim, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 1}));
	kill(server, SIGKILL); /* with it every close returns */
	waitpid(server, NULL, 0);
	kill(sender, SIGKILL);
	waitpid(sender, NULL, 0);
	close(pipe_ready[0]);
	close(pipe_ready[1]);
}
END_TEST

/* ---- bytes ---- */

static uint64_t seed;

static uint64_t dice(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static size_t some_frame(char *buf, size_t size)
{
	enum wire_method method = (enum wire_method)(dice() % WIRE_METHODS_N);
	union wire_body body = {};
	int n;

	if (dice() % 4 == 0) {
		n = (int)(1 + dice() % 300);
		for (int i = 0; i < n; i++)
			buf[i] = (char)dice();
		return (size_t)n;
	}
	if (method == WIRE_SPACE_OPEN)
		body.space_open.name = wire_str("a");
	if (method == WIRE_BYE && dice() % 8)
		method = WIRE_PING;
	n = wire_encode_request(buf, size, 1 + dice() % 40, method, &body);
	for (uint64_t flips = dice() % 4; n > 0 && flips; flips--)
		buf[dice() % (uint64_t)n] ^= (char)(1 << dice() % 8);
	if (n > 4 && dice() % 8 == 0)
		n -= (int)(dice() % 4);
	return n > 0 ? (size_t)n : 1;
}

static int send_garbage(void)
{
	char buf[4096], answer[4096];
	uint32_t joins = 0;
	int fd = -1;

	for (int i = 0; i < 30000; i++) {
		if (fd < 0 || dice() % 500 == 0) {
			closep(&fd);
			fd = dice() % 2 && joins++ < 60 ? join() : dial();
			if (fd < 0)
				return 1;
		}
		if (send(fd, buf, some_frame(buf, sizeof(buf)), MSG_NOSIGNAL | MSG_DONTWAIT) <
			    0 &&
		    errno != EAGAIN) {
			close(fd);
			fd = -1;
			continue;
		}
		while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
			;
	}
	return 0;
}

START_TEST(random_and_mutated_frames_are_refused)
{
	const char *given = getenv("VARBOS_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("VARBOS_SEED=%llu\n", (unsigned long long)seed);
	for (int i = 0; i < 3; i++) {
		as(NOBODY, send_garbage);
		seed++;
	}
	as(OTHER, is_served);
}
END_TEST

static void add(Suite *suite, const char *name, void (*before)(void))
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, 25);
	tcase_add_checked_fixture(t, before, tear_down);
	tcase_add_test(t, who_never_says_hello_is_dropped);
	tcase_add_test(t, descriptors_that_nobody_asked_for_are_closed);
	tcase_add_test(t, a_socket_that_lingers_holds_nobody_up);
	tcase_add_test(t, random_and_mutated_frames_are_refused);
	if (before == set_up_old) /* elsewhere the kernel takes no descriptor at all */
		tcase_add_test(t, a_file_whose_close_is_never_answered_holds_nobody_up);
	if (before == set_up) {
		tcase_add_test(t, who_says_hello_while_the_daemon_is_stopped_is_heard);
		tcase_add_test(t, who_lets_many_wait_before_hello_is_told_which_limit_that_is);
		tcase_add_test(t, thousands_of_connections_of_one_uid_lock_no_other_out);
		tcase_add_test(t, connections_of_a_uid_are_limited_whatever_they_say);
		tcase_add_test(t, who_never_reads_is_dropped);
		tcase_add_test(t, who_is_stopped_hurts_nobody_and_leaves_nothing);
		tcase_add_test(t, half_open_connections_are_dropped);
	}
	suite_add_tcase(suite, t);
}

int main(void)
{
	Suite *s = suite_create("hostile_client");
	TCase *few;

	if (geteuid()) {
		printf("SKIPPED: only root can be other uids\n");
		return 77;
	}
	/* What a sanitizer keeps of freed memory to look at is not the daemon's: little of it. */
	setenv("ASAN_OPTIONS", "quarantine_size_mb=1:thread_local_quarantine_size_kb=64", 0);
	add(s, "today", set_up);
	add(s, "older-kernel", set_up_old);
	few = tcase_create("few-descriptors");
	tcase_set_timeout(few, 25);
	tcase_add_checked_fixture(few, set_up_few, tear_down);
	tcase_add_test(few, many_uids_together_leave_descriptors_for_a_session_of_another);
	suite_add_tcase(s, few);
	return suite_run(s);
}
