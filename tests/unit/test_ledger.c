/*
 * The file of the ledger: found again as it was left, or not believed at all.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/ledger.h"
#include "tests/fake_sys.h"
#include "tests/suite.h"

static const struct record_capacity capacity = {{
	[RECORD_SPACE] = 8,
	[RECORD_WINDOW] = 64,
	[RECORD_PAGES] = 64,
	[RECORD_SESSION] = 1000,
	[RECORD_EXTENT] = 1 << 20,
}};

static struct fake_sys fake;
static struct sys *sys;
static struct ledger ledger;
static struct ledger_region region;

static void set_up(void)
{
	fake_sys_init(&fake, (uint64_t)1 << 30);
	sys = &fake.sys;
	region = (struct ledger_region){.page_shift = 21, .asked = {.size = 77}};
	strcpy(region.why, "because");
	ck_assert_int_eq(ledger_new(&ledger, sys, &region, &capacity), 0);
}

static void tear_down(void)
{
	ledger_close(&ledger, sys);
	ledger_close(&ledger, sys); /* once more is none */
	ck_assert_uint_eq(fake.files, 0);
	fake_sys_deinit(&fake);
}

static int copy_of(const struct ledger *of)
{
	int fd = fcntl(of->fd, F_DUPFD_CLOEXEC, 3);

	ck_assert_int_ge(fd, 3);
	return fd;
}

START_TEST(it_is_found_again_with_its_region_and_its_records)
{
	int fd = copy_of(&ledger);
	uint32_t layout;

	record_session_put(ledger.records, 700,
			   &(struct session_record){.word = RECORD_VALID | 5, .birth = 6});
	ledger_close(&ledger, sys);
	ck_assert_int_eq(ledger_open(&ledger, sys, fd, &layout), 0);
	ck_assert_uint_eq(layout, LEDGER_LAYOUT);
	ck_assert_int_eq(ledger.fd, fd);
	ck_assert(!memcmp(ledger_region(&ledger), &region, sizeof(region)));
	ck_assert(!memcmp(records_capacity(ledger.records), &capacity, sizeof(capacity)));
	ck_assert(records_valid(ledger.records, RECORD_SESSION, 700));
}
END_TEST

START_TEST(what_was_never_stored_into_is_not_looked_at)
{
	struct record_capacity used;
	uint64_t bytes, after;

	record_session_put(ledger.records, 5, &(struct session_record){.word = RECORD_VALID});
	for (uint32_t i = 0; i <= 300; i++) /* the lowest slot first, as ever */
		record_extent_put(ledger.records, i, (struct extent_owner){.tag = 1},
				  (struct extent_run){.count = 1});
	ck_assert_int_eq(sys->table->blocks(sys, ledger.fd, &bytes), 0);
	ck_assert_int_eq(ledger_used(&ledger, sys, &used), 0);
	ck_assert_uint_gt(used.slots[RECORD_SESSION], 5);
	ck_assert_uint_gt(used.slots[RECORD_EXTENT], 300);
	ck_assert_uint_lt(used.slots[RECORD_EXTENT], 1024);
	ck_assert_uint_lt(used.slots[RECORD_SESSION], 1000);
	for (enum record_kind kind = 0; kind < RECORD_KINDS; kind++)
		for (uint32_t i = 0; i < used.slots[kind]; i++)
			ck_assert(!records_valid(ledger.records, kind, i) ||
				  kind == RECORD_SESSION || kind == RECORD_EXTENT);
	ck_assert_int_eq(sys->table->blocks(sys, ledger.fd, &after), 0);
	ck_assert_uint_eq(after, bytes);
}
END_TEST

START_TEST(a_head_that_is_another_in_any_bit_that_counts_is_not_believed)
{
	unsigned char *head = ledger.memory;

	for (unsigned byte = 0; byte < 24; byte++) {
		struct ledger other;
		uint32_t layout;
		int fd = copy_of(&ledger);

		head[byte] ^= 0x40;
		ck_assert_int_eq(ledger_open(&other, sys, fd, &layout), LEDGER_E_LAYOUT);
		head[byte] ^= 0x40;
		close(fd);
	}
	ck_assert_uint_eq(fake.files, 1);
}
END_TEST

START_TEST(what_fails_leaves_nothing)
{
	struct record_capacity used;
	struct ledger other;
	uint32_t layout;

	fake_sys_fail(&fake, FAKE_LEDGER_CREATE, 1, ENOMEM);
	ck_assert_int_eq(ledger_new(&other, sys, &region, &capacity), -ENOMEM);
	fake_sys_fail(&fake, FAKE_LEDGER_ADOPT, 1, EMFILE);
	ck_assert_int_eq(ledger_open(&other, sys, ledger.fd, &layout), -EMFILE);
	fake_sys_fail(&fake, FAKE_DATA_END, 3, EIO);
	ck_assert_int_eq(ledger_used(&ledger, sys, &used), -EIO);
	ck_assert_uint_eq(fake.files, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ledger");
	TCase *t = tcase_create("ledger");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, it_is_found_again_with_its_region_and_its_records);
	tcase_add_test(t, what_was_never_stored_into_is_not_looked_at);
	tcase_add_test(t, a_head_that_is_another_in_any_bit_that_counts_is_not_believed);
	tcase_add_test(t, what_fails_leaves_nothing);
	suite_add_tcase(s, t);
	return suite_run(s);
}
