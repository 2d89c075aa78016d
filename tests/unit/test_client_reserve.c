#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "client/reserve.h"
#include "proto/layout.h"
#include "tests/suite.h"

#define GIB ((uint64_t)1 << 30)

/* Is there nothing mapped at all? */
static bool is_free(char *place)
{
	void *memory = mmap(place, 4096, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (memory != place)
		return false;
	munmap(memory, 4096);
	return true;
}

START_TEST(a_range_fits_pages_of_any_size_and_ends_where_it_should)
{
	char *base;

	for (uint32_t n = 1; n <= 64; n *= 4) {
		ck_assert_int_eq(reserve_new(&base, NULL, n), 0);
		ck_assert_uint_eq((uintptr_t)base % GIB, 0);
		ck_assert(!is_free(base));
		ck_assert(!is_free(base + n * WINDOW_BYTES_MAX - 4096));
		reserve_free(base, n);
		ck_assert(is_free(base));
		ck_assert(is_free(base + n * WINDOW_BYTES_MAX - 4096));
	}
	reserve_free(NULL, 1);
}
END_TEST

START_TEST(the_same_place_is_had_again_if_it_is_free)
{
	char *first, *again;

	ck_assert_int_eq(reserve_new(&first, NULL, 2), 0);
	reserve_free(first, 2);
	ck_assert_int_eq(reserve_new(&again, first, 2), 0);
	ck_assert_ptr_eq(again, first);
	ck_assert_int_eq(reserve_new(&again, first, 1), 0);
	ck_assert_ptr_ne(again, first);
	ck_assert(again + WINDOW_BYTES_MAX <= first || again >= first + 2 * WINDOW_BYTES_MAX);
	reserve_free(again, 1);
	reserve_free(first, 2);
}
END_TEST

START_TEST(children_do_not_inherit_it)
{
	char *base;
	int status;
	pid_t pid;

	ck_assert_int_eq(reserve_new(&base, NULL, 1), 0);
	pid = fork();
	if (!pid)
		_exit(!is_free(base));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	reserve_free(base, 1);
}
END_TEST

START_TEST(more_than_the_machine_addresses_is_refused)
{
	char *base = NULL;

	ck_assert_int_lt(reserve_new(&base, NULL, 1 << 20), 0);
	ck_assert_ptr_null(base);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client_reserve");
	TCase *c = tcase_create("reserve");

	tcase_add_test(c, a_range_fits_pages_of_any_size_and_ends_where_it_should);
	tcase_add_test(c, the_same_place_is_had_again_if_it_is_free);
	tcase_add_test(c, children_do_not_inherit_it);
	tcase_add_test(c, more_than_the_machine_addresses_is_refused);
	suite_add_tcase(s, c);
	return suite_run(s);
}
