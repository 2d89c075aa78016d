/*
 * Snapshot - what the daemon last wrote into its statistics file, copied out and checked.
 *
 * SN1 Nothing in the file is believed: magic, layout and size are checked before it is mapped,
 *     counts are within their arrays, strings are terminated.
 * SN2 Reading waits for nobody, and says whether the writer still lives.
 */
#pragma once

#include "client/ctl/answer.h"
#include "proto/layout.h"

enum snapshot_writer {
	SNAPSHOT_ALIVE,
	SNAPSHOT_SILENT, /* its process is there, its beat is old: stopped, or hung */
	SNAPSHOT_DEAD,   /* its process is gone, and nothing answers at its socket */
};

struct snapshot {
	enum snapshot_writer writer;
	uint64_t age_ms;  /* of the last beat */
	uint64_t read_ms; /* as copy.now_ms: when it was read */
	uint32_t pid, page_shift;
	uint64_t epoch;
	bool isolates;
	char version[32];
	char quarantine[256]; /* "", or why the daemon serves nobody */
	uint64_t losses;
	struct stats_copy copy;
};

/* Of the daemon at that socket; why not, it has said on stderr. */
enum answer snapshot_new(struct snapshot **ret, const char *socket);
