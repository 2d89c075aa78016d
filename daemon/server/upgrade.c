#include "daemon/server/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/keep_over.h"
#include "daemon/server/log.h"
#include "daemon/server/program.h"
#include "daemon/server/server.h"

enum {
	TRIAL_MS = 10000, /* for each of its words */
	LOOK_MS = 5,
	JOBS_MS = 3000, /* for jobs to end, and whoever keeps descriptors to have them */
	SAID_MAX = 160,
};

struct upgrade {
	uv_work_t work;
	struct request *request;
	bool looks;        /* for jobs to end */
	uint64_t until_ms; /* by the loop's clock */
	/* Of the trial: */
	const char *flag;       /* what it was told last */
	int error;              /* it could not be made, or: */
	int status;             /* as of waitpid() */
	char said[SAID_MAX];    /* its first line */
	char version[SAID_MAX]; /* that of `--version` */
};

/* ---- the trial, by a worker ---- */

static uint64_t now_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* What it says, until it has said all; false: that takes too long. */
static bool listen_to(struct upgrade *upgrade, int fd, uint64_t until)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	uint64_t now;
	size_t n = 0;

	while ((now = now_ms()) < until) {
		char more[64];
		ssize_t got;

		if (poll(&poll_fd, 1, (int)(until - now)) <= 0)
			continue;
		got = read(fd, more, sizeof(more));
		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got && n < SAID_MAX - 1; i++)
			upgrade->said[n++] = more[i];
	}
	upgrade->said[n] = '\0';
	upgrade->said[strcspn(upgrade->said, "\n")] = '\0';
	return now < until;
}

/* Who says nothing more need not end. */
static bool ends_before(uint64_t until, pid_t pid, int *ret_status)
{
	while (waitpid(pid, ret_status, mutant(upgrade_patient) ? 0 : WNOHANG) != pid) {
		if (now_ms() >= until)
			return false;
		usleep(LOOK_MS * 1000);
	}
	return true;
}

static void try_with(struct upgrade *upgrade, char *const *argv)
{
	_cleanup_(closep) int ours = -1;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	uint64_t until = now_ms() + TRIAL_MS;
	sigset_t none;
	int pair[2];
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC)) {
		upgrade->error = -errno;
		return;
	}
	ours = pair[0];
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDERR_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	/* What takes too long goes with all that it has started. */
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	upgrade->error =
		-posix_spawn(&pid, program_path(), &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	if (upgrade->error)
		return;
	if (listen_to(upgrade, ours, until) && ends_before(until, pid, &upgrade->status))
		return;
	upgrade->error = -ETIMEDOUT;
	kill(-pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static bool has_failed(const struct upgrade *upgrade)
{
	return upgrade->error || !WIFEXITED(upgrade->status) || WEXITSTATUS(upgrade->status);
}

/* With what this one was told, as it stands by now in files: it would end over what is wrong there. */
static void try_configuration(struct upgrade *upgrade)
{
	char *const *mine = program_arguments();
	_cleanup_(freep) char **argv = NULL;
	size_t n = 0;

	while (mine[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv) {
		upgrade->error = -ENOMEM;
		return;
	}
	argv[0] = mine[0];
	argv[1] = (char[]){"--check-config"};
	memcpy(argv + 2, mine + 1, n * sizeof(*argv)); /* with NULL */
	try_with(upgrade, argv);
}

static void try_it(uv_work_t *work)
{
	struct upgrade *upgrade = container_of(work, struct upgrade, work);
	char *const argv[] = {program_arguments()[0], (char[]){"--version"}, NULL};

	upgrade->flag = "--version";
	try_with(upgrade, argv);
	strcpy(upgrade->version, upgrade->said);
	/* Who has a lifeline reads no folder; and may not have it in the trial. */
	if (has_failed(upgrade) || upgrade->request->server->options->lifeline >= 0 ||
	    mutant(upgrade_unchecked))
		return;
	upgrade->flag = "--check-config";
	try_configuration(upgrade);
}

/* ---- on the loop ---- */

static void refuse(struct upgrade *upgrade, const char *format, ...) _printf_(2, 3);

static void refuse(struct upgrade *upgrade, const char *format, ...)
{
	struct request *request = upgrade->request;
	char why[SAID_MAX + 128];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	log_error("no upgrade: %s", why);
	request->server->upgrade = NULL;
	request_finish(request, fault_set(request, FAULT_SYSTEM, "upgrade", "%s", why), NULL,
		       0);
	free(upgrade);
}

void upgrade_stop(struct server *server)
{
	if (server->upgrade && server->upgrade->looks)
		refuse(server->upgrade, "it is ending");
}

/* Comes back only if it could not be. */
static void put_in_place(struct upgrade *upgrade)
{
	struct server *server = upgrade->request->server;
	int r;

	log_notice("upgrading to %s: %s", program_path(), upgrade->version);
	r = keep_hand_over(server->keep, server->options->passed_fd);
	if (r) {
		refuse(upgrade, "what is kept cannot be handed over: %s",
		       r == -EBUSY ? "whoever keeps it for the next does not answer"
				   : strerror(-r));
		return;
	}
	if (server->ignores_hangup)
		signal(SIGHUP, SIG_IGN);
	execv(program_path(), program_arguments());
	r = errno;
	keep_take_back(server->keep, server->options->passed_fd);
	if (server->ignores_hangup)
		uv_signal_start(&server->sighup, server->sighup.signal_cb, SIGHUP);
	refuse(upgrade, "%s cannot be executed: %s", program_path(), strerror(r));
}

static bool is_under_way(const struct server *server)
{
	return server->loop.active_reqs.count || !keep_is_settled(server->keep);
}

static void look(uv_timer_t *timer)
{
	struct server *server = container_of(timer, struct server, upgrade_look);
	struct upgrade *upgrade = server->upgrade;

	if (!upgrade)
		uv_timer_stop(timer);
	if (!upgrade || (is_under_way(server) && uv_now(&server->loop) < upgrade->until_ms))
		return;
	uv_timer_stop(timer);
	put_in_place(upgrade);
}

static void tried(uv_work_t *work, int status)
{
	struct upgrade *upgrade = container_of(work, struct upgrade, work);
	struct server *server = upgrade->request->server;

	(void)status;
	if (server->stopping || upgrade->request->client->ending)
		refuse(upgrade, "it is ending");
	else if (upgrade->error)
		refuse(upgrade, "%s %s: %s", program_path(), upgrade->flag,
		       strerror(-upgrade->error));
	else if (has_failed(upgrade))
		refuse(upgrade, "%s %s ended with %s %d: %s", program_path(), upgrade->flag,
		       WIFEXITED(upgrade->status) ? "status" : "signal",
		       WIFEXITED(upgrade->status) ? WEXITSTATUS(upgrade->status)
						  : WTERMSIG(upgrade->status),
		       upgrade->said);
	else {
		upgrade->until_ms = uv_now(&server->loop) + JOBS_MS;
		upgrade->looks = true;
		uv_timer_start(&server->upgrade_look, look, 0, LOOK_MS);
	}
}

int run_upgrade(struct request *request, const union wire_body *params)
{
	struct server *server = request->server;
	uint32_t uid = request->client->credentials.uid;
	struct upgrade *upgrade;

	(void)params;
	if (uid && uid != geteuid() && !mutant(upgrade_by_anybody))
		return fault_set(request, FAULT_PERMISSION, "uid",
				 "an upgrade is for root and uid %u, not for uid %u",
				 (unsigned)geteuid(), (unsigned)uid);
	if (server->upgrade)
		return fault_set(request, FAULT_IN_USE, "upgrade", "one is under way");
	upgrade = calloc(1, sizeof(*upgrade));
	if (!upgrade)
		return -ENOMEM;
	upgrade->request = request_keep(request);
	if (!upgrade->request) {
		free(upgrade);
		return -ENOMEM;
	}
	server->upgrade = upgrade;
	uv_queue_work(&server->loop, &upgrade->work, try_it, tried);
	return REQUEST_LATER;
}
