/*
 * Any bytes, taken as a trace for varbosctl sim: the first picks the format. It is refused with a
 * place, behind requests that are whole, or read to its end; and again to the same.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/sim_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
	size_t count;
	uint64_t sum; /* of hashes, sizes, times to live */
	int r;
	char complaint[TRACE_COMPLAINT_MAX];
};

static void trace_hear(struct sim_trace *trace, struct heard *heard, size_t max)
{
	struct sim_request requests[32];
	size_t n;

	heard->count = heard->sum = 0;
	do {
		heard->r = trace_read(trace, requests, max, &n);
		for (size_t i = 0; !heard->r && i < n; i++) {
			assert(requests[i].size && requests[i].size <= TRACE_NUMBER_MAX);
			assert(requests[i].ttl <= TRACE_NUMBER_MAX);
			heard->sum = heard->sum * 31 + (requests[i].hash ^ requests[i].size) +
				     requests[i].ttl;
		}
		if (!heard->r)
			heard->count += n;
	} while (!heard->r && n);
	assert(!heard->r || heard->r == TRACE_E_MALFORMED);
	assert(!heard->r || strstr(heard->complaint, "line ") ||
	       strstr(heard->complaint, "record ") || strstr(heard->complaint, "packed"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct heard first, again;
	struct trace_options options = {.again = true};
	struct sim_trace *trace;
	char path[64];
	int fd;

	if (!size)
		return 0;
	options.format = &trace_formats[data[0] % TRACE_FORMATS];
	options.sizes = data[0] / TRACE_FORMATS & 1;
	fd = memfd_create("trace", MFD_CLOEXEC);
	assert(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)size - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert(!trace_new(&trace, path, &options, first.complaint));
	trace_hear(trace, &first, 32);
	if (!first.r) {
		if (options.format->record)
			assert(first.count * options.format->record == size - 1);
		assert(trace_position(trace) == size - 1 && trace_length(trace) == size - 1);
		assert(!trace_rewind(trace));
		trace_hear(trace, &again, 1);
	} else {
		trace_free(trace);
		assert(!trace_new(&trace, path, &options, again.complaint));
		trace_hear(trace, &again, 1);
		assert(!strcmp(first.complaint, again.complaint));
	}
	assert(first.r == again.r && first.count == again.count && first.sum == again.sum);
	trace_free(trace);
	close(fd);
	return 0;
}
