#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/ctl/sim_belady.h"
#include "client/ctl/sim_cache.h"
#include "client/ctl/sim_capacity.h"
#include "client/ctl/sim_curve.h"
#include "client/ctl/sim_index.h"
#include "client/ctl/sim_replay.h"
#include "client/ctl/sim_survey.h"
#include "client/ctl/sim_trace.h"
#include "tests/suite.h"

static uint64_t state;

/* splitmix64 */
static uint64_t number(uint64_t below)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % below;
}

static void seed(void)
{
	const char *said = getenv("VARBOS_SEED");

	state = said ? strtoull(said, NULL, 0) : (uint64_t)getpid() * 1000003;
	printf("VARBOS_SEED=%llu\n", (unsigned long long)state);
}

static const struct trace_format *format_of(const char *name)
{
	for (size_t i = 0; i < TRACE_FORMATS; i++)
		if (!strcmp(trace_formats[i].name, name))
			return &trace_formats[i];
	ck_abort_msg("no format %s", name);
}

/* ---- traces */

static char complaint[TRACE_COMPLAINT_MAX];

struct opened {
	struct sim_trace *trace;
	int fd;
};

/* These bytes, as a file. */
static struct opened file_open(const char *format, bool sizes, const void *bytes, size_t size)
{
	struct trace_options options = {
		.format = format_of(format), .sizes = sizes, .again = true};
	struct opened opened = {.fd = memfd_create("trace", MFD_CLOEXEC)};
	static char path[64];

	ck_assert_int_ge(opened.fd, 0);
	ck_assert_int_eq(write(opened.fd, bytes, size), size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", opened.fd);
	ck_assert_int_eq(trace_new(&opened.trace, path, &options, complaint), 0);
	return opened;
}

static void opened_close(struct opened *opened)
{
	trace_free(opened->trace);
	close(opened->fd);
}

/* All that can be read, a few at once; what the last call returned is in *ret_r. */
static size_t all_read(struct sim_trace *trace, struct sim_request *ret, size_t max, int *ret_r)
{
	size_t sum = 0, n;

	do {
		*ret_r = trace_read(trace, ret + sum, u64_min(max - sum, 3), &n);
		if (!*ret_r)
			sum += n;
	} while (!*ret_r && n && sum < max);
	return sum;
}

START_TEST(each_format_gives_keys_sizes_and_times_to_live)
{
	static const struct {
		const char *format, *bytes;
		size_t size;
		uint64_t sizes[3], ttls[3];
	} cases[] = {
		{"u32be", "\0\0\0\1\0\0\0\2\0\0\0\1", 12, {1, 1, 1}, {0}},
		{"u64be",
		 "\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\1",
		 24,
		 {1, 1, 1},
		 {0}},
		{"lines", "a,3\nb,0,7\r\na", 12, {3, 1, 1}, {0, 7, 0}},
		{"lines", "a\r\nb\r\na\r", 8, {1, 1, 1}, {0}}, /* cut before its \n */
		{"oracleGeneral",
		 "tim1keykeyke\2\1\0\0nextnext"
		 "tim2keykeyky\0\0\0\0nextnext"
		 "tim3keykeyke\3\0\0\0nextnext",
		 72,
		 {258, 1, 3},
		 {0}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct opened opened =
			file_open(cases[i].format, false, cases[i].bytes, cases[i].size);
		struct sim_request found[4];
		int r;

		/* Twice, for it can be read again. */
		for (int times = 0; times < 2; times++) {
			ck_assert_uint_eq(all_read(opened.trace, found, 4, &r), 3);
			ck_assert_int_eq(r, 0);
			ck_assert_uint_eq(trace_position(opened.trace), cases[i].size);
			ck_assert_uint_eq(trace_length(opened.trace), cases[i].size);
			ck_assert_uint_eq(found[0].hash, found[2].hash);
			ck_assert_uint_ne(found[0].hash, found[1].hash);
			for (size_t j = 0; j < 3; j++) {
				ck_assert_uint_eq(found[j].size, cases[i].sizes[j]);
				ck_assert_uint_eq(found[j].ttl, cases[i].ttls[j]);
			}
			ck_assert_int_eq(trace_rewind(opened.trace), 0);
		}
		opened_close(&opened);
	}
}
END_TEST

START_TEST(what_is_malformed_is_refused_with_its_position)
{
	static const struct {
		const char *format;
		bool sizes;
		const char *bytes;
		size_t size, good; /* requests before it */
		const char *says;
	} cases[] = {
		{"u32be", false, "\0\0\0\1\0\0\0\2\0\0\0", 11, 2,
		 "record 3, at byte 8: it ends after 3 of its 4 bytes"},
		{"u64be", false, "\0\0\0\1\0\0\0\1\0", 9, 1,
		 "record 2, at byte 8: it ends after 1 of its 8 bytes"},
		{"oracleGeneral", false, "only 23 bytes are in it", 23, 0,
		 "record 1, at byte 0: it ends after 23 of its 24 bytes"},
		{"lines", false, "a\n\nb\n", 5, 1, "line 2, column 1: there is no key"},
		{"lines", false, "a\r\n\r\nb\n", 7, 1, "line 2, column 1: there is no key"},
		{"lines", false, ",5\n", 3, 0, "line 1, column 1: there is no key"},
		{"lines", false, "a,5\nb,\n", 7, 1, "line 2, column 3: there is no size"},
		{"lines", false, "a,5,\n", 5, 0, "line 1, column 5: there is no time to live"},
		{"lines", false, "a,5 \n", 5, 0, "line 1, column 4: this is no digit"},
		{"lines", false, "a,-5\n", 5, 0, "line 1, column 3: this is no digit"},
		{"lines", false, "a,5,x", 5, 0, "line 1, column 5: this is no digit"},
		{"lines", false, "a,5,6,7\n", 8, 0, "line 1, column 6: there is more than"},
		{"lines", false, "a,5,6,\n", 7, 0, "line 1, column 6: there is more than"},
		{"lines", false, "a,1099511627777\n", 16, 0, "the size is above 1 TiB"},
		{"lines", false, "a,99999999999999999999999\n", 26, 0, "the size is above"},
		{"lines", false, "a,1,1099511627777\n", 18, 0, "time to live is above 2^40"},
		{"lines", true, "a,1\nbb\n", 7, 1,
		 "line 2, column 3: there is no size, and --b"},
		{"u32be", false,
		 "\xfd"
		 "7zXZ\0\0\4",
		 8, 0, "it is packed: xz -dc /proc"},
		{"lines", false,
		 "\x28\xb5\x2f\xfd"
		 "....",
		 8, 0, "it is packed: zstd -dc"},
		{"u32be", false, "\x1f\x8b\x08\0\0\0\0\0\0\3..", 12, 0,
		 "it is packed: gzip -dc"},
		{"lines", false, "BZh91AY&SY\n", 11, 0, "it is packed: bzip2 -dc"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct opened opened = file_open(cases[i].format, cases[i].sizes,
						 cases[i].bytes, cases[i].size);
		struct sim_request found[8];
		int r;

		ck_assert_uint_eq(all_read(opened.trace, found, 8, &r), cases[i].good);
		ck_assert_int_eq(r, TRACE_E_MALFORMED);
		ck_assert_msg(strstr(complaint, cases[i].says), "'%s', not '%s'", complaint,
			      cases[i].says);
		opened_close(&opened);
	}
}
END_TEST

START_TEST(a_number_that_begins_as_gzip_does_is_a_key)
{
	struct opened opened =
		file_open("u32be", false, "\x1f\x8b\x08\x08\x1f\x8b\x08\x08\1\2\3\4", 12);
	struct sim_request found[4];
	int r;

	ck_assert_uint_eq(all_read(opened.trace, found, 4, &r), 3);
	ck_assert_int_eq(r, 0);
	opened_close(&opened);
}
END_TEST

START_TEST(lines_of_any_length_up_to_the_bound_are_read_whole)
{
	static char text[3 << 20];
	struct sim_request *found = calloc(1 << 20, sizeof(*found));
	size_t n = 0, size = 0;
	struct opened opened;
	int r;

	seed();
	while (size + TRACE_LINE_MAX < sizeof(text)) {
		size_t length = number(8) ? number(200) : number(TRACE_LINE_MAX);

		memset(text + size, 'a' + (char)(n % 26), length + 1);
		text[size + length + 1] = '\n';
		size += length + 2 <= TRACE_LINE_MAX ? length + 2 : 0;
		n += length + 2 <= TRACE_LINE_MAX;
	}
	opened = file_open("lines", false, text, size);
	ck_assert_uint_eq(all_read(opened.trace, found, 1 << 20, &r), n);
	ck_assert_int_eq(r, 0);
	opened_close(&opened);

	memset(text, 'x', sizeof(text));
	text[1] = text[2 + TRACE_LINE_MAX - 1] = '\n'; /* the longest that there may be */
	opened = file_open("lines", false, text, sizeof(text));
	ck_assert_uint_eq(all_read(opened.trace, found, 9, &r), 2);
	ck_assert_int_eq(r, TRACE_E_MALFORMED);
	ck_assert_ptr_nonnull(strstr(complaint, "line 3, column 65536: the line is too long"));
	opened_close(&opened);
	free(found);
}
END_TEST

/* A pipe with these bytes in it as standard input, and this as what may be kept. */
static int pipe_open(struct sim_trace **ret, const void *bytes, size_t size, uint64_t kept_max)
{
	struct trace_options options = {
		.format = format_of("u32be"), .again = true, .kept_max = kept_max};
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(write(ends[1], bytes, size), size);
	close(ends[1]);
	ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
	close(ends[0]);
	return trace_new(ret, "-", &options, complaint);
}

START_TEST(what_came_through_a_pipe_is_read_again_and_kept_up_to_a_limit)
{
	_cleanup_(trace_freep) struct sim_trace *trace = NULL;
	struct sim_request found[4];
	int r;

	ck_assert_int_eq(pipe_open(&trace, "abcdefghabcd", 12, 12), 0);
	for (int times = 0; times < 3; times++) {
		ck_assert_uint_eq(all_read(trace, found, 4, &r), 3);
		ck_assert_int_eq(r, 0);
		ck_assert_uint_eq(found[0].hash, found[2].hash);
		ck_assert_int_eq(trace_rewind(trace), 0);
	}
	trace_free(TAKE_PTR(trace));

	ck_assert_int_eq(pipe_open(&trace, "abcdefghabcd", 12, 11), 0);
	ck_assert_uint_eq(all_read(trace, found, 4, &r), 0);
	ck_assert_int_eq(r, TRACE_E_LARGE);
	ck_assert_ptr_nonnull(strstr(complaint, "more than the 11 B"));
}
END_TEST

START_TEST(what_no_trace_can_be_read_from_is_refused)
{
	struct trace_options options = {.format = format_of("u32be")};
	struct sim_trace *trace;

	ck_assert_int_eq(trace_new(&trace, "/nowhere/trace", &options, complaint),
			 TRACE_E_ABSENT);
	ck_assert_ptr_nonnull(strstr(complaint, "/nowhere/trace: No such file"));
	ck_assert_int_eq(trace_new(&trace, "/", &options, complaint), TRACE_E_USAGE);
	ck_assert_str_eq(complaint, "/: it is a folder");
}
END_TEST

/* ---- capacities */

START_TEST(a_capacity_is_a_number_a_size_or_a_share)
{
	static const struct {
		const char *text;
		bool bytes;
		uint64_t all, wanted; /* 0: refused */
	} cases[] = {
		{"1", false, 0, 1},
		{"2048", false, 0, 2048},
		{"1152921504606846976", false, 0, 1152921504606846976},
		{"64M", true, 0, 64 << 20},
		{"2GiB", true, 0, (uint64_t)2 << 30},
		{"10%", false, 20484, 2048}, /* of web07 */
		{"1%", false, 20484, 204},
		{"1%", false, 13756, 137}, /* web12 */
		{"10%", false, 13756, 1375},
		{"1%", false, 76349, 763}, /* orm-busy */
		{"10%", false, 76349, 7634},
		{"1%", false, 86466, 864}, /* orm-night */
		{"10%", false, 86466, 8646},
		{"10%", true, 99, 9},
		{"1%", false, 99, 1}, /* not 0 */
		{"0.5%", false, 1000, 5},
		{"0.000001%", false, 100000000, 1},
		{"100%", false, 76343, 76343},
		{"100.000000%", false, 7, 7},
		{"33.3%", false, 1000, 333},
		{"0", false, 0, 0},
		{"0M", true, 0, 0},
		{"64M", false, 0, 0},
		{"0%", false, 10, 0},
		{"0.0000001%", false, 10, 0},
		{"100.1%", false, 10, 0},
		{"4294967297%", false, 10, 0},
		{"10%%", false, 10, 0},
		{"%", false, 10, 0},
		{".5%", false, 10, 0},
		{"5.%", false, 10, 0},
		{"1e3", false, 0, 0},
		{"-1", false, 0, 0},
		{"", false, 0, 0},
		{"1152921504606846977", false, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_capacity capacity;
		const char *wrong = capacity_parse(cases[i].text, cases[i].bytes, &capacity);

		ck_assert_msg(!wrong == !!cases[i].wanted, "%s: %s", cases[i].text, wrong);
		if (!wrong)
			ck_assert_uint_eq(capacity_of(&capacity, cases[i].all),
					  cases[i].wanted);
	}
}
END_TEST

/* ---- the index */

START_TEST(a_key_has_its_number_until_it_is_removed)
{
	enum { KEYS = 3000 };
	_cleanup_(sim_index_deinit) struct sim_index index = {0};
	static uint64_t hashes[KEYS];
	static bool there[KEYS];

	seed();
	ck_assert_int_eq(sim_index_grow(&index, 10), 0);
	for (uint32_t i = 0; i < KEYS;
	     i++) /* many that belong to one place, and its neighbours */
		hashes[i] =
			number(2) ? number(UINT64_MAX) << 12 | number(4) : number(UINT64_MAX);
	for (int step = 0; step < 200000; step++) {
		uint32_t i = (uint32_t)number(step < 1000 ? 10 : KEYS);

		if (step == 1000)
			ck_assert_int_eq(sim_index_grow(&index, KEYS), 0);
		if (sim_index_find(&index, hashes[i]) != (there[i] ? i : SIM_NONE))
			ck_abort_msg("step %d: key %u", step, i);
		if (there[i])
			sim_index_remove(&index, i);
		else
			sim_index_put(&index, hashes[i], i);
		there[i] = !there[i];
	}
}
END_TEST

/* ---- caches */

static const struct policy *policy_of(const char *name)
{
	const struct policy *policy;
	uint32_t id;

	if (!strcmp(name, "belady"))
		return &policy_belady;
	policy = policy_named(name, &id);
	ck_assert_ptr_nonnull(policy);
	return policy;
}

/* Through a cache of this policy; how many miss. */
static uint64_t misses_of(const char *name, uint64_t capacity, bool bytes,
			  const struct sim_request *requests, size_t n)
{
	_cleanup_(sim_survey_deinit) struct sim_survey survey = {.future = true};
	_cleanup_(sim_cache_deinit) struct sim_cache cache = {0};
	struct sim_cache_options options = {
		.policy = policy_of(name),
		.capacity = capacity,
		.bytes = bytes,
		.keys = UINT64_MAX,
	};
	const char *wrong;

	ck_assert_int_eq(sim_survey_add(&survey, requests, n / 2), 0);
	ck_assert_int_eq(sim_survey_add(&survey, requests + n / 2, n - n / 2), 0);
	options.next = survey.next;
	ck_assert_int_eq(sim_cache_init(&cache, &options), 0);
	for (size_t i = 0; i < n; i++) {
		if (sim_cache_run(&cache, &requests[i], 1))
			ck_abort_msg("no memory");
		if (i % 64 && i + 1 < n)
			continue;
		wrong = sim_cache_check(&cache);
		if (wrong)
			ck_abort_msg("%s: %s", name, wrong);
	}
	return cache.misses;
}

/* Keys that are letters, each as large as the digit behind it says, if one does. */
static size_t requests_of(const char *text, struct sim_request *ret)
{
	size_t n = 0;

	for (; *text; text++) {
		if (*text >= '0' && *text <= '9')
			ret[n - 1].size = (uint64_t)(*text - '0');
		else if (*text != ' ')
			ret[n++] = (struct sim_request){
				.hash = (uint64_t)*text * 0x9e3779b97f4a7c15ULL, .size = 1};
	}
	return n;
}

static uint64_t letters_miss(const char *name, uint64_t capacity, bool bytes, const char *text)
{
	struct sim_request requests[64];
	size_t n = requests_of(text, requests);

	return misses_of(name, capacity, bytes, requests, n);
}

START_TEST(policies_miss_where_a_pencil_says_so)
{
	ck_assert_uint_eq(letters_miss("lru", 2, false, "ab a c a b"), 4);
	ck_assert_uint_eq(letters_miss("fifo", 2, false, "ab a c a b"), 5);
	ck_assert_uint_eq(letters_miss("belady", 2, false, "ab a c a b"), 4);
	ck_assert_uint_eq(letters_miss("belady", 2, false, "abc abc abc"), 6);
	ck_assert_uint_eq(letters_miss("lru", 2, false, "abc abc abc"), 9);
}
END_TEST

START_TEST(what_is_larger_than_the_capacity_is_a_miss_and_empties_nothing)
{
	for (uint32_t id = 0; id < POLICIES; id++) {
		const char *name = policy_at(id)->name;

		ck_assert_uint_eq(letters_miss(name, 4, true, "a1 b3 x5 a1 b3 x5 x5 a1 b3"), 5);
		ck_assert_uint_eq(letters_miss(name, 5, true, "x5 x5 a1 x5"), 3);
	}
	ck_assert_uint_eq(letters_miss("belady", 4, true, "a1 b3 x5 a1 b3 x5 a1 b3"), 4);
}
END_TEST

START_TEST(room_is_made_for_as_much_as_the_newcomer_takes)
{
	/* c takes the room of both; without bytes it is one of three. */
	ck_assert_uint_eq(letters_miss("lru", 4, true, "a2 b2 c3 a2 b2"), 5);
	ck_assert_uint_eq(letters_miss("lru", 4, true, "a2 b2 c1 b2 a2"), 4);
	ck_assert_uint_eq(letters_miss("lru", 3, false, "a2 b2 c3 a2 b2"), 3);
	/* A hit does not change the size: a is 1 still, and stays beside b. */
	ck_assert_uint_eq(letters_miss("lru", 4, true, "a1 a4 b3 a4 b3"), 2);
}
END_TEST

START_TEST(what_has_a_time_to_live_is_gone_when_it_is_over)
{
	static const struct {
		uint64_t ttl, misses;
	} cases[] = {{0, 1}, {1, 6}, {2, 3}, {3, 2}, {5, 2}, {6, 1}, {TRACE_NUMBER_MAX, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sim_request requests[6];

		for (size_t j = 0; j < 6; j++)
			requests[j] =
				(struct sim_request){.hash = 7, .size = 1, .ttl = cases[i].ttl};
		for (uint32_t id = 0; id < POLICIES; id++)
			ck_assert_uint_eq(misses_of(policy_at(id)->name, 3, false, requests, 6),
					  cases[i].misses);
	}
}
END_TEST

START_TEST(what_expires_leaves_its_room_to_others)
{
	struct sim_request requests[6];

	/* a would be the youngest, and b go for c, if a had not made room. */
	requests_of("b a b c d b", requests);
	ck_assert_uint_eq(misses_of("lru", 2, false, requests, 4), 3);
	requests[1].ttl = 2; /* gone before c comes */
	requests[3].hash = requests[2].hash;
	requests_of("c", &requests[4]);
	ck_assert_uint_eq(misses_of("fifo", 2, false, requests, 6), 3);
}
END_TEST

START_TEST(all_whose_time_is_over_at_once_are_gone_at_once)
{
	enum { MANY = 200, WHEN = 2 * MANY };
	struct sim_request requests[WHEN + 1];

	for (uint64_t i = 0; i <= WHEN; i++)
		requests[i] = (struct sim_request){
			.hash = (i < MANY   ? i + 1
				 : i < WHEN ? MANY
					    : 1) *
				0x9e3779b97f4a7c15ULL,
			.size = 1,
			.ttl = WHEN - i,
		};
	/* Each of the many once; and in the end whichever it is. */
	for (uint64_t i = 0; i < MANY; i++) {
		requests[WHEN].hash = requests[i].hash;
		ck_assert_uint_eq(misses_of("lru", MANY, false, requests, WHEN + 1), MANY + 1);
	}
}
END_TEST

START_TEST(what_has_a_time_to_live_may_be_more_than_there_was_room_for)
{
	enum { REQUESTS = 150000 }; /* of a size, there is room for 2^16 at first */
	_cleanup_(sim_cache_deinit) struct sim_cache cache = {0};
	struct sim_cache_options options = {
		.policy = &policy_lru, .capacity = REQUESTS, .bytes = true, .keys = UINT64_MAX};

	ck_assert_int_eq(sim_cache_init(&cache, &options), 0);
	for (uint64_t i = 0; i < REQUESTS; i++) {
		struct sim_request request = {
			.hash = (i + 1) * 0x9e3779b97f4a7c15ULL, .size = 1, .ttl = REQUESTS};

		if (sim_cache_run(&cache, &request, 1))
			ck_abort_msg("no memory");
	}
	ck_assert_uint_eq(cache.used, REQUESTS);
	ck_assert_ptr_null(sim_cache_check(&cache));
}
END_TEST

/* A list and no cleverness: what lru and fifo miss, with sizes and times to live. */
static uint64_t naive_misses(bool lru, uint64_t capacity, const struct sim_request *requests,
			     size_t n)
{
	struct {
		uint64_t hash, size, end;
	} list[256];
	size_t count = 0;
	uint64_t misses = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t used = 0;
		size_t at, kept = 0;

		for (at = 0; at < count; at++)
			if (list[at].end > i)
				list[kept++] = list[at];
		count = kept;
		for (at = 0; at < count && list[at].hash != requests[i].hash; at++)
			;
		if (at < count) {
			__typeof__(list[0]) hit = list[at];

			memmove(&list[at], &list[at + 1], (count - 1 - at) * sizeof(hit) * lru);
			if (lru)
				list[count - 1] = hit;
			continue;
		}
		misses++;
		if (requests[i].size > capacity)
			continue;
		for (at = 0; at < count; at++)
			used += list[at].size;
		for (at = 0; used + requests[i].size > capacity; at++)
			used -= list[at].size;
		memmove(&list[0], &list[at], (count - at) * sizeof(list[0]));
		count -= at;
		list[count].hash = requests[i].hash;
		list[count].size = requests[i].size;
		list[count++].end = requests[i].ttl ? i + requests[i].ttl : UINT64_MAX;
	}
	return misses;
}

START_TEST(with_sizes_and_times_to_live_they_miss_as_a_list_does)
{
	struct sim_request requests[600];

	seed();
	for (int round = 0; round < 60; round++) {
		uint64_t capacity = 1 + number(100), keys = 1 + number(60);

		for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
			requests[i] = (struct sim_request){
				.hash = (number(keys) + 1) * 0x9e3779b97f4a7c15ULL,
				.size = 1 + number(number(4) ? 4 : 120),
				.ttl = number(3) ? 0 : number(80),
			};
		ck_assert_uint_eq(misses_of("lru", capacity, true, requests, 600),
				  naive_misses(true, capacity, requests, 600));
		ck_assert_uint_eq(misses_of("fifo", capacity, true, requests, 600),
				  naive_misses(false, capacity, requests, 600));
		/* The others hold their invariants. */
		for (uint32_t id = 0; id < POLICIES; id++)
			misses_of(policy_at(id)->name, capacity, true, requests, 600);
		misses_of("belady", capacity, true, requests, 600);
	}
}
END_TEST

START_TEST(an_object_beyond_what_a_policy_counts_takes_its_room_in_full)
{
	struct sim_request requests[] = {
		{.hash = 1, .size = (uint64_t)1 << 30}, {.hash = 2, .size = (uint64_t)1 << 30},
		{.hash = 1, .size = (uint64_t)1 << 30}, {.hash = 3, .size = 1},
		{.hash = 2, .size = (uint64_t)1 << 30}, {.hash = 1, .size = (uint64_t)1 << 30},
	};

	ck_assert_uint_eq(misses_of("lru", (uint64_t)2 << 30, true, requests, 3), 2);
	ck_assert_uint_eq(misses_of("lru", (uint64_t)2 << 30, true, requests, 6), 5);
	for (uint32_t id = 0; id < POLICIES; id++)
		ck_assert_uint_eq(misses_of(policy_at(id)->name, ((uint64_t)2 << 30) + 1, true,
					    requests, 6),
				  3);
}
END_TEST

/* ---- Belady */

/* The fewest misses, of all that could go at each: `held` are keys, a bit each. */
static uint32_t fewest(const uint8_t *keys, size_t n, uint32_t held, uint32_t capacity)
{
	uint32_t least = UINT32_MAX, bit;

	if (!n)
		return 0;
	bit = 1u << keys[0];
	if (held & bit)
		return fewest(keys + 1, n - 1, held, capacity);
	if ((uint32_t)__builtin_popcount(held) < capacity)
		return 1 + fewest(keys + 1, n - 1, held | bit, capacity);
	for (uint32_t rest = held; rest; rest &= rest - 1) {
		uint32_t misses =
			1 + fewest(keys + 1, n - 1, (held & ~(rest & -rest)) | bit, capacity);

		least = misses < least ? misses : least;
	}
	return least;
}

START_TEST(nobody_misses_less_than_belady_and_somebody_as_little)
{
	seed();
	for (int round = 0; round < 400; round++) {
		uint32_t capacity = 1 + (uint32_t)number(3), n_keys = 2 + (uint32_t)number(4);
		struct sim_request requests[14];
		uint8_t keys[14];

		for (size_t i = 0; i < 14; i++) {
			keys[i] = (uint8_t)number(n_keys);
			requests[i] = (struct sim_request){.hash = keys[i] * 3u + 1, .size = 1};
		}
		ck_assert_uint_eq(misses_of("belady", capacity, false, requests, 14),
				  fewest(keys, 14, 0, capacity));
	}
}
END_TEST

START_TEST(a_survey_counts_keys_and_bytes_and_finds_what_comes_next)
{
	_cleanup_(sim_survey_deinit) struct sim_survey survey = {.future = true};
	static const uint32_t next[] = {2, 4, 3, SURVEY_NEVER, SURVEY_NEVER};
	struct sim_request requests[5];

	requests_of("a2 b3 a9 a1 b3", requests);
	ck_assert_int_eq(sim_survey_add(&survey, requests, 3), 0);
	ck_assert_int_eq(sim_survey_add(&survey, requests + 3, 2), 0);
	ck_assert_uint_eq(survey.requests, 5);
	ck_assert_uint_eq(survey.keys, 2);
	ck_assert_uint_eq((uint64_t)survey.bytes, 5); /* as large as they came first */
	sim_survey_end(&survey);
	ck_assert_mem_eq(survey.next, next, sizeof(next));
}
END_TEST

START_TEST(a_survey_of_many_keys_grows)
{
	enum { N = 100000 };
	_cleanup_(sim_survey_deinit) struct sim_survey survey = {.future = true};
	struct sim_request *requests = calloc(N, sizeof(*requests));

	for (uint64_t i = 0; i < N; i++)
		requests[i] = (struct sim_request){.hash = i % 70000 * 0x9e3779b97f4a7c15ULL,
						   .size = 1};
	for (size_t i = 0; i < N; i += 1000)
		ck_assert_int_eq(sim_survey_add(&survey, requests + i, 1000), 0);
	ck_assert_uint_eq(survey.keys, 70000);
	for (uint32_t i = 0; i < N; i++)
		if (survey.next[i] != (i < 30000 ? i + 70000 : SURVEY_NEVER))
			ck_abort_msg("after request %u comes %u", i, survey.next[i]);
	free(requests);
}
END_TEST

/* ---- a trace that changes */

static int changed_fd = -1;
static off_t changed_size; /* that it gets when it is read again */

off_t __real_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence);

off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
	if (whence == SEEK_SET && changed_fd >= 0)
		ck_assert_int_eq(ftruncate(changed_fd, changed_size), 0);
	return __real_lseek64(fd, offset, whence);
}

START_TEST(a_trace_that_changes_between_its_readings_is_refused)
{
	static const off_t sizes[] = {40000, 40004, 39996, 80000, 0};
	char path[64];
	struct sim_task task = {
		.path = path,
		.format = format_of("u32be"),
		.policies = {&policy_lru, &policy_belady},
		.capacities = {{.amount = 3}},
		.n_policies = 2,
		.n_capacities = 1,
		.future = true,
	};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(replay_deinit) struct replay replay = {0};

		changed_fd = -1;
		changed_size = sizes[i];
		changed_fd = memfd_create("trace", MFD_CLOEXEC);
		ck_assert_int_eq(ftruncate(changed_fd, 40000), 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", changed_fd);
		ck_assert_int_eq(replay_run(&replay, &task), i ? ANSWER_FAILED : ANSWER_OK);
		ck_assert_uint_eq(replay.n_rows, i ? 0 : 2);
		close(changed_fd);
	}
}
END_TEST

/* ---- curves */

static char *curve_text(void (*show)(FILE *out, const struct sim_curve *curve),
			const struct sim_curve *curve)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	show(out, curve);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

START_TEST(a_curve_is_letters_over_capacities)
{
	static const struct replay_row rows[] = {
		{"lru", 99, 1, 0, .miss_ratio = 0.60},
		{"lfu", 99, 1, 0, .miss_ratio = 0.52},
		{"lru", 123456, 1, 0, .miss_ratio = 0.5},
		{"lfu", 123456, 1, 0, .miss_ratio = 0.5},
		{"lru", 9990000, 1, 0, .miss_ratio = 0.4},
		{"lfu", 9990000, 1, 0, .miss_ratio = 0.41},
	};
	const struct sim_curve curve = {
		.title = "t", .rows = rows, .n_points = 3, .n_policies = 2};
	_cleanup_(freep) char *text = curve_text(curve_print, &curve);

	ck_assert_str_eq(text, "miss ratio\n"
			       "0.6 + L\n"
			       "    |\n    |\n    |\n    |\n    |\n    |\n    |\n"
			       "    | F\n"
			       "    |\n"
			       "0.5 +        LF\n"
			       "    |\n    |\n    |\n    |\n    |\n    |\n    |\n    |\n"
			       "    |               F\n"
			       "0.4 +---------------L------\n"
			       "      99     123k   10M\n"
			       "      capacity in objects, from 0.1% to 100% of all keys\n"
			       "\n"
			       "L lru  F lfu\n");
}
END_TEST

START_TEST(letters_without_room_are_a_plus_that_is_explained)
{
	struct replay_row rows[9] = {0};
	struct sim_curve curve = {
		.title = "t", .rows = rows, .n_points = 1, .n_policies = 7, .bytes = true};
	char *text;

	for (size_t i = 0; i < 9; i++) /* all alike, the names, too */
		rows[i] =
			(struct replay_row){.policy = "aa", .capacity = 1536, .miss_ratio = 1};
	text = curve_text(curve_print, &curve);
	ck_assert_ptr_nonnull(strstr(text, "1.0 + Abcde+\n"));
	ck_assert_ptr_nonnull(strstr(text, "      1.5K\n      capacity in bytes"));
	ck_assert_ptr_nonnull(strstr(text, "g aa  + more\n"));
	free(text);

	curve.n_policies = 6;
	text = curve_text(curve_print, &curve);
	ck_assert_ptr_nonnull(strstr(text, "1.0 + Abcdef\n"));
	ck_assert_ptr_null(strstr(text, "more"));
	free(text);
}
END_TEST

START_TEST(a_drawing_escapes_what_it_is_called)
{
	static const struct replay_row row = {"<&>", 1, 2, 1, .miss_ratio = 0.5};
	const struct sim_curve curve = {
		.title = "a<b>&c\n\xff", .rows = &row, .n_points = 1, .n_policies = 1};
	_cleanup_(freep) char *text = curve_text(curve_draw, &curve);

	ck_assert_ptr_nonnull(strstr(text, ">a&lt;b&gt;&amp;c\\n\\xff, 2 requests<"));
	ck_assert_ptr_nonnull(strstr(text, ">&lt;&amp;&gt;<"));
	ck_assert_ptr_null(strstr(text, "nan"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl_sim");
	TCase *traces = tcase_create("traces"), *caches = tcase_create("caches");

	tcase_set_timeout(traces, 60);
	tcase_add_test(traces, each_format_gives_keys_sizes_and_times_to_live);
	tcase_add_test(traces, what_is_malformed_is_refused_with_its_position);
	tcase_add_test(traces, a_number_that_begins_as_gzip_does_is_a_key);
	tcase_add_test(traces, lines_of_any_length_up_to_the_bound_are_read_whole);
	tcase_add_test(traces, what_came_through_a_pipe_is_read_again_and_kept_up_to_a_limit);
	tcase_add_test(traces, what_no_trace_can_be_read_from_is_refused);
	tcase_add_test(traces, a_survey_counts_keys_and_bytes_and_finds_what_comes_next);
	tcase_add_test(traces, a_survey_of_many_keys_grows);
	suite_add_tcase(suite, traces);

	tcase_set_timeout(caches, 60);
	tcase_add_test(caches, a_capacity_is_a_number_a_size_or_a_share);
	tcase_add_test(caches, a_key_has_its_number_until_it_is_removed);
	tcase_add_test(caches, policies_miss_where_a_pencil_says_so);
	tcase_add_test(caches, what_is_larger_than_the_capacity_is_a_miss_and_empties_nothing);
	tcase_add_test(caches, room_is_made_for_as_much_as_the_newcomer_takes);
	tcase_add_test(caches, what_has_a_time_to_live_is_gone_when_it_is_over);
	tcase_add_test(caches, what_expires_leaves_its_room_to_others);
	tcase_add_test(caches, all_whose_time_is_over_at_once_are_gone_at_once);
	tcase_add_test(caches, what_has_a_time_to_live_may_be_more_than_there_was_room_for);
	tcase_add_test(caches, with_sizes_and_times_to_live_they_miss_as_a_list_does);
	tcase_add_test(caches, an_object_beyond_what_a_policy_counts_takes_its_room_in_full);
	tcase_add_test(caches, nobody_misses_less_than_belady_and_somebody_as_little);
	tcase_add_test(caches, a_trace_that_changes_between_its_readings_is_refused);
	tcase_add_test(caches, a_curve_is_letters_over_capacities);
	tcase_add_test(caches, letters_without_room_are_a_plus_that_is_explained);
	tcase_add_test(caches, a_drawing_escapes_what_it_is_called);
	suite_add_tcase(suite, caches);
	return suite_run(suite);
}
