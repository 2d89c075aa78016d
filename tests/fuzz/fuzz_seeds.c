/*
 * Writes the seeds of fuzz_wire into a folder, and those of fuzz_frames into another: each
 * message that the schema knows, bare and with all fields, and the bad ones that people think
 * of; as frames, each of them before and after HELLO, and what clients do in a row.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/lane.h"
#include "proto/layout.h"
#include "proto/wire.h"
#include "tests/fuzz/sample.h"

static const char *folder, *frames_folder;

static void write_file(const char *into, const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", into, name);
	file = fopen(path, "wb");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file)) {
		perror(path);
		exit(EXIT_FAILURE);
	}
}

/* The steps of fuzz_frames.c. */
enum {
	SILENT = 0,
	ROOT = 1,
	ONE = 2 | 1 << 2,
	OTHER = 3 | 2 << 2,
	RING = 2 << 4,
	CLOSE = 3 << 4,
	SETTLE = 1 << 6,
	LANE = RING | 1 << 7,
};

static struct {
	char bytes[4 * WIRE_MESSAGE_MAX];
	size_t size;
	uint64_t id;
} story;

static void story_step(uint8_t what, const void *data, size_t size)
{
	char *at = story.bytes + story.size;

	if (size > 65535 || size + 3 > sizeof(story.bytes) - story.size)
		abort();
	at[0] = (char)what;
	at[1] = (char)(size & 255);
	at[2] = (char)(size >> 8);
	if (size)
		memcpy(at + 3, data, size);
	story.size += size + 3;
}

static void story_call(uint8_t what, enum wire_method method, const void *params)
{
	static char buf[WIRE_MESSAGE_MAX];
	int n = wire_encode_request(buf, sizeof(buf), ++story.id + 1, method, params);

	story_step(what, buf, (size_t)n);
}

static void story_end(const char *name)
{
	write_file(frames_folder, name, story.bytes, story.size);
	story.size = 0;
	story.id = 0;
}

static void write_seed(const char *name, const void *data, size_t size)
{
	char longer[300];

	write_file(folder, name, data, size);
	if (size > 65535)
		return;
	story_step(SILENT | SETTLE, data, size);
	snprintf(longer, sizeof(longer), "%s-early", name);
	story_end(longer);
	story_step(ONE, data, size);
	snprintf(longer, sizeof(longer), "%s-late", name);
	story_end(longer);
}

static void story_space(uint8_t who, uint8_t when, const char *name, uint64_t limit)
{
	story_call(who | when, WIRE_SPACE_CREATE,
		   &(struct wire_space_create){
			   .name = wire_str(name), .limit = limit, .mode = 0777});
	story_call(who | when, WIRE_SPACE_OPEN,
		   &(struct wire_space_open){.name = wire_str(name)});
}

/* As fuzz_frames.c puts it into a lane: what it pins, and what it asks for. */
struct piece {
	uint64_t hazard;
	struct lane_record record;
};

/* Objects of 128 bytes in the first segment of the first cache, and what comes to them. */
static void story_records(uint8_t who, uint64_t from, uint64_t n)
{
	struct piece pieces[8] = {};

	for (uint64_t i = 0; i < n; i++)
		pieces[i] = (struct piece){
			.hazard = (uint64_t)1 << 44 | (from + i) * 128,
			.record = {.kind = LANE_PUBLISH,
				   .cache = 1,
				   .hash = (i % 3 + 1) * 0x9e3779b97f4a7c15,
				   .offset = (from + i) * 128,
				   .size = 100,
				   .expiry = i == 2 ? 100000 : 0,
				   .born = (uint32_t)(from + i + 1)},
		};
	story_step(who | LANE, pieces, n * sizeof(pieces[0]));
}

static void story_record(uint8_t who, struct lane_record record)
{
	struct piece piece = {.record = record};

	story_step(who | LANE, &piece, sizeof(piece));
}

static void story_cache(uint8_t who)
{
	story_call(
		who | SETTLE, WIRE_CACHE_OPEN,
		&(struct wire_cache_open){.space = 1, .name = wire_str("c"), .capacity = 4096});
	story_call(who | SETTLE, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 2});
	story_call(who | SETTLE, WIRE_CACHE_INDEX,
		   &(struct wire_cache_index){.space = 1, .cache = 1});
	story_call(who | SETTLE, WIRE_CACHE_SEGMENT,
		   &(struct wire_cache_segment){.space = 1, .cache = 1, .size = 64 << 10});
}

static void story_alloc(uint8_t who, uint64_t size, bool shared)
{
	story_call(who, WIRE_EXTENT_ALLOC,
		   &(struct wire_extent_alloc){.space = 1, .size = size, .shared = shared});
}

/* What fuzzing would take long to find: rows of requests that build upon each other. */
static void write_stories(void)
{
	static const uint64_t record[4] = {1, 1, (uint64_t)1 << 44, 0};

	story_space(ONE, SETTLE, "a", 4 << 20);
	story_alloc(ONE | SETTLE, 1 << 20, false);
	story_alloc(ONE | SETTLE, 1 << 16, true);
	story_call(ONE | SETTLE, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = 1});
	story_call(ONE, WIRE_EXTENT_FREE,
		   &(struct wire_extent_free){.space = 1, .offset = 0, .tag = 1});
	story_call(ONE, WIRE_BYE, &(struct wire_empty){});
	story_end("story-life");

	story_space(ONE, 0, "a", 8 << 20); /* all at once: what waits, parks */
	for (int i = 0; i < 12; i++)
		story_alloc(ONE, 1 << 20, i & 1);
	story_call(ONE, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 1});
	story_step(ONE | CLOSE, NULL, 0);
	story_end("story-hurry");

	story_space(ONE, SETTLE, "a", 4 << 20);
	story_call(ONE | SETTLE, WIRE_RETURNS_OPEN, &(struct wire_empty){});
	story_alloc(ONE | SETTLE, 1 << 16, false);
	story_step(ONE | RING, record, sizeof(record));
	story_call(ONE | SETTLE, WIRE_PING, &(struct wire_ping){.token = 7});
	story_end("story-ring");

	story_space(ONE, SETTLE, "a", 8 << 20);
	story_call(OTHER | SETTLE, WIRE_SPACE_OPEN,
		   &(struct wire_space_open){.name = wire_str("a")});
	story_alloc(ONE | SETTLE, 4 << 20, true);
	story_alloc(OTHER, 8 << 20, false);
	story_call(OTHER, WIRE_EXTENT_FREE,
		   &(struct wire_extent_free){.space = 1, .offset = 0, .tag = 1});
	story_call(ONE, WIRE_SPACE_REMOVE,
		   &(struct wire_space_remove){.name = wire_str("a"), .force = true});
	story_call(ROOT, WIRE_CLIENT_LIST, &(struct wire_page_after){});
	story_call(ROOT, WIRE_CLIENT_BLOCKS, &(struct wire_page_after){});
	story_call(ROOT, WIRE_SPACE_LIST, &(struct wire_page_after){});
	story_call(ROOT | SETTLE, WIRE_STATUS, &(struct wire_empty){});
	story_step(ONE | CLOSE, NULL, 0);
	story_end("story-doomed");

	story_space(ONE, SETTLE, "a", 8 << 20);
	story_call(OTHER | SETTLE, WIRE_SPACE_OPEN,
		   &(struct wire_space_open){.name = wire_str("a")});
	story_call(ONE | SETTLE, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = 1});
	story_call(OTHER | SETTLE, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = 1});
	story_call(ONE | SETTLE, WIRE_EXTENT_ALLOC,
		   &(struct wire_extent_alloc){.space = 1, .size = 1 << 20, .blocks = true});
	story_alloc(ONE | SETTLE, 4 << 20, true);
	story_call(OTHER | SETTLE, WIRE_WORDS_OPEN, &(struct wire_window_open){.space = 1});
	story_call(OTHER | SETTLE, WIRE_BLOCK_WHO,
		   &(struct wire_block_who){.space = 1, .ref = (uint64_t)1 << 44});
	story_step(ONE | CLOSE | SETTLE, NULL, 0);
	story_call(OTHER, WIRE_EXTENT_FREE,
		   &(struct wire_extent_free){.space = 1, .offset = 0, .tag = 1});
	story_alloc(OTHER, 4 << 20, false);
	story_call(OTHER | SETTLE, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 1});
	story_end("story-blocks");

	story_space(ONE, SETTLE, "a", 8 << 20);
	story_call(OTHER | SETTLE, WIRE_SPACE_OPEN,
		   &(struct wire_space_open){.name = wire_str("a")});
	story_call(ONE | SETTLE, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = 1});
	story_call(OTHER | SETTLE, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = 1});
	for (int i = 0; i < 2; i++)
		story_call(i ? ONE : OTHER, WIRE_CHANNEL_OPEN, /* the second while it is made */
			   &(struct wire_channel_open){.space = 1,
						       .name = wire_str("c"),
						       .roles = 1 + (uint64_t)i,
						       .capacity = 9});
	story_call(ONE | SETTLE, WIRE_CHANNEL_LIST, &(struct wire_space_page){.space = 1});
	story_call(ONE | SETTLE, WIRE_CHANNEL_CLOSE,
		   &(struct wire_channel_close){.space = 1, .id = 3, .roles = 3});
	story_step(OTHER | CLOSE | SETTLE, NULL, 0);
	story_call(ONE, WIRE_CHANNEL_OPEN,
		   &(struct wire_channel_open){
			   .space = 1, .name = wire_str("c"), .roles = 3, .exclusive = true});
	story_call(ONE, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 1});
	story_end("story-channels");

	story_space(ONE, SETTLE, "a", 8 << 20);
	story_cache(ONE);
	for (uint64_t i = 0; i < 8; i++) /* more than it may keep */
		story_records(ONE, 1 + 8 * i, 8);
	story_record(ONE, (struct lane_record){
				  .kind = LANE_TOUCH, .cache = 1, .hash = 0x9e3779b97f4a7c15});
	story_record(ONE, (struct lane_record){
				  .kind = LANE_DELETE, .cache = 1, .hash = 0x9e3779b97f4a7c15});
	story_record(ONE, (struct lane_record){.kind = LANE_SEAL, .cache = 1, .generation = 1});
	story_step(ONE | LANE, &(uint64_t){1 << 20}, 8);
	story_call(ONE | SETTLE, WIRE_CACHE_DETAIL,
		   &(struct wire_cache_handle){.space = 1, .cache = 1});
	story_end("story-lane");

	story_space(ONE, SETTLE, "a", 8 << 20);
	story_cache(ONE);
	story_records(ONE, 1, 8);
	story_call(OTHER | SETTLE, WIRE_SPACE_OPEN,
		   &(struct wire_space_open){.name = wire_str("a")});
	story_cache(OTHER);
	story_records(OTHER, 512, 8);
	story_call(ONE, WIRE_CACHE_CHANGE,
		   &(struct wire_cache_change){.space = 1,
					       .name = wire_str("c"),
					       .set = CACHE_SET_POLICY,
					       .policy = wire_str("lfu")});
	story_records(ONE, 9, 4);
	story_call(
		ONE, WIRE_CACHE_REMOVE,
		&(struct wire_cache_remove){.space = 1, .name = wire_str("c"), .force = true});
	story_records(OTHER, 520, 4);
	story_step(OTHER | CLOSE, NULL, 0);
	story_end("story-removed");

	story_call(ROOT | SETTLE, WIRE_SPACE_CREATE,
		   &(struct wire_space_create){.name = wire_str("r"), .reserve = 4 << 20});
	story_space(ONE, 0, "b", 16 << 20);
	story_alloc(ONE, 16 << 20, false);
	story_alloc(ONE, 64 << 10, false);
	story_step(SILENT | CLOSE, NULL, 0);
	story_call(ONE, WIRE_BYE, &(struct wire_empty){});
	story_end("story-reserve");
}

static void write_message(const char *kind, const struct wire_message *message, bool all)
{
	static char buf[WIRE_MESSAGE_MAX];
	char name[256];
	int n = sample_encode(buf, sizeof(buf), message);

	snprintf(name, sizeof(name), "%s-%s-%s", wire_methods[message->method].name, kind,
		 all ? "all" : "bare");
	write_seed(name, buf, (size_t)n);
}

static void write_method(enum wire_method method, bool all)
{
	static struct sample_memory memory;
	const struct wire_method_info *info = &wire_methods[method];
	struct wire_message message = {.method = method, .id = method};
	uint64_t seed = method;

	memory.used = 0;
	sample_fill(info->params, &message.body, &memory, &seed, all);
	if (info->from != WIRE_FROM_CLIENT) {
		message.kind = WIRE_NOTE;
		write_message("note", &message, all);
	}
	if (info->from == WIRE_FROM_DAEMON)
		return;

	message.kind = WIRE_REQUEST;
	write_message("request", &message, all);
	message.kind = WIRE_RESPONSE;
	sample_fill(info->result, &message.body, &memory, &seed, all);
	write_message("result", &message, all);
	message.failed = true;
	sample_fill(&wire_shape_fault, &message.fault, &memory, &seed, all);
	write_message("fault", &message, all);
}

static const struct {
	const char *name;
	const char *bytes;
	size_t size;
} bad[] = {
#define BAD(name, bytes)                              \
	{                                             \
		"bad-" name, bytes, sizeof(bytes) - 1 \
	}
	BAD("array-of-2-32", "\xdd\xff\xff\xff\xff"),
	BAD("map-of-2-32", "\xdf\xff\xff\xff\xff"),
	BAD("string-of-2-32", "\xdb\xff\xff\xff\xff"),
	BAD("ext-of-2-32", "\xc9\xff\xff\xff\xff\x01"),
	BAD("params-of-2-32", "\x94\x00\x05\xa4ping\xdf\xff\xff\xff\xff"),
	BAD("forty-levels",
	    "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"
	    "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"
	    "\x91\x91\x91\x91\x91\x91\xc0"),
	BAD("eight-levels", "\x91\x91\x91\x91\x91\x91\x91\x91\xc0"),
	BAD("cut", "\x94\x00\x05\xac"
		   "extent.alloc\x82\xa5space\x01\xa4siz"),
	BAD("trailing", "\x94\x00\x05\xa4ping\x80\xc0"),
	BAD("two-messages", "\x94\x00\x05\xa4ping\x80\x94\x00\x06\xa4ping\x80"),
	BAD("negative-number", "\x94\x00\x05\xa4ping\x81\xa5token\xff"),
	BAD("negative-id", "\x94\x00\xff\xa4ping\x80"),
	BAD("double-key", "\x94\x00\x05\xa4ping\x82\xa5token\x01\xa5token\x02"),
	BAD("unknown-key", "\x94\x00\x05\xa4ping\x81\xa5tokem\x01"),
	BAD("number-as-key", "\x94\x00\x05\xa4ping\x81\x01\x01"),
	BAD("no-utf8", "\x94\x00\x05\xaaspace.open\x81\xa4name\xa2\xc3\x28"),
	BAD("control-characters", "\x94\x00\x05\xaaspace.open\x81\xa4name\xa4\x1b[2J"),
	BAD("surrogate", "\x94\x00\x05\xaaspace.open\x81\xa4name\xa3\xed\xa0\x80"),
	BAD("unknown-method", "\x94\x00\x05\xa4pong\x80"),
	BAD("daemons-method", "\x94\x00\x05\xae"
			      "extent.refused\x80"),
	BAD("request-as-note", "\x93\x02\xa4ping\x80"),
	BAD("params-as-array", "\x94\x00\x05\xa4ping\x90"),
	BAD("float", "\x94\x00\x05\xa4ping\x81\xa5token\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
	BAD("bin", "\x94\x00\x05\xaaspace.open\x81\xa4name\xc4\x01x"),
	BAD("fixext", "\x94\x00\x05\xa4ping\x81\xa5token\xd8\x01"
		      "0123456789abcdef"),
	BAD("never-used-type", "\x94\x00\x05\xa4ping\xc1"),
	BAD("error-and-result", "\x94\x01\x02\x80\x80"),
	BAD("neither-error-nor-result", "\x94\x01\x02\xc0\xc0"),
	BAD("unasked", "\x94\x01\xcd\x10\x00\xc0\x80"),
	BAD("newer-answer",
	    "\x94\x01\x02\xc0\x82\xa5token\x09\xa5newer\x91\x81\xa1x\xc7\x01\x01x"),
	BAD("rows-of-numbers", "\x94\x01\x08\xc0\x81\xa4rows\x92\x01\x02"),
	BAD("rows-of-nothing", "\x94\x01\x08\xc0\x81\xa4rows\x92\x80\x80"),
	BAD("wide-numbers",
	    "\x94\xd3\x00\x00\x00\x00\x00\x00\x00\x00\xcf\x00\x00\x00\x00\x00\x00\x00\x05"
	    "\xdb\x00\x00\x00\x04ping\xdf\x00\x00\x00\x01\xd9\x05token\xd1\x00\x07"),
#undef BAD
};

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s WIRE-FOLDER FRAMES-FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	frames_folder = argv[2];
	for (unsigned m = 0; m < WIRE_METHODS_N; m++) {
		write_method((enum wire_method)m, false);
		write_method((enum wire_method)m, true);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		write_seed(bad[i].name, bad[i].bytes, bad[i].size);
	write_stories();
	return 0;
}
