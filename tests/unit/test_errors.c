/*
 * Error codes stand in three places: errors.def, the public enum, and what people read.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "proto/wire.h"
#include "tests/suite.h"

static const struct {
	const char *name;
	uint64_t number;
	int status;
	const char *text;
	enum varbos_code code;
} errors[] = {
#define ERROR(name, number, status, text) {#name, number, status, text, VARBOS_E_##name},
#include "proto/errors.def"
#undef ERROR
};

START_TEST(the_public_codes_are_those_of_the_table)
{
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
		ck_assert_uint_eq(errors[i].number, errors[i].code);
	/* None of the enum is missing in the table: both are dense and end alike. */
	ck_assert_uint_eq(VARBOS_OK, 0);
	ck_assert_uint_eq(ARRAY_SIZE(errors), VARBOS_E_DEADLOCK);
}
END_TEST

/* The compiler, too, looks for a code that the table lacks: -Wswitch-enum. */
START_TEST(every_public_code_has_a_row)
{
	unsigned rows = 0;

	for (int code = VARBOS_E_MEMORY; code <= VARBOS_E_DEADLOCK; code++)
		switch ((enum varbos_code)code) {
		case VARBOS_OK:
			ck_abort();
#define ERROR(name, number, status, text) case VARBOS_E_##name:
#include "proto/errors.def"
#undef ERROR
			rows++;
		}
	ck_assert_uint_eq(rows, ARRAY_SIZE(errors));
}
END_TEST

START_TEST(numbers_are_dense_and_never_zero)
{
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
		ck_assert_uint_eq(errors[i].number, i + 1);
}
END_TEST

START_TEST(every_code_has_a_name_and_an_exit_status)
{
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		ck_assert_str_eq(wire_error_name(errors[i].number), errors[i].name);
		ck_assert_str_ne(errors[i].text, "");
		ck_assert_int_gt(errors[i].status, 0);
		ck_assert_int_lt(errors[i].status, 10);
	}
	ck_assert_ptr_null(wire_error_name(0));
	ck_assert_ptr_null(wire_error_name(ARRAY_SIZE(errors) + 1));
	ck_assert_ptr_null(wire_error_name(UINT64_MAX));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("errors");
	TCase *tests = tcase_create("errors");

	tcase_add_test(tests, the_public_codes_are_those_of_the_table);
	tcase_add_test(tests, every_public_code_has_a_row);
	tcase_add_test(tests, numbers_are_dense_and_never_zero);
	tcase_add_test(tests, every_code_has_a_name_and_an_exit_status);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
