/*
 * Verb - one thing that varbosctl does: a row of the table in main.c.
 *
 * A verb writes onto its page, which is shown only if the verb succeeds, or says on stderr why
 * not.
 */
#pragma once

#include "client/ctl/answer.h"
#include "client/ctl/options.h"
#include "client/ctl/table.h"

/* What a verb is run with. */
struct call {
	const struct options *options;
	const char *const *words; /* behind the verb's own; NULL after the last */
	const char *socket;
	int timeout_ms;
	struct table_page page;
	char notice[320]; /* for stderr, once the page is out */
	enum answer exit; /* and how it ends then */
};

struct verb {
	const char *name;
	const char *words; /* what it wants behind its name, [optional ones] last, or NULL */
	const char *text;
	uint64_t options; /* bits of the options it takes */
	enum answer (*run)(struct call *call);
};

enum answer verb_stats(struct call *call);
enum answer verb_stats_classes(struct call *call); /* of its --classes */
enum answer verb_status(struct call *call);
enum answer verb_spaces(struct call *call);
enum answer verb_spaces_create(struct call *call);
enum answer verb_spaces_remove(struct call *call);
enum answer verb_spaces_chmod(struct call *call);
enum answer verb_spaces_chown(struct call *call);
enum answer verb_caches(struct call *call);
enum answer verb_caches_create(struct call *call);
enum answer verb_caches_set(struct call *call);
enum answer verb_caches_remove(struct call *call);
enum answer verb_caches_show(struct call *call);
enum answer verb_keys(struct call *call);
enum answer verb_get(struct call *call);
enum answer verb_put(struct call *call);
enum answer verb_del(struct call *call);
enum answer verb_evict(struct call *call);
enum answer verb_budget_get(struct call *call);
enum answer verb_budget_set(struct call *call);
enum answer verb_clients(struct call *call);
enum answer verb_doctor(struct call *call);
enum answer verb_numa(struct call *call);
enum answer verb_who(struct call *call);
enum answer verb_ping(struct call *call);
enum answer verb_upgrade(struct call *call);
enum answer verb_sim(struct call *call);
enum answer verb_demo(struct call *call);
