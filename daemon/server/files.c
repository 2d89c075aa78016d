#include "daemon/server/files.h"

#include <errno.h>

#include "base/base.h"

enum { WAKE_FEW = 16 }; /* some 2 us each */

int files_init(struct files *files, uint32_t n_roots, uint32_t n_windows)
{
	*files = (struct files){
		.roots = calloc(n_roots, sizeof(*files->roots)),
		.windows = calloc(n_windows, sizeof(*files->windows)),
		.n_roots = n_roots,
		.n_windows = n_windows,
	};
	if (!files->roots || !files->windows) {
		free(files->roots);
		free(files->windows);
		*files = (struct files){};
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_roots; i++)
		files->roots[i] = ROOT_FILES_NONE;
	for (uint32_t i = 0; i < n_windows; i++)
		files->windows[i] = WINDOW_FILES_NONE;
	return 0;
}

void files_deinit(struct files *files, struct sys *sys)
{
	for (uint32_t i = 0; i < files->n_roots; i++)
		root_files_destroy(&files->roots[i], sys);
	for (uint32_t i = 0; i < files->n_windows; i++)
		window_files_destroy(&files->windows[i], sys);
	free(files->roots);
	free(files->windows);
	*files = (struct files){};
}

int root_files_create(struct root_files *ret, struct sys *sys, uint32_t space, uint64_t epoch,
		      uint64_t hash_seed)
{
	struct root_files files = ROOT_FILES_NONE;
	void *memory;
	int r;

	r = sys->table->file_create(sys, "varbos-root", sizeof(*files.root), SYS_READ,
				    &files.fd, &memory);
	if (r)
		return r;
	files.root = memory;
	files.root->magic = ROOT_MAGIC;
	files.root->layout = LAYOUT_VERSION;
	files.root->space = space;
	files.root->hash_seed = hash_seed;
	atomic_store_explicit(&files.root->epoch, epoch, memory_order_release);
	*ret = files;
	return 0;
}

void root_files_destroy(struct root_files *files, struct sys *sys)
{
	if (files->fd < 0)
		return;
	sys->table->file_unmap(sys, files->root, sizeof(*files->root));
	close(files->fd);
	*files = ROOT_FILES_NONE;
}

int window_files_create(struct window_files *ret, struct sys *sys, struct window_info info)
{
	struct window_files files = WINDOW_FILES_NONE;
	void *memory;
	int r;

	files.bytes = (uint64_t)1 << info.size_shift;
	files.page_shift = info.page_shift;
	r = sys->table->file_create(sys, "varbos-map",
				    files.bytes / SLICE_BYTES * sizeof(*files.map), SYS_READ,
				    &files.map_fd, &memory);
	if (r)
		return r;
	files.map = memory;
	r = sys->table->words_create(sys, "varbos-words", (uint32_t)(files.bytes / SLICE_BYTES),
				     &files.words_fd);
	if (!r)
		r = sys->table->window_create(sys, "varbos-data", files.bytes, files.page_shift,
					      &files.data_fd);
	if (!r)
		r = sys->table->data_map(sys, files.data_fd, files.bytes, &memory);
	if (r) {
		window_files_destroy(&files, sys);
		return r;
	}
	files.data = memory;
	*ret = files;
	return 0;
}

void window_files_destroy(struct window_files *files, struct sys *sys)
{
	if (files->data)
		sys->table->file_unmap(sys, files->data, files->bytes);
	if (files->data_fd >= 0)
		sys->table->window_destroy(sys, files->data_fd, files->page_shift);
	if (files->words_fd >= 0)
		sys->table->words_destroy(sys, files->words_fd);
	if (files->map_fd >= 0) {
		sys->table->file_unmap(sys, (void *)files->map,
				       files->bytes / SLICE_BYTES * sizeof(*files->map));
		close(files->map_fd);
	}
	*files = WINDOW_FILES_NONE;
}

static void apply_slices(_Atomic uint64_t *map, const struct change *change)
{
	struct slice_info info = slice_word_unpack(change->word);
	uint64_t interior;

	info.head = false;
	info.count = 0;
	info.session = 0;
	interior = slice_word_pack(info);

	/* A reader that sees a head sees the extent behind it: heads come last and go first. */
	if (!change->word)
		atomic_store_explicit(&map[change->first], 0, memory_order_release);
	for (uint32_t i = 1; i < change->count; i++)
		atomic_store_explicit(&map[change->first + i], interior, memory_order_release);
	if (change->word)
		atomic_store_explicit(&map[change->first], change->word, memory_order_release);
}

static void apply_window(struct files *files, const struct core *core,
			 const struct change *change)
{
	struct root_file *root = files->roots[change->space].root;
	struct window_view window;

	if (!root || !core_window_view(core, change->window, &window))
		return; /* the space is going, and its root file with it */
	atomic_store_explicit(&root->windows[window.number], change->word,
			      memory_order_release);
}

static void apply_id(struct files *files, const struct change *change)
{
	struct root_file *root = files->roots[change->space].root;

	if (root)
		atomic_store_explicit(&root->ids[change->first], change->word,
				      memory_order_release);
}

/* Is it the last of those that say something of this space's ids? They are told together. */
static bool ends_ids(const struct change *changes, uint32_t i, uint32_t n_changes)
{
	return i + 1 == n_changes || changes[i + 1].kind != CHANGE_ID ||
	       changes[i + 1].space != changes[i].space;
}

void files_tell_deaths(struct files *files, struct sys *sys, uint32_t space)
{
	struct root_file *root = files->roots[space].root;

	if (!root)
		return; /* the space is going, and its root file with it */
	atomic_fetch_add_explicit(&root->deaths, 1, memory_order_release);
	if (mutant(deaths_unwoken) || sys->table->wake(sys, &root->deaths, WAKE_FEW) < WAKE_FEW)
		return;
	files->roots[space].crowded = !mutant(crowd_left);
	files->crowded = true;
}

void files_apply(struct files *files, struct sys *sys, const struct core *core,
		 const struct change *changes, uint32_t n_changes)
{
	for (uint32_t i = 0; i < n_changes; i++) {
		_Atomic uint64_t *map = files->windows[changes[i].window].map;

		switch (changes[i].kind) {
		case CHANGE_SLICES:
			if (map)
				apply_slices(map, &changes[i]);
			break;
		case CHANGE_WINDOW:
			apply_window(files, core, &changes[i]);
			break;
		case CHANGE_ID:
			apply_id(files, &changes[i]);
			if (ends_ids(changes, i, n_changes))
				files_tell_deaths(files, sys, changes[i].space);
			break;
		}
	}
}
