#include <check.h>
#include <string.h>

#include "client/late.h"
#include "tests/suite.h"

static char buf[4096];

static const struct late_about about = {.space = 3, .cache = 4, .hash = UINT64_MAX - 5};

/* What gives back that answer. 0: nothing does. */
static int given_back(const struct wire_message *answer, struct wire_message *ret)
{
	enum wire_method method = WIRE_METHODS_N;
	struct wire_trouble trouble;
	int size = late_give_back(buf, sizeof(buf), 77, answer, about, &method);

	if (!size)
		return 0;
	ck_assert_int_eq(wire_decode_call(ret, buf, (uint32_t)size, &trouble), 0);
	ck_assert_uint_eq(ret->id, 77);
	ck_assert_int_eq(ret->method, method);
	return size;
}

START_TEST(a_request_says_what_giving_back_will_take)
{
	struct late_about said =
		late_about(WIRE_CACHE_FETCH,
			   &(struct wire_cache_fetch){.space = 3, .cache = 4, .hash = 5});

	ck_assert_uint_eq(said.space, 3);
	ck_assert_uint_eq(said.cache, 4);
	ck_assert_uint_eq(said.hash, 5);
	ck_assert_uint_eq(
		late_about(WIRE_EXTENT_ALLOC, &(struct wire_extent_alloc){.space = 8}).space,
		8);
	ck_assert_uint_eq(
		late_about(WIRE_CACHE_SEGMENT, &(struct wire_cache_segment){.space = 9}).space,
		9);
	ck_assert_uint_eq(late_about(WIRE_PING, &(struct wire_ping){.token = 9}).space, 0);
}
END_TEST

START_TEST(a_right_that_comes_too_late_is_given_up)
{
	struct wire_message answer = {.method = WIRE_CACHE_FETCH}, back = {};

	answer.body.cache_fetched = (struct wire_cache_fetched){.token = 99, .until = 5};
	ck_assert(given_back(&answer, &back));
	ck_assert_int_eq(back.method, WIRE_CACHE_FETCH_END);
	ck_assert_uint_eq(back.body.cache_fetch_end.space, about.space);
	ck_assert_uint_eq(back.body.cache_fetch_end.cache, about.cache);
	ck_assert_uint_eq(back.body.cache_fetch_end.hash, about.hash);
	ck_assert_uint_eq(back.body.cache_fetch_end.token, 99);
	ck_assert_uint_eq(back.body.cache_fetch_end.code, 0);
	wire_message_deinit(&back);
	/* Whoever has it, it is not this session. */
	answer.body.cache_fetched = (struct wire_cache_fetched){.generation = 3, .until = 5};
	ck_assert(!given_back(&answer, &back));
	answer.failed = true;
	ck_assert(!given_back(&answer, &back));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_late");
	TCase *tcase = tcase_create("late");

	tcase_add_test(tcase, a_request_says_what_giving_back_will_take);
	tcase_add_test(tcase, a_right_that_comes_too_late_is_given_up);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
