#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/sys/guard.h"
#include "daemon/sys/zero.h"

enum { SIZE = 256 << 10 };

START_TEST(zeros_are_stored_into_the_range_and_nowhere_else)
{
	_cleanup_(closep) int fd = memfd_create("zero", MFD_CLOEXEC);
	unsigned char *memory;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(memory != MAP_FAILED);
	memset(memory, 0xa5, SIZE);
	ck_assert_int_eq(zero_range(fd, 12, 64 << 10, 64 << 10), 0);
	/* of a page that is larger than the range, the rest stays */
	ck_assert_int_eq(zero_range(fd, 16, (192 << 10) + 100, 4096 + 7), 0);
	for (uint32_t i = 0; i < SIZE; i++) {
		bool zero = (i >= 64 << 10 && i < 128 << 10) ||
			    (i >= (192 << 10) + 100 && i < (192 << 10) + 100 + 4096 + 7);

		ck_assert_msg(memory[i] == (zero ? 0 : 0xa5), "byte %u is %u", i, memory[i]);
	}
	munmap(memory, SIZE);
}
END_TEST

START_TEST(a_page_that_is_not_there_is_a_result_not_a_death)
{
	_cleanup_(closep) int fd = memfd_create("zero", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 64 << 10), 0);
	ck_assert_int_eq(zero_range(fd, 12, 32 << 10, 64 << 10), -EFAULT);
	ck_assert_int_eq(zero_range(fd, 12, UINT64_MAX - 4096, 4096), -EINVAL);
	ck_assert_int_eq(zero_range(-1, 12, 0, 4096), -EBADF);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_zero");
	TCase *tcase = tcase_create("zero");
	SRunner *runner = srunner_create(suite);
	int failed;

	guard_install();
	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, zeros_are_stored_into_the_range_and_nowhere_else);
	tcase_add_test(tcase, a_page_that_is_not_there_is_a_result_not_a_death);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
