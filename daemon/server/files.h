/*
 * Files - the memfds behind spaces and windows, by the core's slots.
 *
 * F1  A slot's files change on the loop's thread only. Workers use copies of the descriptors;
 *     those stay open, because a space or window goes only after every job of its members, and
 *     every plan that touches it, has ended (V3 in server.h, C3 in core.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/sys/sys.h"
#include "proto/layout.h"

/* What a space's clients read of it. fd is -1 where there is none. */
struct root_files {
	int fd;
	bool crowded; /* there may be more who wait on `deaths` than the loop has woken */
	struct root_file *root;
};

struct window_files {
	int data_fd, map_fd, words_fd;
	_Atomic uint64_t *map; /* a word for each slice */
	char *data;            /* all of it, to be touched guarded (guard.h) */
	uint64_t bytes;
	uint32_t page_shift;
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
/* Closes everything, at the end of the daemon. */
void files_deinit(struct files *files, struct sys *sys);

/* For workers. Destroying what is empty is a no-op. */
int root_files_create(struct root_files *ret, struct sys *sys, uint32_t space, uint64_t epoch,
		      uint64_t hash_seed);
void root_files_destroy(struct root_files *files, struct sys *sys);
int window_files_create(struct window_files *ret, struct sys *sys, struct window_info info);
void window_files_destroy(struct window_files *files, struct sys *sys);

/* Store what became true into slice maps and root files, in order (proto/layout.h). */
void files_apply(struct files *files, struct sys *sys, const struct core *core,
		 const struct change *changes, uint32_t n_changes);

/*
 * `deaths` of a space's root file goes on, and who waits on it is woken: a few here, a crowd by
 * waker_look(), which has to follow.
 */
void files_tell_deaths(struct files *files, struct sys *sys, uint32_t space);
