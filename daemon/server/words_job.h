/*
 * Words job - words of extents, and locks of rings, being swept by workers, a piece at a time.
 *
 * J1  A worker has at most 2 MiB of words before the loop's other work for workers gets its turn.
 * J2  How long it takes depends on what is to be swept, and not on what words or holes there are.
 * J3  It touches no record and no map: the loop decides from what was found.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "daemon/core/core.h"
#include "daemon/sys/sys.h"

struct server;

enum { WORDS_PARTS_MAX = 64 };

struct words_part {
	struct extent_place place;
	int words_fd, data_fd; /* open as long as the window is (F1 in files.h) */
	uint32_t n_slices, page_shift;
	struct words_found found;
};

/* Embedded in what waits for it. */
struct words_job {
	uv_work_t work;
	struct server *server;
	void (*done)(struct words_job *job);
	struct block_ids dead; /* none: look only */
	uint32_t n_parts, at;  /* parts, and the one that is next */
	uint32_t slice;        /* of that one: it may be more than a piece */
	int error;             /* 0, or the -errno that ended it */
	struct words_part parts[WORDS_PARTS_MAX];
};

/* There is room for another part. */
void words_job_add(struct words_job *job, const struct extent_place *place);
/* On the loop's thread `done` follows, when all parts are swept, one could not be, or the daemon ends. */
void words_job_start(struct words_job *job);
