#include "daemon/server/server.h"
#include "daemon/server/waiting.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/size.h"
#include "daemon/server/allowance.h"
#include "daemon/server/cache_rows.h"
#include "daemon/server/client.h"
#include "daemon/server/closer.h"
#include "daemon/server/connection.h"
#include "daemon/server/exchange.h"
#include "daemon/server/fault.h"
#include "daemon/server/fetches.h"
#include "daemon/server/hoards.h"
#include "daemon/server/job.h"
#include "daemon/server/keep.h"
#include "daemon/server/listener.h"
#include "daemon/server/log.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/notify.h"
#include "daemon/server/pages.h"
#include "daemon/server/publisher.h"
#include "daemon/server/region.h"
#include "daemon/server/reload.h"
#include "daemon/server/report.h"
#include "daemon/server/request.h"
#include "daemon/server/restore.h"
#include "daemon/server/returns.h"
#include "daemon/server/scanner.h"
#include "daemon/server/scrub.h"
#include "daemon/server/sweeper.h"
#include "daemon/server/upgrade.h"
#include "daemon/server/waker.h"
#include "daemon/sys/guard.h"

enum {
	BEAT_MS = 1000,
	TRIM_UNITS = 64, /* given back by a space at one beat */
};

void server_apply(struct server *server)
{
	const struct change *changes;
	uint32_t n;

	if (hoards_behind(server))
		server_more(server);
	changes = core_changes(server->core, &n);
	if (!n)
		return;
	files_apply(&server->files, server->sys, server->core, changes, n);
	core_changes_clear(server->core);
	waker_look(server->waker);
}

static void backlog(uv_idle_t *idle)
{
	struct server *server = container_of(idle, struct server, backlog);
	struct stint stint;
	bool more;

	stint_begin(&stint, server, STINT_WAITING);
	if (server->retry || server->undoing)
		request_retry_now(server);
	stint_next(&stint, STINT_ENDS);
	more = client_end_some(server);
	more |= caches_reap(server);
	hoards_sweep(server);
	stint_next(&stint, STINT_FETCHES);
	more |= fetches_turn(server);
	stint_next(&stint, STINT_SCANS);
	more |= scanner_turn(server);
	stint_next(&stint, STINT_CACHES);
	more |= hoards_turn(server);
	stint_end(&stint);
	if (!more && !server->retry && !hoards_behind(server)) {
		server->backlog_active = false;
		uv_idle_stop(idle);
	}
}

uint64_t server_machine_ms(const struct server *server)
{
	return server->sys->table->machine_ns(server->sys) / 1000000;
}

void server_more(struct server *server)
{
	if (server->backlog_active || server->stopping)
		return;
	server->backlog_active = true;
	uv_idle_start(&server->backlog, backlog);
}

static void audit(const struct server *server, bool all)
{
#ifdef SERVER_AUDIT
	server_audit(server, all);
#else
	(void)server;
	(void)all;
#endif
}

static void beat(uv_timer_t *timer)
{
	struct server *server = container_of(timer, struct server, beat);
	struct stint stint;

	audit(server, false);
	stint_begin(&stint, server, STINT_BEAT);
	publisher_beat(server->publisher);
	notify_beat(server->notify);
	returns_take_all(server);
	reports_look(server);
	caches_look(server);
	request_retry(server); /* what waited for memory of the daemon's own */
	listener_resume(server);
	scrub_beat(server->scrub);
	sweeper_beat(server->sweeper);
	hoards_beat(server);
	fetches_beat(server);
	for (uint32_t slot = core_space_next(server->core, 0); slot != UINT32_MAX;
	     slot = core_space_next(server->core, slot + 1)) {
		struct plan *plan = NULL;

		if (!core_trimmable(server->core, slot))
			continue;
		if (core_trim(server->core, slot, TRIM_UNITS, &plan) || !plan)
			continue;
		server_apply(server);
		publisher_touch(server->publisher);
		job_start(server, plan, NULL, NULL); /* without memory: another time */
	}
	stint_end(&stint);
}

static void told_to_end(uv_signal_t *handle, int number)
{
	server_stop(handle->data, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static bool has_terminal(void)
{
	_cleanup_(closep) int fd =
		open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd >= 0;
}

/* Somebody asks for a reload, or the terminal is gone; we may have been told not to mind (nohup). */
static void hung_up(uv_signal_t *handle, int number)
{
	struct server *server = handle->data;

	if (server->had_terminal && !server->ignores_hangup && !has_terminal())
		server_stop(server, "its terminal is gone");
	else
		reload_start(server);
}

static void lifeline_ready(uv_poll_t *poll, int status, int events)
{
	struct server *server = container_of(poll, struct server, lifeline);
	char byte;
	ssize_t n;

	(void)status;
	(void)events;
	n = read(server->options->lifeline, &byte, 1);
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		server_stop(server, "the end of its lifeline");
}

/* ---- start ---- */

/* Every space, window and client takes descriptors: have as many as the system lets us. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_warning("the limit of descriptors stays low: %s", strerror(errno));
}

static int start_loop(struct server *server)
{
	int r;

	uv_idle_init(&server->loop, &server->backlog);
	waiting_init(server);
	connection_init_all(server);
	uv_timer_init(&server->loop, &server->beat);
	uv_timer_init(&server->loop, &server->upgrade_look);
	uv_signal_init(&server->loop, &server->sigterm);
	uv_signal_init(&server->loop, &server->sigint);
	uv_signal_init(&server->loop, &server->sighup);
	r = restore_rest(server);
	if (r)
		return r;
	server->sigterm.data = server;
	server->sigint.data = server;
	server->sighup.data = server;
	r = uv_signal_start(&server->sigterm, told_to_end, SIGTERM);
	if (!r)
		r = uv_signal_start(&server->sigint, told_to_end, SIGINT);
	if (!r)
		r = uv_signal_start(&server->sighup, hung_up, SIGHUP);
	if (!r)
		r = uv_timer_start(&server->beat, beat, BEAT_MS, BEAT_MS);
	if (!r)
		r = listener_start(server);
	if (!r && server->options->lifeline >= 0) {
		r = uv_poll_init(&server->loop, &server->lifeline, server->options->lifeline);
		if (!r)
			r = uv_poll_start(&server->lifeline, UV_READABLE, lifeline_ready);
	}
	return r;
}

static void say_ready(struct server *server)
{
	static const char ready[] = "READY\n";
	char region[PAGES_TEXT_MAX];

	log_info("serving %s: %s", server->config.socket.path, pages_format(server, region));
	if (!keep_lasts(server->keep))
		log_info("nobody holds its memory for another daemon: it ends with this one "
			 "(--keep)");
	if (!server->isolates)
		log_notice("running as an ordinary user: spaces are not isolated from other "
			   "programs of uid %u",
			   (unsigned)geteuid());
	notify_ready(server->notify);
	/* Who waits for it has been told by the first. */
	if (server->options->lifeline >= 0 && !keep_resumes(server->keep) &&
	    send(server->options->lifeline, ready, sizeof(ready) - 1, MSG_NOSIGNAL) < 0)
		log_warning("the lifeline cannot be told: %s", strerror(errno));
}

static int server_start(struct server *server)
{
	struct left left =
		server->options->left; /* its descriptors are the keep's from now on */
	int r;

	r = keep_new(&server->keep, &left,
		     &(struct keep_terms){.keeper_only = server->options->lifeline >= 0});
	if (r)
		return r;
	if (getrandom(&server->epoch, sizeof(server->epoch), 0) != sizeof(server->epoch))
		r = -EIO;
	server->epoch |= 1; /* never 0 */
	if (!r)
		r = guard_install();
	if (r) {
		log_error("no start: %s", strerror(-r));
		return r;
	}
	server->start_ns = server->sys->table->now_ns(server->sys);
	server->isolates = pages_isolate();
	r = listener_open(server);
	if (!r)
		r = restore_core(server);
	if (r)
		return r;
	r = inbox_new(&server->inbox);
	if (!r)
		r = closer_new(&server->closer, server);
	if (!r)
		r = scrub_new(&server->scrub, server);
	if (!r)
		r = sweeper_new(&server->sweeper, server);
	if (!r)
		r = waker_new(&server->waker, server);
	if (!r)
		r = hoards_new(&server->hoards, server);
	if (!r)
		r = exchange_new(&server->exchange, server);
	if (!r)
		r = fetches_new(&server->fetches, server);
	if (!r)
		r = scanner_new(&server->scanner, server);
	if (!r)
		r = notify_new(&server->notify, server);
	if (r) {
		log_error("no start: %s", strerror(-r));
		return r;
	}
	r = publisher_new(&server->publisher, server);
	if (!r)
		r = listener_serve(server);
	if (r)
		return r;
	r = start_loop(server);
	if (r)
		log_error("no start: %s", strerror(-r));
	return r;
}

/* ---- end ---- */

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void server_stop(struct server *server, const char *why)
{
	if (server->stopping)
		return;
	server->stopping = true;
	log_info("ending: %s", why);
	audit(server, true);
	notify_stopping(server->notify);
	notify_free(TAKE_PTR(server->notify));
	upgrade_stop(server);
	while (server->connections)
		connection_close(server->connections);
	request_forget_all(server);
	client_abandon_all(server);
	publisher_free(TAKE_PTR(server->publisher));
	closer_free(TAKE_PTR(server->closer));
	listener_stop(server);
	/* What is left are the server's own; jobs under way end by themselves. */
	uv_walk(&server->loop, close_handle, NULL);
}

static void server_deinit(struct server *server)
{
	int r;

	/* Of a start that failed, too: what is kept stays kept. */
	server->stopping = true;
	if (server->publisher)
		publisher_free(TAKE_PTR(server->publisher));
	notify_free(TAKE_PTR(server->notify));
	closer_free(TAKE_PTR(server->closer));
	client_abandon_all(server);
	listener_leave(server);
	listener_stop(server);
	uv_walk(&server->loop, close_handle, NULL);
	uv_run(&server->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&server->loop);
	assert(!r); /* every handle has been closed, or its memory would be used after this */
	hoards_free(server->hoards);
	exchange_free(server->exchange, server);
	fetches_free(server->fetches);
	scanner_free(server->scanner);
	if (server->keep)
		files_deinit(&server->files, server->sys, server->keep);
	core_free(server->core);
	ledger_close(&server->ledger, server->sys);
	closep(&server->ledger_left);
	free(server->lost_spaces);
	scrub_free(server->scrub);
	sweeper_free(server->sweeper);
	waker_free(server->waker);
	inbox_free(server->inbox);
	free(server->clients);
	quota_deinit(&server->quotas);
	listener_release(server);
	keep_free(server->keep);
	if (server->options->lifeline >= 0) {
		/* Started for someone, in a folder made for that: gone together. */
		char path[sizeof(server->config.socket.path)];

		strcpy(path, server->config.socket.path);
		rmdir(dirname(path));
	}
}

/* libuv aborts, without a word, where there is no descriptor for the first of what it opens. */
static int try_descriptors(void)
{
	int fds[16], n = 0, r = 0;

	while (n < (int)ARRAY_SIZE(fds) && !r) {
		fds[n] = eventfd(0, EFD_CLOEXEC);
		if (fds[n] < 0)
			r = -errno;
		else
			n++;
	}
	while (n)
		close(fds[--n]);
	return r;
}

int server_run(const struct options *options, struct sys *sys)
{
	struct sigaction hangup;
	struct server *server;
	int r;

	server = calloc(1, sizeof(*server));
	if (!server) {
		log_error("no start: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	server->options = options;
	server->config = options->config;
	server->sys = sys;
	server->ledger = LEDGER_NONE;
	server->ledger_left = -1;
	server->lock_fd = server->listen_fd = server->spare_fd = -1;
	server->parked_tail = &server->parked;
	list_init(&server->rings);
	signal(SIGPIPE, SIG_IGN);
	server->ignores_hangup =
		!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler == SIG_IGN;
	server->had_terminal = has_terminal();
	umask(077);
	raise_descriptors();

	r = try_descriptors();
	if (!r)
		r = uv_loop_init(&server->loop);
	if (r) {
		log_error("no start: %s", uv_strerror(r));
		free(server);
		return r;
	}
	r = server_start(server);
	if (!r) {
		say_ready(server);
		uv_run(&server->loop, UV_RUN_DEFAULT);
	} else if (options->lifeline >= 0 && !(server->keep && keep_resumes(server->keep))) {
		log_tell(options->lifeline, r == -ENOMEM ? FAULT_MEMORY : FAULT_UNAVAILABLE);
	}
	server_deinit(server);
	free(server);
	return r;
}
