#include "tests/integration/joined.h"

#include <check.h>
#include <stdlib.h>

struct test_daemon daemon_;
struct varbos *vb;
struct varbos_space *space;

void set_up(void)
{
	setenv("VARBOS_QUIET", "1", 1);
	test_daemon_start(&daemon_, "64M", NULL);
	ck_assert_int_eq(varbos_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s",
					   &(struct varbos_space_options){.limit = 32 << 20}),
			 0);
}

void tear_down(void)
{
	varbos_disconnect(vb);
	test_daemon_stop(&daemon_);
}

uint64_t used(void)
{
	struct varbos_space_info *infos;
	uint64_t bytes;
	size_t n;

	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	ck_assert_uint_eq(n, 1);
	bytes = infos[0].used;
	free(infos);
	return bytes;
}
