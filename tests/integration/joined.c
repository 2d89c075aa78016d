#include "tests/integration/joined.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

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

void expect(int r, enum varbos_code code, const char *which)
{
	ck_assert_msg(r == (int)code, "%s instead of %s: %s", varbos_code_name(r),
		      varbos_code_name((int)code), varbos_error()->message);
	ck_assert_int_eq(varbos_error()->code, code);
	if (which)
		ck_assert_str_eq(varbos_error()->which, which);
}

void expect_null(const void *memory, enum varbos_code code, const char *which)
{
	ck_assert_ptr_null(memory);
	expect((int)varbos_error()->code, code, which);
}

struct varbos_space *open_other(struct varbos **ret, const char *name, uint32_t flags)
{
	struct varbos_space *other;

	ck_assert_int_eq(varbos_connect(ret, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&other, *ret, name,
					   &(struct varbos_space_options){.flags = flags}),
			 0);
	return other;
}

struct varbos_space_info info_of(const char *name)
{
	struct varbos_space_info *infos, found = {};
	size_t n;

	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, name))
			found = infos[i];
	free(infos);
	return found;
}
