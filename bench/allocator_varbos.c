#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "bench/allocator.h"
#include "bench/anonymous.h"

struct varbos_space *allocator_space;

static struct varbos *vb;
static char name[32];

void allocator_start(const struct contender *contender)
{
	snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	if (varbos_connect(&vb, contender->socket) ||
	    varbos_space_open(&allocator_space, vb, name,
			      &(struct varbos_space_options){.limit = 160 << 20}))
		contender_die("%s", varbos_error()->message);
}

void allocator_stop(void)
{
	if (varbos_frees_refused(vb))
		contender_die("the daemon refused %llu frees",
			      (unsigned long long)varbos_frees_refused(vb));
	varbos_space_close(allocator_space);
	if (varbos_space_remove(vb, name, 0))
		contender_die("%s", varbos_error()->message);
	varbos_disconnect(vb);
}

/* What the space holds, be it in use or not, and what the library has for itself. */
uint64_t allocator_committed(void)
{
	struct varbos_space_info *infos;
	uint64_t committed = 0;
	size_t n;

	if (varbos_space_list(vb, &infos, &n))
		contender_die("%s", varbos_error()->message);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, name))
			committed = infos[i].committed;
	free(infos);
	return committed + anonymous_bytes();
}

size_t allocator_usable(void *memory)
{
	return varbos_usable_size(allocator_space, memory);
}
