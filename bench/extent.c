/*
 * extent - 1 MiB from the daemon and back to it. The answer to the allocation is waited for,
 * the free is not.
 */
#include <varbos/varbos.h>

#include "bench/harness.h"

enum { EXTENT_BYTES = 1 << 20 };

static void alloc_and_free(struct harness *harness, void *userdata)
{
	struct varbos_space *space = userdata;
	void *memory = varbos_alloc(space, EXTENT_BYTES);

	if (!memory || varbos_free(space, memory))
		harness_die(harness, "extent: %s", varbos_error()->message);
}

void bench_extent(struct harness *harness)
{
	struct varbos_space *space;

	if (varbos_space_open(&space, harness->vb, "bench-extent",
			      &(struct varbos_space_options){.limit = 64 << 20}))
		harness_die(harness, "extent: %s", varbos_error()->message);
	harness_compare(harness, "extent", EXTENT_BYTES, alloc_and_free, space);

	if (varbos_frees_refused(harness->vb))
		harness_die(harness, "extent: the daemon refused %llu frees",
			    (unsigned long long)varbos_frees_refused(harness->vb));
	varbos_space_close(space);
	if (varbos_space_remove(harness->vb, "bench-extent", 0))
		harness_die(harness, "extent: %s", varbos_error()->message);
}
