/*
 * Progress - a line that tells how far something long has come, and whether somebody has ended it.
 *
 * PG1  There is a line only where standard error is a terminal, after a second, four times a second
 *      at most; it is gone at the end.
 * PG2  SIGINT, SIGTERM and SIGHUP end what is under way in order; then they do what they would have.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool terminal, shown;
	uint64_t began, due; /* ns */
};

void progress_begin(struct progress *progress);
/* `position` of `length` (0: unknown) bytes, and how many requests that are. False: it is to end. */
bool progress_show(struct progress *progress, const char *what, uint64_t position,
		   uint64_t length, uint64_t requests);
/* It is gone until it is shown again. */
void progress_hide(struct progress *progress);
/* The figures begin anew. */
void progress_next(struct progress *progress);
/* Does not return if a signal came. */
void progress_end(struct progress *progress);
