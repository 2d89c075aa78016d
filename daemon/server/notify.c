/*
 * Not sd_notify(3): that waits for room in the manager's queue, and everybody would wait with it.
 */
#include "daemon/server/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <uv.h>

#include "base/base.h"
#include "base/size.h"
#include "daemon/server/keep.h"
#include "daemon/server/pages.h"
#include "daemon/server/server.h"

enum { STATUS_MAX = 160 };

enum state { STATE_STARTING, STATE_READY, STATE_RELOADING, STATE_STOPPING };

struct notify {
	struct server *server;
	enum state state;
	bool state_owed;         /* there was no room for it */
	char status[STATUS_MAX]; /* as last sent */
	uv_timer_t watchdog;
};

static void status_write(const struct server *server, char *ret, size_t size)
{
	char region[PAGES_TEXT_MAX], used[SIZE_TEXT_MAX];
	struct core_view view = core_view(server->core);

	size_format(used, sizeof(used), view.used);
	snprintf(ret, size, "%s, %s used; spaces %u, sessions %u", pages_format(server, region),
		 used, view.spaces, view.sessions);
}

static uint64_t monotonic_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The state goes with the status, so that the first one is there when `systemctl start` returns. */
static void send_state(struct notify *notify)
{
	char text[STATUS_MAX + 64], status[STATUS_MAX];

	switch (notify->state) {
	case STATE_STARTING:
		return;
	case STATE_READY:
		status_write(notify->server, status, sizeof(status));
		snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
		break;
	case STATE_RELOADING:
		snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
			 monotonic_usec());
		break;
	case STATE_STOPPING:
		snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=Ending");
		break;
	}
	notify->state_owed = !keep_say(notify->server->keep, text);
	if (notify->state == STATE_READY && !notify->state_owed)
		strcpy(notify->status, status);
}

static void set_state(struct notify *notify, enum state state)
{
	if (!notify || !keep_has_manager(notify->server->keep))
		return;
	notify->state = state;
	send_state(notify);
}

void notify_ready(struct notify *notify)
{
	set_state(notify, STATE_READY);
}

void notify_reloading(struct notify *notify)
{
	set_state(notify, STATE_RELOADING);
}

void notify_stopping(struct notify *notify)
{
	set_state(notify, STATE_STOPPING);
}

void notify_beat(struct notify *notify)
{
	char text[STATUS_MAX + 16], status[STATUS_MAX];

	if (!keep_has_manager(notify->server->keep))
		return;
	if (notify->state_owed)
		send_state(notify);
	if (notify->state != STATE_READY)
		return;
	status_write(notify->server, status, sizeof(status));
	if (!strcmp(status, notify->status))
		return;
	snprintf(text, sizeof(text), "STATUS=%s", status);
	if (keep_say(notify->server->keep, text))
		strcpy(notify->status, status);
}

static void watchdog(uv_timer_t *timer)
{
	keep_say(container_of(timer, struct notify, watchdog)->server->keep, "WATCHDOG=1");
}

static void watchdog_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct notify, watchdog));
}

int notify_new(struct notify **ret, struct server *server)
{
	struct notify *notify;
	uint64_t usec = 0;

	notify = calloc(1, sizeof(*notify));
	if (!notify)
		return -ENOMEM;
	notify->server = server;
	uv_timer_init(&server->loop, &notify->watchdog);
	if (keep_has_manager(server->keep) && sd_watchdog_enabled(0, &usec) > 0) {
		uint64_t half_ms = usec / 2000 ? usec / 2000 : 1;

		uv_timer_start(&notify->watchdog, watchdog, half_ms, half_ms);
	}
	*ret = notify;
	return 0;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	uv_close((uv_handle_t *)&notify->watchdog, watchdog_closed);
}
