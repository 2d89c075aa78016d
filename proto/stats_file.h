/*
 * Statistics file - publishing and reading its two copies (proto/layout.h has the layout).
 *
 * F1  Neither side waits for the other: a writer that stops or dies anywhere leaves a complete
 *     copy, a reader that stops is not noticed.
 * F2  Only rows in use are copied, and no count of the file is believed beyond its table.
 */
#pragma once

#include "proto/layout.h"

enum {
	STATS_FILE_E_BUSY = 1, /* a copy was published during each attempt to read one */
};

enum {
	/*
	 * A daemon publishes some times a second and a copy is read in microseconds: one
	 * repetition is rare, this many in a row is a file whose writer has gone mad.
	 */
	STATS_FILE_TRIES = 64,
};

/* Make what `next` says the current copy. One writer at a time. */
void stats_file_publish(struct stats_file *file, const struct stats_copy *next);

/*
 * 0: *ret is the current copy; its counts fit its tables, its strings are terminated, rows
 * beyond the counts are untouched. STATS_FILE_E_BUSY: what *ret holds means nothing.
 */
int stats_file_read(const struct stats_file *file, struct stats_copy *ret);
