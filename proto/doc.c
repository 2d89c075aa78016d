/*
 * Prints what proto/README.md says of methods, shapes, errors, limits and layouts, from the
 * tables that the code is made of.
 *
 *   proto-doc                 to standard output
 *   proto-doc --check README  is the part between the markers what would be printed?
 *   proto-doc --write README  make it so
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/layout.h"
#include "proto/wire.h"

static const char begin[] = "<!-- proto-doc: begin -->\n";
static const char end[] = "<!-- proto-doc: end -->\n";

static const char *const from_text[] = {
	[WIRE_FROM_CLIENT] = "client",
	[WIRE_FROM_CLIENT_OR_NOTE] = "client; or as a notification",
	[WIRE_FROM_DAEMON] = "daemon, a notification",
};

static const char *const type_text[] = {
	[WIRE_U64] = "number",
	[WIRE_BOOL] = "boolean",
	[WIRE_STR] = "string",
	[WIRE_LIST] = "array of",
};

static void print_methods(FILE *out)
{
	const struct wire_method_info *info;

	fputs("### Methods\n\n| method | params | result | from | |\n|---|---|---|---|---|\n",
	      out);
	for (unsigned i = 0; i < WIRE_METHODS_N; i++) {
		info = &wire_methods[i];
		fprintf(out, "| `%s` | %s | %s | %s | %s |\n", info->name, info->params->name,
			info->from == WIRE_FROM_DAEMON ? "-" : info->result->name,
			from_text[info->from], info->text);
	}
}

static void print_shapes(FILE *out)
{
	const struct wire_field *field;

	fputs("\n### Shapes\n\n`empty` is a map without fields. A field in *italics* may be "
	      "left "
	      "out: absent is 0, false, an empty string or an empty array.\n",
	      out);
	for (unsigned i = 0; i < WIRE_SHAPES_N; i++) {
		if (!wire_shapes[i].n_fields)
			continue;
		fprintf(out, "\n**%s**\n\n| field | type | |\n|---|---|---|\n",
			wire_shapes[i].name);
		for (unsigned f = 0; f < wire_shapes[i].n_fields; f++) {
			const char *mark;

			field = &wire_shapes[i].fields[f];
			mark = field->required ? "" : "*";
			fprintf(out, "| %s`%s`%s | %s%s%s | %s |\n", mark, field->name, mark,
				type_text[field->type], field->list ? " " : "",
				field->list ? field->list->name : "", field->text);
		}
	}
}

static void print_errors(FILE *out)
{
	fputs("\n### Errors\n\nThe exit status is `varbosctl`'s.\n\n"
	      "| code | name | exit status | |\n|---|---|---|---|\n",
	      out);
#define ERROR(name, number, status, text) \
	fprintf(out, "| %d | %s | %d | %s |\n", number, #name, status, text);
#include "proto/errors.def"
#undef ERROR
}

static void print_limits(FILE *out)
{
	fprintf(out,
		"\n### Limits\n\n| what | at most |\n|---|---|\n"
		"| bytes of a message | %d |\n"
		"| containers within containers, the outer array included | %d |\n"
		"| unanswered requests of a session | %d |\n"
		"| descriptors with one message | %d |\n"
		"| windows of a space | %d |\n"
		"| bytes of a window | 2^%d |\n"
		"| bytes of a space's name | %d |\n"
		"| ids of a space, of processes and channels together | %d |\n"
		"\nThis is protocol %d with shared layout %d.\n",
		WIRE_MESSAGE_MAX, WIRE_DEPTH_MAX, WIRE_INFLIGHT_MAX, WIRE_FDS_MAX, WINDOWS_MAX,
		POSITION_BITS, SPACE_NAME_MAX, IDS_MAX - 1, WIRE_PROTOCOL, LAYOUT_VERSION);
}

#define MEMBER(type, member)                                                  \
	fprintf(out, "| %zu | %zu | `%s` |\n", offsetof(struct type, member), \
		sizeof(((struct type *)NULL)->member), #member)
#define TABLE(type, text)                                                                \
	fprintf(out, "\n**%s**, %zu bytes: %s\n\n| offset | bytes | |\n|---|---|---|\n", \
		#type, sizeof(struct type), text)

static void print_layouts(FILE *out)
{
	fputs("\n### Shared layouts\n\nNumbers are of the machine's own byte order "
	      "(little-endian "
	      "wherever Varbos runs), strings end with a 0.\n",
	      out);

	TABLE(root_file, "a space's windows");
	MEMBER(root_file, magic);
	MEMBER(root_file, layout);
	MEMBER(root_file, space);
	MEMBER(root_file, epoch);
	MEMBER(root_file, windows);
	MEMBER(root_file, ids);
	MEMBER(root_file, deaths);
	fprintf(out, "\n`magic` is %#" PRIx64 ", `windows` and `ids` are arrays of %d words.\n",
		(uint64_t)ROOT_MAGIC, WINDOWS_MAX);
	static_assert((int)WINDOWS_MAX == (int)IDS_MAX, "one number for both arrays");

	TABLE(slice_note, "of each slice, in a words file");
	MEMBER(slice_note, info);
	MEMBER(slice_note, freed);
	fprintf(out,
		"\nA words file has %d words of 4 bytes for each slice of its window, then a "
		"`slice_note` for each, then zeros up to a whole page of 4 KiB.\n",
		(int)SLICE_WORDS);

	TABLE(stats_file, "the statistics");
	MEMBER(stats_file, magic);
	MEMBER(stats_file, layout);
	MEMBER(stats_file, size);
	MEMBER(stats_file, pid);
	MEMBER(stats_file, page_shift);
	MEMBER(stats_file, epoch);
	MEMBER(stats_file, start_ms);
	MEMBER(stats_file, version);
	MEMBER(stats_file, socket);
	MEMBER(stats_file, isolates);
	MEMBER(stats_file, beat_ns);
	MEMBER(stats_file, turn);
	MEMBER(stats_file, copies);
	fprintf(out, "\n`magic` is %#" PRIx64 ", `copies` are two of stats_copy.\n",
		(uint64_t)STATS_MAGIC);

	TABLE(stats_copy, "one of the two copies");
	MEMBER(stats_copy, now_ms);
	MEMBER(stats_copy, region);
	MEMBER(stats_copy, committed);
	MEMBER(stats_copy, used);
	MEMBER(stats_copy, peak);
	MEMBER(stats_copy, spaces_total);
	MEMBER(stats_copy, sessions_total);
	MEMBER(stats_copy, allocs);
	MEMBER(stats_copy, frees);
	MEMBER(stats_copy, refused);
	MEMBER(stats_copy, requests);
	MEMBER(stats_copy, failures);
	MEMBER(stats_copy, n_nodes);
	MEMBER(stats_copy, n_spaces);
	MEMBER(stats_copy, n_clients);
	MEMBER(stats_copy, nodes);
	MEMBER(stats_copy, spaces);
	MEMBER(stats_copy, clients);

	TABLE(stats_failures, "why requests for memory failed, counted");
	MEMBER(stats_failures, memory);
	MEMBER(stats_failures, too_large);
	MEMBER(stats_failures, budget_region);
	MEMBER(stats_failures, budget_space);
	MEMBER(stats_failures, budget_client);

	TABLE(stats_node, "a row of `nodes`");
	MEMBER(stats_node, node);
	MEMBER(stats_node, capacity);
	MEMBER(stats_node, committed);
	MEMBER(stats_node, used);

	TABLE(stats_space, "a row of `spaces`");
	MEMBER(stats_space, name);
	MEMBER(stats_space, space);
	MEMBER(stats_space, uid);
	MEMBER(stats_space, gid);
	MEMBER(stats_space, mode);
	MEMBER(stats_space, sessions);
	MEMBER(stats_space, windows);
	MEMBER(stats_space, removed);
	MEMBER(stats_space, ids);
	MEMBER(stats_space, placement);
	MEMBER(stats_space, limit);
	MEMBER(stats_space, reserve);
	MEMBER(stats_space, used);
	MEMBER(stats_space, peak);
	MEMBER(stats_space, committed);
	MEMBER(stats_space, largest);
	MEMBER(stats_space, extents);
	MEMBER(stats_space, allocs);
	MEMBER(stats_space, frees);
	MEMBER(stats_space, refused);
	MEMBER(stats_space, failures);
	MEMBER(stats_space, surplus);
	MEMBER(stats_space, swept);

	TABLE(stats_client, "a row of `clients`");
	MEMBER(stats_client, session);
	MEMBER(stats_client, pid);
	MEMBER(stats_client, uid);
	MEMBER(stats_client, spaces);
	MEMBER(stats_client, used);
	MEMBER(stats_client, peak);
	MEMBER(stats_client, allocs);
	MEMBER(stats_client, frees);
	MEMBER(stats_client, failed);
	MEMBER(stats_client, absent);
	MEMBER(stats_client, name);
}

/* ---- a worked example ---- */

static enum wire_method asked;

static enum wire_method method_of(void *userdata, uint64_t id)
{
	(void)userdata;
	(void)id;
	return asked;
}

static void print_example(FILE *out, bool answer, const char *bytes, int size)
{
	struct wire_message message;
	struct wire_trouble trouble;
	int r;

	r = answer ? wire_decode_answer(&message, bytes, (size_t)size, method_of, NULL,
					&trouble)
		   : wire_decode_call(&message, bytes, (size_t)size, &trouble);
	if (size < 0 || r)
		abort();
	fputs("\n", out);
	wire_print(out, &message);
	for (int i = 0; i < size; i++)
		fprintf(out, "%s%02x",
			!i       ? "    "
			: i % 24 ? " "
				 : "\n    ",
			(uint8_t)bytes[i]);
	fputs("\n", out);
	wire_message_deinit(&message);
}

static void print_examples(FILE *out)
{
	const struct wire_hello hello = {
		.protocol = 1, .layout_min = 1, .layout_max = 1, .name = wire_str("stranger")};
	const struct wire_welcome welcome = {.protocol = WIRE_PROTOCOL,
					     .layout = LAYOUT_VERSION,
					     .session = 1,
					     .epoch = 0x1122334455667788,
					     .inflight = WIRE_INFLIGHT_MAX,
					     .message_max = WIRE_MESSAGE_MAX};
	const struct wire_space_open open = {.name = wire_str("images")};
	const struct wire_space_opened opened = {.space = 1, .limit = 64 << 20, .page = 4096};
	const struct wire_extent_alloc alloc = {.space = 1, .size = 1 << 20, .shared = true};
	const struct wire_extent_alloced alloced = {
		.offset = offset_make(1, 3 << SLICE_SHIFT), .size = 1 << 20, .tag = 0x2a};
	const struct wire_extent_alloc more = {.space = 1, .size = 1 << 30};
	const struct wire_fault fault = {.code = 3,
					 .message = wire_str("1 GiB asked, 63 MiB left in the "
							     "budget of the space"),
					 .which = wire_str("space"),
					 .requested = 1 << 30,
					 .remaining = 63 << 20};
	const struct wire_extent_free freed = {
		.space = 1, .offset = alloced.offset, .tag = alloced.tag};
	char buf[512];

	fputs("\n### Worked example\n\nEach datagram as one line for people, then its bytes. "
	      "The "
	      "answer to `space.open` brings one descriptor.\n\n```",
	      out);
	asked = WIRE_HELLO;
	print_example(out, false, buf,
		      wire_encode_request(buf, sizeof(buf), 1, WIRE_HELLO, &hello));
	print_example(out, true, buf, wire_encode_result(buf, sizeof(buf), 1, asked, &welcome));
	asked = WIRE_SPACE_OPEN;
	print_example(out, false, buf,
		      wire_encode_request(buf, sizeof(buf), 2, WIRE_SPACE_OPEN, &open));
	print_example(out, true, buf, wire_encode_result(buf, sizeof(buf), 2, asked, &opened));
	asked = WIRE_EXTENT_ALLOC;
	print_example(out, false, buf,
		      wire_encode_request(buf, sizeof(buf), 3, WIRE_EXTENT_ALLOC, &alloc));
	print_example(out, true, buf, wire_encode_result(buf, sizeof(buf), 3, asked, &alloced));
	print_example(out, false, buf,
		      wire_encode_request(buf, sizeof(buf), 4, WIRE_EXTENT_ALLOC, &more));
	print_example(out, true, buf, wire_encode_fault(buf, sizeof(buf), 4, &fault));
	print_example(out, false, buf,
		      wire_encode_note(buf, sizeof(buf), WIRE_EXTENT_FREE, &freed));
	fprintf(out,
		"```\n\nThe extent lies in window %u at position %#" PRIx64
		", which is slice %" PRIu64
		".\nA reference to its first byte is `tag << 44 | offset` = %#" PRIx64 ".\n",
		offset_window(alloced.offset), offset_position(alloced.offset),
		offset_position(alloced.offset) >> SLICE_SHIFT,
		ref_make((uint32_t)alloced.tag, alloced.offset));
}

static void print_all(FILE *out)
{
	print_methods(out);
	print_shapes(out);
	print_errors(out);
	print_limits(out);
	print_layouts(out);
	print_examples(out);
}

/* ---- the file ---- */

static char *file_read(const char *path)
{
	char *text = NULL, buf[4096];
	size_t size, n;
	FILE *in, *out;

	in = fopen(path, "r");
	if (!in)
		return NULL;
	out = open_memstream(&text, &size);
	while (out && (n = fread(buf, 1, sizeof(buf), in)))
		fwrite(buf, 1, n, out);
	fclose(in);
	if (out)
		fclose(out);
	return text;
}

static int run(const char *path, bool write)
{
	_cleanup_(freep) char *text = file_read(path), *generated = NULL;
	char *first, *last;
	size_t size;
	FILE *out;

	first = text ? strstr(text, begin) : NULL;
	last = first ? strstr(first, end) : NULL;
	out = open_memstream(&generated, &size);
	if (!last || !out) {
		fprintf(stderr, "%s: %s\n", path, text ? "no markers" : strerror(errno));
		if (out)
			fclose(out);
		return EXIT_FAILURE;
	}
	first += strlen(begin);
	print_all(out);
	fclose(out);

	if (!write) {
		if (size == (size_t)(last - first) && !memcmp(first, generated, size))
			return EXIT_SUCCESS;
		fprintf(stderr, "%s is behind the tables: run proto-doc --write %s\n", path,
			path);
		return EXIT_FAILURE;
	}

	out = fopen(path, "w");
	if (!out) {
		perror(path);
		return EXIT_FAILURE;
	}
	fwrite(text, 1, (size_t)(first - text), out);
	fwrite(generated, 1, size, out);
	fputs(last, out);
	return fclose(out) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		print_all(stdout);
		return EXIT_SUCCESS;
	}
	if (argc == 3 && (!strcmp(argv[1], "--check") || !strcmp(argv[1], "--write")))
		return run(argv[2], !strcmp(argv[1], "--write"));
	fprintf(stderr, "usage: %s [--check README | --write README]\n", argv[0]);
	return 2;
}
