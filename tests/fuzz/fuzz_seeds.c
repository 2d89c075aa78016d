/*
 * Writes the seeds of fuzz_wire into a folder: each message that the schema knows, bare and
 * with all fields, and the bad ones that people think of.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire.h"
#include "tests/fuzz/sample.h"

static const char *folder;

static void write_seed(const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	if (!file || fwrite(data, 1, size, file) != size || fclose(file)) {
		perror(path);
		exit(EXIT_FAILURE);
	}
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
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	for (unsigned m = 0; m < WIRE_METHODS_N; m++) {
		write_method((enum wire_method)m, false);
		write_method((enum wire_method)m, true);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		write_seed(bad[i].name, bad[i].bytes, bad[i].size);
	return 0;
}
