/*
 * Suite - running one as a whole program: the end of a main().
 */
#pragma once

#include <check.h>
#include <stdlib.h>

/* An exit status. $CK_VERBOSITY and $CK_FORK do what they do in libcheck. */
static inline int suite_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
