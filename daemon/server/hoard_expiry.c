#include "daemon/server/hoard_expiry.h"

#include "base/base.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/server.h"

enum {
	STEPS = 64,
	FLOOR_MS = 100,
};

static void time_is_up(uv_timer_t *timer);

/* At that time, but not at once. */
static void arm(struct hoards *hoards, uint64_t at, uint64_t now)
{
	struct hoard_expiry *expiry = &hoards->expiry;

	if (at == WHEEL_NEVER || (at >= expiry->armed && expiry->armed > now) ||
	    hoards->server->stopping)
		return;
	expiry->armed = u64_max(at, now + FLOOR_MS);
	uv_timer_start(&expiry->timer, time_is_up, expiry->armed - now, 0);
}

static void time_is_up(uv_timer_t *timer)
{
	struct hoards *hoards = container_of(timer, struct hoards, expiry.timer);
	uint64_t now = server_machine_ms(hoards->server);

	hoards->expiry.armed = WHEEL_NEVER;
	list_for_each(at, &hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone)
			continue;
		if (cache_expire_next(hoard->cache) <= now)
			hoard->expiring = true;
		else
			hoard_expiry_arm(hoard, now);
		hoard_stir(hoard);
	}
}

void hoard_expiry_init(struct hoard_expiry *expiry, uv_loop_t *loop)
{
	expiry->armed = WHEEL_NEVER;
	uv_timer_init(loop, &expiry->timer);
}

void hoard_expiry_arm(struct hoard *hoard, uint64_t now)
{
	arm(hoard->server->hoards, cache_expire_next(hoard->cache), now);
}

void hoard_expires(struct hoard *hoard, uint64_t expiry)
{
	struct hoards *hoards = hoard->server->hoards;

	if (expiry < hoards->expiry.armed)
		arm(hoards, expiry, server_machine_ms(hoard->server));
}

void hoard_expire(struct hoard *hoard)
{
	uint64_t now = server_machine_ms(hoard->server);

	hoard->expiring = cache_expire(hoard->cache, now, STEPS) == CACHE_MORE;
	if (!hoard->expiring)
		hoard_expiry_arm(hoard, now);
}
