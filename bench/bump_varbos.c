#include <stdio.h>
#include <unistd.h>

#include "bench/bump.h"

static struct varbos *vb;
static struct varbos_space *space;
static char name[32];

static void check(int r)
{
	if (r)
		contender_die("%s", varbos_error()->message);
}

void bump_start(const struct contender *contender)
{
	snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	check(varbos_connect(&vb, contender->socket));
	check(varbos_space_open(&space, vb, name,
				&(struct varbos_space_options){.limit = 512 << 20}));
}

void bump_make(struct bump *ret)
{
	check(varbos_arena_create(&ret->arena, varbos_in_space(space), NULL));
}

/* The arenas go with the space. */
void bump_stop(void)
{
	varbos_space_close(space);
	check(varbos_space_remove(vb, name, 0));
	varbos_disconnect(vb);
}
