#include "daemon/server/stint.h"

#include "base/base.h"
#include "daemon/server/server.h"

const char *stint_name(enum stint_kind kind)
{
	static const char *const names[] = {
#define STINT(name, text, what) [STINT_##name] = text,
#include "daemon/server/stint.def"
#undef STINT
	};

	return names[kind];
}

static uint64_t now_ns(const struct server *server)
{
	return server->sys->table->now_ns(server->sys);
}

/* To ask what was spent takes a system call: so it is asked seldom, and a stint may seem longer. */
static void look(const struct server *server, struct stints *stints, uint64_t now)
{
	if (now - stints->looked_ns < STINT_VAGUE_NS)
		return;
	stints->looked_ns = now;
	stints->spent_ns = server->sys->table->spent_ns(server->sys);
}

static void note(const struct stint *stint, uint64_t now)
{
	const struct server *server = stint->server;
	struct stints *stints = &stint->server->stints;
	uint64_t ns = now - stint->begun_ns;

	if (ns > STINT_NS)
		ns = u64_min(ns, server->sys->table->spent_ns(server->sys) - stints->spent_ns);
	stints->of[stint->kind].n++;
	stints->of[stint->kind].late += ns > STINT_LATE_NS;
	stints->of[stint->kind].longest_ns = u64_max(stints->of[stint->kind].longest_ns, ns);
}

void stint_begin(struct stint *stint, struct server *server, enum stint_kind kind)
{
	*stint = (struct stint){
		.server = server,
		.outer = server->stints.now,
		.kind = kind,
		.begun_ns = now_ns(server),
	};
	if (!stint->outer)
		look(server, &server->stints, stint->begun_ns);
	server->stints.now = stint;
}

void stint_end(struct stint *stint)
{
	note(stint, now_ns(stint->server));
	stint->server->stints.now = stint->outer;
}

void stint_next(struct stint *stint, enum stint_kind kind)
{
	uint64_t now = now_ns(stint->server);

	note(stint, now);
	look(stint->server, &stint->server->stints, now);
	stint->kind = kind;
	stint->begun_ns = now;
	stint->over = false;
}

bool stint_lasts(const struct server *server)
{
	struct stint *stint = server->stints.now;

	if (stint && !stint->over && !mutant(stint_uncut))
		stint->over = now_ns(server) - stint->begun_ns >= STINT_NS;
	return !stint || !stint->over;
}
