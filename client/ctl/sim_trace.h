/*
 * Trace - the requests of a file or a pipe, in order.
 *
 * TR1  What is malformed is refused with its position: the record and its byte, or the line and
 *      the column. What was given before is well-formed.
 * TR2  A trace that can be read again gives the same requests: a file is read twice, and what
 *      comes through a pipe is kept as it came, up to a limit.
 * TR3  Keys that are numbers are told apart exactly, those of lines by 64 bits of XXH64: that two
 *      of a million are taken for one has a chance of 1 in 37 million.
 * TR4  A size is 1 at least: 0 counts as 1, and what has no size is as large as 1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TRACE_E_MALFORMED = 1, /* the complaint says what and where, of all of these */
	TRACE_E_ABSENT = 2,    /* there is no such file */
	TRACE_E_DENIED = 3,
	TRACE_E_USAGE = 4, /* it is nothing that a trace could be read from */
	TRACE_E_LARGE = 5, /* more than may be kept */
};

/* Of a size, and of a time to live. */
#define TRACE_NUMBER_MAX ((uint64_t)1 << 40)

enum { TRACE_LINE_MAX = 65535, TRACE_FORMATS = 4, TRACE_COMPLAINT_MAX = 4352 };

struct sim_request {
	uint64_t hash; /* of the key, and as good as the key */
	uint64_t size;
	uint64_t ttl; /* in requests; 0: for ever */
};

struct trace_format {
	const char *name;
	uint32_t record; /* bytes; 0: it is lines */
	bool sized;      /* requests may have sizes */
	void (*take)(const uint8_t *from, size_t n, struct sim_request *ret);
};

extern const struct trace_format trace_formats[TRACE_FORMATS];

struct trace_options {
	const struct trace_format *format;
	bool sizes;        /* a line without one is malformed */
	bool again;        /* it will be rewound */
	uint64_t kept_max; /* of a pipe, for that: bytes */
};

struct sim_trace;

/*
 * "-" is standard input. What fails says why in `complaint`, now and later; both are the caller's
 * until trace_free().
 */
int trace_new(struct sim_trace **ret, const char *path, const struct trace_options *options,
	      char complaint[static TRACE_COMPLAINT_MAX]);
void trace_free(struct sim_trace *trace);
static inline void trace_freep(struct sim_trace **trace)
{
	trace_free(*trace);
}

/* Up to `max` requests; 0 are its end. -EINTR: a signal came, and nothing is lost. */
int trace_read(struct sim_trace *trace, struct sim_request *ret, size_t max, size_t *ret_n);
/* To its beginning, when all of it has been read. */
int trace_rewind(struct sim_trace *trace);

/* As it was said; "standard input". */
const char *trace_name(const struct sim_trace *trace);
/* It is a pipe that will be rewound: what comes is kept. */
bool trace_is_kept(const struct sim_trace *trace);

/* How far it has been read, and how long it is, in bytes; 0 if nobody knows. */
uint64_t trace_position(const struct sim_trace *trace);
uint64_t trace_length(const struct sim_trace *trace);
