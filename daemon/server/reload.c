#include "daemon/server/reload.h"

#include <errno.h>
#include <string.h>

#include "daemon/config/settings.h"
#include "daemon/server/allowance.h"
#include "daemon/server/log.h"
#include "daemon/server/notify.h"
#include "daemon/server/server.h"

struct reload {
	uv_work_t work;
	struct server *server;
	struct settings settings;
	int result;
};

/* One key that was told another value than it has. True if it has that value now. */
static bool apply_key(struct server *server, const struct settings *settings,
		      const struct key *key)
{
	char origin[ORIGIN_TEXT_MAX], was[VALUE_TEXT_MAX], is[VALUE_TEXT_MAX];

	origin_print(origin, &settings->origins[key - keys]);
	value_print(was, key, &server->config);
	value_print(is, key, &settings->config);
	if (key->when == KEY_START && !mutant(reload_changes_all)) {
		log_warning("%s cannot change while running: %s is kept, not %s (%s)",
			    key->name, was, is, origin);
		return false;
	}
	value_copy(key, &server->config, &settings->config);
	log_notice("%s: %s -> %s (%s)", key->name, was, is, origin);
	return true;
}

void reload_apply(struct server *server, const struct settings *settings)
{
	unsigned changed = 0, kept = 0;

	if (settings->n_errors && !mutant(reload_half)) {
		log_error("reload: the configuration stays as it was: %u thing%s wrong",
			  settings->n_errors, settings->n_errors == 1 ? " is" : "s are");
		return;
	}
	for (size_t i = 0; i < KEYS_N; i++) {
		if (!value_differs(&keys[i], &server->config, &settings->config))
			continue;
		if (apply_key(server, settings, &keys[i]))
			changed++;
		else
			kept++;
	}
	allowance_apply(server);
	log_limit((enum log_level)(LOG_LEVEL_ERROR + server->config.log.level));
	log_notice("reloaded: %u changed, %u kept", changed, kept);
}

static void read_layers(uv_work_t *work)
{
	struct reload *reload = container_of(work, struct reload, work);

	reload->result = options_read(reload->server->options, &reload->settings);
}

static void have_read(uv_work_t *work, int status)
{
	struct reload *reload = container_of(work, struct reload, work);
	struct server *server = reload->server;

	server->reload = NULL;
	/* Cancelled at the end, and only then. */
	if (!server->stopping && !status) {
		options_log(&reload->settings);
		if (reload->result < 0)
			log_error("reload: the configuration stays as it was: %s",
				  strerror(-reload->result));
		else
			reload_apply(server, &reload->settings);
	}
	settings_deinit(&reload->settings);
	free(reload);
	if (server->stopping)
		return;
	notify_ready(server->notify);
	if (server->reload_again) {
		server->reload_again = false;
		reload_start(server);
	}
}

void reload_start(struct server *server)
{
	struct reload *reload;
	int r;

	if (server->stopping)
		return;
	if (server->reload) {
		server->reload_again = true;
		return;
	}
	notify_reloading(server->notify);
	reload = calloc(1, sizeof(*reload));
	r = reload ? 0 : -ENOMEM;
	if (!r) {
		reload->server = server;
		r = uv_queue_work(&server->loop, &reload->work, read_layers, have_read);
	}
	if (r) {
		log_error("reload: the configuration stays as it was: %s", strerror(-r));
		free(reload);
		notify_ready(server->notify);
		return;
	}
	server->reload = reload;
}
