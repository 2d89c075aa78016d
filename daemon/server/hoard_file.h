/*
 * Hoard's file - memory that a cache's data plane stands in: of its objects, or of an index.
 *
 * Made, grown and closed by workers, which may take long for it.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/cache/index.h"

struct sys;

struct hoard_file {
	int fd; /* -1: there is none */
	void *memory;
	uint64_t size;
	uint64_t span; /* of the mapping: no less, so that it can grow under it */
};

#define HOARD_FILE_NONE ((struct hoard_file){.fd = -1})

struct hoard_index {
	struct hoard_file file;
	uint32_t *numbers; /* of its entries */
	uint64_t generation;
};

#define HOARD_INDEX_NONE ((struct hoard_index){.file = HOARD_FILE_NONE})

/* Of none: for so many objects. After an error, too, what there is is to be dropped. */
int hoard_objects_make(struct sys *sys, struct hoard_file *file, uint32_t slots);
/*
 * To its `size`: under its mapping as far as that goes, so that the loop keeps its pages; or, without
 * `memory`, by another mapping of its `span`.
 */
int hoard_objects_extend(struct sys *sys, struct hoard_file *file);
int hoard_index_make(struct sys *sys, struct hoard_index *index,
		     const struct index_config *config);

/* Of none is fine. */
void hoard_file_drop(struct sys *sys, struct hoard_file *file);
void hoard_index_drop(struct sys *sys, struct hoard_index *index);
/*
 * All have moved on from it, but clients keep it mapped: what follows its head, which says so, is
 * memory that nobody needs.
 */
void hoard_index_punch(struct sys *sys, const struct hoard_index *index);
