/*
 * Files - the memfds behind spaces and windows, by the core's slots.
 *
 * F1  A slot's files change on the loop's thread only. Workers use copies of the descriptors;
 *     those stay open, because a space or window goes only after every job of its members, and
 *     every plan that touches it, has ended (V3 in server.h, C3 in core.h).
 * F2  What a record tells of is kept (keep.h): before the loop hears that it was made, and until
 *     after its record was cleared.
 * F3  What an earlier daemon left is looked at before it is believed, and its words are made what
 *     the core says, under the eyes of clients: only words that differ are stored, in the order
 *     in which they would have been.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/server/keep.h"
#include "daemon/sys/sys.h"
#include "proto/layout.h"

/* What a space's clients read of it. fd is -1 where there is none. */
struct root_files {
	int fd;
	uint32_t space; /* slot, and: */
	uint64_t seed;  /* its hash_seed: they name it for ever */
	bool crowded;   /* there may be more who wait on `deaths` than the loop has woken */
	struct root_file *root;
};

struct window_files {
	int data_fd, map_fd, words_fd;
	_Atomic uint64_t *map; /* a word for each slice */
	char *data;            /* all of it, to be touched guarded (guard.h) */
	uint64_t bytes;
	uint32_t page_shift;
	uint64_t seed; /* of the space; with the next two it names them for ever */
	uint32_t number, generation;
};

#define ROOT_FILES_NONE ((struct root_files){.fd = -1})
#define WINDOW_FILES_NONE ((struct window_files){.data_fd = -1, .map_fd = -1, .words_fd = -1})

struct files {
	struct root_files *roots;     /* by space slot */
	struct window_files *windows; /* by window slot */
	uint32_t n_roots, n_windows;
	bool crowded; /* some root file is */
};

int files_init(struct files *files, uint32_t n_roots, uint32_t n_windows);
/* At the end of the daemon: what is kept is only closed, all else goes. */
void files_deinit(struct files *files, struct sys *sys, struct keep *keep);

/* For workers. Destroying what is empty is a no-op; what is destroyed is kept no more. */
int root_files_create(struct root_files *ret, struct sys *sys, uint32_t space, uint64_t epoch,
		      uint64_t hash_seed);
void root_files_destroy(struct root_files *files, struct sys *sys, struct keep *keep);
int window_files_create(struct window_files *ret, struct sys *sys, struct window_info info,
			uint32_t number, uint64_t hash_seed);
void window_files_destroy(struct window_files *files, struct sys *sys, struct keep *keep);

enum { WINDOW_FILES_KEPT = 3 };

/* Under which names they are kept; the texts are written into `names`. */
struct kept root_files_kept(const struct root_files *files, char name[KEPT_NAME_MAX]);
void window_files_kept(const struct window_files *files,
		       char names[WINDOW_FILES_KEPT][KEPT_NAME_MAX],
		       struct kept ret[WINDOW_FILES_KEPT]);

enum {
	FILES_E_LOST = 1, /* not left, or none of ours: none of it is there, nor kept */
};

/*
 * Take what was left of a space, or of a window; whatever is not 0 has been said. -errno: the system
 * refuses it now, and all of it stays kept.
 */
int root_files_adopt(struct root_files *ret, struct sys *sys, struct keep *keep, uint32_t space,
		     uint64_t hash_seed);
int window_files_adopt(struct window_files *ret, struct sys *sys, struct keep *keep,
		       struct window_info info, uint32_t number, uint64_t hash_seed);
/* F3. Of a window its slice map, before its space's root file; how many words differed. */
uint64_t window_files_mend(struct window_files *files, const struct core *core,
			   uint32_t window);
uint64_t files_mend_root(struct files *files, const struct core *core, uint32_t space);
/* The very last: who had the space open from an earlier daemon sees that there is another. */
void files_tell_epoch(struct files *files, struct sys *sys, uint32_t space, uint64_t epoch);

/* Store what became true into slice maps and root files, in order (proto/layout.h). */
void files_apply(struct files *files, struct sys *sys, const struct core *core,
		 const struct change *changes, uint32_t n_changes);

/*
 * `deaths` of a space's root file goes on, and who waits on it is woken: a few here, a crowd by
 * waker_look(), which has to follow.
 */
void files_tell_deaths(struct files *files, struct sys *sys, uint32_t space);
