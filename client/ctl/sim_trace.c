#include "client/ctl/sim_trace.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/base.h"
#include "base/size.h"

enum { BUFFER = 1 << 20 };

static_assert(BUFFER > 2 * TRACE_LINE_MAX, "a line has room beside what is left of another");

struct sim_trace {
	struct trace_options options;
	const char *name;
	char *complaint;
	int fd, copy; /* copy: what came so far, of what is to be kept; else -1 */
	bool rewindable, done, looked;
	uint64_t first, length; /* of a file: where it begins, and how much follows */
	uint64_t kept;
	uint64_t record;   /* how many were read: records, or lines */
	uint64_t position; /* of what is at `begin`, from `first` on */
	size_t begin, end; /* what is left in the buffer */
	uint8_t buffer[BUFFER];
};

/* The finalizer of MurmurHash3: each key its own hash. */
static uint64_t mixed(uint64_t key)
{
	key ^= key >> 33;
	key *= 0xff51afd7ed558ccdULL;
	key ^= key >> 33;
	key *= 0xc4ceb9fe1a85ec53ULL;
	return key ^ key >> 33;
}

static void u32be_take(const uint8_t *from, size_t n, struct sim_request *ret)
{
	uint32_t key;

	for (size_t i = 0; i < n; i++, from += sizeof(key)) {
		memcpy(&key, from, sizeof(key));
		ret[i] = (struct sim_request){.hash = mixed(be32toh(key)), .size = 1};
	}
}

static void u64be_take(const uint8_t *from, size_t n, struct sim_request *ret)
{
	uint64_t key;

	for (size_t i = 0; i < n; i++, from += sizeof(key)) {
		memcpy(&key, from, sizeof(key));
		ret[i] = (struct sim_request){.hash = mixed(be64toh(key)), .size = 1};
	}
}

/*
 * libCacheSim's: u32 time in seconds, u64 key, u32 size, i64 the request that is the key's next, all
 * little-endian. When a request came plays no part, and the next one we find ourselves.
 */
static void oracle_take(const uint8_t *from, size_t n, struct sim_request *ret)
{
	uint64_t key;
	uint32_t size;

	for (size_t i = 0; i < n; i++, from += 24) {
		memcpy(&key, from + 4, sizeof(key));
		memcpy(&size, from + 12, sizeof(size));
		ret[i] = (struct sim_request){
			.hash = mixed(le64toh(key)),
			.size = u64_max(le32toh(size), 1),
		};
	}
}

const struct trace_format trace_formats[TRACE_FORMATS] = {
	{"u32be", 4, false, u32be_take},
	{"u64be", 8, false, u64be_take},
	{"lines", 0, true, NULL},
	{"oracleGeneral", 24, true, oracle_take},
};

static int refuse(struct sim_trace *trace, int code, const char *format, ...) _printf_(3, 4);
static int refuse(struct sim_trace *trace, int code, const char *format, ...)
{
	va_list args;
	int n;

	n = snprintf(trace->complaint, TRACE_COMPLAINT_MAX, "%s: ", trace->name);
	if (n < 0 || n >= TRACE_COMPLAINT_MAX)
		return code;
	va_start(args, format);
	vsnprintf(trace->complaint + n, TRACE_COMPLAINT_MAX - (size_t)n, format, args);
	va_end(args);
	return code;
}

static int refuse_line(struct sim_trace *trace, const uint8_t *at, const char *what)
{
	size_t column = (size_t)(at - (trace->buffer + trace->begin)) + 1;

	return refuse(trace, TRACE_E_MALFORMED, "line %" PRIu64 ", column %zu: %s",
		      trace->record + 1, column, what);
}

void trace_free(struct sim_trace *trace)
{
	if (!trace)
		return;
	if (trace->fd != STDIN_FILENO)
		closep(&trace->fd);
	closep(&trace->copy);
	free(trace);
}

static int file_open(struct sim_trace *trace, const char *path)
{
	trace->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (trace->fd >= 0)
		return 0;
	return refuse(trace,
		      errno == ENOENT || errno == ENOTDIR ? TRACE_E_ABSENT
		      : errno == EACCES || errno == EPERM ? TRACE_E_DENIED
							  : -errno,
		      "%s", strerror(errno));
}

/* What can be read twice, and how. */
static int file_look(struct sim_trace *trace)
{
	struct stat stat;
	off_t first;

	if (fstat(trace->fd, &stat))
		return refuse(trace, -errno, "%s", strerror(errno));
	if (S_ISDIR(stat.st_mode))
		return refuse(trace, TRACE_E_USAGE, "it is a folder");
	if (isatty(trace->fd))
		return refuse(trace, TRACE_E_USAGE,
			      "it is a terminal; say which file, or pipe a trace into it");
	if (S_ISREG(stat.st_mode)) {
		first = lseek(trace->fd, 0, SEEK_CUR);
		if (first < 0)
			return refuse(trace, -errno, "%s", strerror(errno));
		trace->rewindable = true;
		trace->first = (uint64_t)first;
		trace->length =
			u64_max((uint64_t)stat.st_size, (uint64_t)first) - (uint64_t)first;
	} else if (trace->options.again) {
		trace->copy = memfd_create("varbos-sim", MFD_CLOEXEC);
		if (trace->copy < 0)
			return refuse(trace, -errno, "%s", strerror(errno));
	}
	return 0;
}

int trace_new(struct sim_trace **ret, const char *path, const struct trace_options *options,
	      char complaint[static TRACE_COMPLAINT_MAX])
{
	_cleanup_(trace_freep) struct sim_trace *trace = malloc(sizeof(*trace));
	int r;

	if (!trace) {
		snprintf(complaint, TRACE_COMPLAINT_MAX, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	memset(trace, 0, offsetof(struct sim_trace, buffer));
	trace->options = *options;
	trace->complaint = complaint;
	trace->fd = trace->copy = -1;
	if (!strcmp(path, "-")) {
		trace->fd = STDIN_FILENO;
		trace->name = "standard input";
	} else {
		trace->name = path;
		r = file_open(trace, path);
		if (r)
			return r;
	}
	r = file_look(trace);
	if (r)
		return r;
	*ret = TAKE_PTR(trace);
	return 0;
}

static int keep(struct sim_trace *trace, const uint8_t *from, size_t size)
{
	char text[SIZE_TEXT_MAX];

	if (size > trace->options.kept_max - trace->kept && !mutant(sim_kept_all))
		return refuse(
			trace, TRACE_E_LARGE,
			"it has to be read twice, and is more than the %s that it may take of "
			"memory: put it into a file",
			size_format(text, sizeof(text), trace->options.kept_max));
	while (size) {
		ssize_t n = write(trace->copy, from, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return refuse(trace, -errno, "cannot be kept: %s", strerror(errno));
		from += n;
		size -= (size_t)n;
		trace->kept += (uint64_t)n;
	}
	return 0;
}

/* More of it into the buffer, behind what is left there; at the end of it `done` is set. */
static int fill(struct sim_trace *trace)
{
	ssize_t n;

	memmove(trace->buffer, trace->buffer + trace->begin, trace->end - trace->begin);
	trace->end -= trace->begin;
	trace->begin = 0;
	n = read(trace->fd, trace->buffer + trace->end, BUFFER - trace->end);
	if (n < 0 && errno == EINTR)
		return -EINTR;
	if (n < 0)
		return refuse(trace, -errno, "byte %" PRIu64 ": %s",
			      trace->position + trace->end, strerror(errno));
	trace->end += (size_t)n;
	trace->done = !n;
	return trace->copy < 0 ? 0 : keep(trace, trace->buffer + trace->end - n, (size_t)n);
}

static bool begins(const struct sim_trace *trace, const char *magic, size_t size)
{
	return trace->end >= size && !memcmp(trace->buffer, magic, size);
}

/* A gzip header is little by itself, so its flags, the way it was packed and the system count, too. */
static const char *packer_of(const struct sim_trace *trace)
{
	const uint8_t *at = trace->buffer;

	if (begins(trace,
		   "\xfd"
		   "7zXZ",
		   6)) /* and a zero */
		return "xz";
	if (begins(trace, "\x28\xb5\x2f\xfd", 4))
		return "zstd";
	if (begins(trace, "\x1f\x8b\x08", 3) && trace->end >= 10 && at[3] < 32 &&
	    (at[8] == 0 || at[8] == 2 || at[8] == 4) && (at[9] < 14 || at[9] == 255))
		return "gzip";
	if (begins(trace, "BZh", 3) && trace->end >= 10 && !memcmp(at + 4, "1AY&SY", 6))
		return "bzip2";
	return NULL;
}

/* Is it packed? Looked at once, when there is as much of it as the longest header has. */
static int look(struct sim_trace *trace)
{
	const char *packer;
	int r;

	while (!trace->done && trace->end < 10) {
		r = fill(trace);
		if (r)
			return r;
	}
	packer = packer_of(trace);
	if (packer && trace->fd == STDIN_FILENO)
		return refuse(trace, TRACE_E_MALFORMED,
			      "it is packed: put \"%s -dc |\" before varbosctl", packer);
	if (packer)
		return refuse(trace, TRACE_E_MALFORMED,
			      "it is packed: %s -dc %s | varbosctl sim ... -", packer,
			      trace->name);
	trace->looked = true;
	return 0;
}

static int records_read(struct sim_trace *trace, struct sim_request *ret, size_t max,
			size_t *ret_n)
{
	size_t record = trace->options.format->record, left = trace->end - trace->begin;
	size_t n;
	int r;

	while (left < record && !trace->done) {
		r = fill(trace);
		if (r)
			return r;
		left = trace->end;
	}
	if (left && left < record)
		return refuse(trace, TRACE_E_MALFORMED,
			      "record %" PRIu64 ", at byte %" PRIu64
			      ": it ends after %zu of its %zu bytes",
			      trace->record + 1, trace->position, left, record);
	n = u64_min(max, left / record);
	trace->options.format->take(trace->buffer + trace->begin, n, ret);
	trace->begin += n * record;
	trace->position += n * record;
	trace->record += n;
	*ret_n = n;
	return 0;
}

/* A decimal number, all of the field. */
static int field_read(struct sim_trace *trace, const uint8_t *at, const uint8_t *end,
		      const char *empty, const char *large, uint64_t *ret)
{
	uint64_t value = 0;

	if (at == end)
		return refuse_line(trace, at, empty);
	for (; at < end; at++) {
		if (*at < '0' || *at > '9')
			return refuse_line(trace, at, "this is no digit");
		value = value * 10 + (uint64_t)(*at - '0');
		if (value > TRACE_NUMBER_MAX)
			return refuse_line(trace, at, large);
	}
	*ret = value;
	return 0;
}

static const uint8_t *field_end(const uint8_t *at, const uint8_t *end)
{
	const uint8_t *comma = memchr(at, ',', (size_t)(end - at));

	return comma ? comma : end;
}

/* key[,size[,ttl]], and at most one end of a line. */
static int line_parse(struct sim_trace *trace, size_t size, struct sim_request *ret)
{
	const uint8_t *at = trace->buffer + trace->begin, *end = at + size, *comma;
	int r;

	if (end > at && end[-1] == '\n')
		end--;
	if (end > at && end[-1] == '\r')
		end--;
	comma = field_end(at, end);
	if (comma == at)
		return refuse_line(trace, at, "there is no key");
	*ret = (struct sim_request){.hash = XXH64(at, (size_t)(comma - at), 0), .size = 1};
	if (comma == end && trace->options.sizes)
		return refuse_line(trace, end, "there is no size, and --bytes needs one");
	if (comma == end)
		return 0;

	at = comma + 1;
	comma = field_end(at, end);
	r = field_read(trace, at, comma, "there is no size behind the comma",
		       "the size is above 1 TiB", &ret->size);
	if (r)
		return r;
	ret->size = u64_max(ret->size, 1);
	if (comma == end)
		return 0;

	at = comma + 1;
	comma = field_end(at, end);
	r = field_read(trace, at, comma, "there is no time to live behind the comma",
		       "the time to live is above 2^40 requests", &ret->ttl);
	if (r)
		return r;
	return comma == end ? 0 : refuse_line(trace, comma, "there is more than key,size,ttl");
}

/* How long the next line is, with its end; 0 if there is none or, not to wait for it, none yet. */
static int line_find(struct sim_trace *trace, bool wait, size_t *ret_size)
{
	int r;

	for (;;) {
		uint8_t *at = trace->buffer + trace->begin;
		size_t left = trace->end - trace->begin;
		uint8_t *end = memchr(at, '\n', left);
		size_t size = end ? (size_t)(end - at) + 1 : left;

		if (size > TRACE_LINE_MAX)
			return refuse_line(trace, at + TRACE_LINE_MAX, "the line is too long");
		if (end || trace->done || !wait) {
			*ret_size = end || trace->done ? size : 0;
			return 0;
		}
		r = fill(trace);
		if (r)
			return r;
	}
}

/* What is wrong with a line is found again when those before it have been given. */
static int lines_read(struct sim_trace *trace, struct sim_request *ret, size_t max,
		      size_t *ret_n)
{
	size_t n, size = 0;
	int r;

	for (n = 0; n < max; n++) {
		r = line_find(trace, !n, &size);
		if (!r && !size)
			break;
		if (!r)
			r = line_parse(trace, size, &ret[n]);
		if (r && n)
			break;
		if (r)
			return r;
		trace->begin += size;
		trace->position += size;
		trace->record++;
	}
	*ret_n = n;
	return 0;
}

int trace_read(struct sim_trace *trace, struct sim_request *ret, size_t max, size_t *ret_n)
{
	int r;

	r = trace->looked ? 0 : look(trace);
	if (r)
		return r;
	return trace->options.format->record ? records_read(trace, ret, max, ret_n)
					     : lines_read(trace, ret, max, ret_n);
}

int trace_rewind(struct sim_trace *trace)
{
	assert(trace->done && (trace->rewindable || trace->copy >= 0));
	if (!trace->rewindable) {
		if (trace->fd != STDIN_FILENO)
			close(trace->fd);
		trace->fd = TAKE_FD(trace->copy);
		trace->rewindable = true;
		trace->length = trace->kept;
	}
	if (lseek(trace->fd, (off_t)trace->first, SEEK_SET) < 0)
		return refuse(trace, -errno, "%s", strerror(errno));
	trace->begin = trace->end = 0;
	trace->position = trace->record = 0;
	trace->done = false;
	return 0;
}

const char *trace_name(const struct sim_trace *trace)
{
	return trace->name;
}

bool trace_is_kept(const struct sim_trace *trace)
{
	return trace->copy >= 0;
}

uint64_t trace_position(const struct sim_trace *trace)
{
	return trace->position;
}

uint64_t trace_length(const struct sim_trace *trace)
{
	return trace->length;
}
