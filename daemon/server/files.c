#include "daemon/server/files.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/log.h"

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

static void root_files_close(struct root_files *files, struct sys *sys)
{
	if (files->root)
		sys->table->file_unmap(sys, files->root, sizeof(*files->root));
	closep(&files->fd);
	*files = ROOT_FILES_NONE;
}

static void window_files_unmap(struct window_files *files, struct sys *sys)
{
	if (files->data)
		sys->table->file_unmap(sys, files->data, files->bytes);
	if (files->map)
		sys->table->file_unmap(sys, (void *)files->map,
				       files->bytes / SLICE_BYTES * sizeof(*files->map));
	files->data = NULL;
	files->map = NULL;
}

static void window_files_close(struct window_files *files, struct sys *sys)
{
	window_files_unmap(files, sys);
	closep(&files->data_fd);
	closep(&files->words_fd);
	closep(&files->map_fd);
	*files = WINDOW_FILES_NONE;
}

void files_deinit(struct files *files, struct sys *sys, struct keep *keep)
{
	bool stays = keep_lasts(keep) && !mutant(files_end_with_the_daemon);

	for (uint32_t i = 0; i < files->n_roots; i++) {
		if (stays)
			root_files_close(&files->roots[i], sys);
		else
			root_files_destroy(&files->roots[i], sys, keep);
	}
	for (uint32_t i = 0; i < files->n_windows; i++) {
		if (stays)
			window_files_close(&files->windows[i], sys);
		else
			window_files_destroy(&files->windows[i], sys, keep);
	}
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
	files.space = space;
	files.seed = hash_seed;
	files.root = memory;
	files.root->magic = ROOT_MAGIC;
	files.root->layout = LAYOUT_VERSION;
	files.root->space = space;
	files.root->hash_seed = hash_seed;
	atomic_store_explicit(&files.root->epoch, epoch, memory_order_release);
	*ret = files;
	return 0;
}

struct kept root_files_kept(const struct root_files *files, char name[KEPT_NAME_MAX])
{
	return (struct kept){kept_name(name, KEPT_ROOT, files->space, files->seed, 0),
			     files->fd};
}

void root_files_destroy(struct root_files *files, struct sys *sys, struct keep *keep)
{
	char name[KEPT_NAME_MAX];

	if (files->fd < 0)
		return;
	keep_remove(keep, root_files_kept(files, name).name);
	root_files_close(files, sys);
}

/* What a *_adopt() of sys.h has said: is it lost, or to be had another time? */
static int adoption_failed(const char *name, int r)
{
	if (r == -EBADFD || mutant(adoption_refused_lost)) {
		log_error("%s: what an earlier daemon left is none: %s", name, strerror(-r));
		return FILES_E_LOST;
	}
	log_error("%s: what an earlier daemon left cannot be had: %s", name, strerror(-r));
	return r;
}

int root_files_adopt(struct root_files *ret, struct sys *sys, struct keep *keep, uint32_t space,
		     uint64_t hash_seed)
{
	struct root_files files = {.fd = -1, .space = space, .seed = hash_seed};
	char name[KEPT_NAME_MAX];
	uint64_t size = 0;
	void *memory;
	int r = 0;

	files.fd = keep_take(keep, root_files_kept(&files, name).name);
	if (files.fd < 0) {
		log_error("%s did not outlive the last daemon", name);
		return FILES_E_LOST;
	}
	r = sys->table->file_adopt(sys, files.fd, SYS_READ, sizeof(*files.root), &size,
				   &memory);
	if (!r) {
		files.root = memory;
		if (size < sizeof(*files.root) || files.root->magic != ROOT_MAGIC ||
		    files.root->space != space || files.root->hash_seed != hash_seed)
			r = -EBADFD;
	}
	if (r) {
		r = adoption_failed(name, r);
		if (r == FILES_E_LOST)
			keep_remove(keep, name);
		root_files_close(&files, sys);
		return r;
	}
	*ret = files;
	return 0;
}

static void name_window(struct window_files *files, struct window_info info, uint32_t number,
			uint64_t hash_seed)
{
	files->bytes = (uint64_t)1 << info.size_shift;
	files->page_shift = info.page_shift;
	files->seed = hash_seed;
	files->number = number;
	files->generation = info.generation;
}

/* Of which nobody has been told, or that nobody keeps any more. */
static void window_files_drop(struct window_files *files, struct sys *sys)
{
	window_files_unmap(files, sys);
	if (files->data_fd >= 0)
		sys->table->window_destroy(sys, files->data_fd, files->page_shift);
	if (files->words_fd >= 0)
		sys->table->words_destroy(sys, files->words_fd);
	closep(&files->map_fd);
	*files = WINDOW_FILES_NONE;
}

int window_files_create(struct window_files *ret, struct sys *sys, struct window_info info,
			uint32_t number, uint64_t hash_seed)
{
	struct window_files files = WINDOW_FILES_NONE;
	void *memory;
	int r;

	name_window(&files, info, number, hash_seed);
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
		window_files_drop(&files, sys);
		return r;
	}
	files.data = memory;
	*ret = files;
	return 0;
}

void window_files_kept(const struct window_files *files,
		       char names[WINDOW_FILES_KEPT][KEPT_NAME_MAX],
		       struct kept ret[WINDOW_FILES_KEPT])
{
	const struct {
		enum kept_kind kind;
		int fd;
	} each[WINDOW_FILES_KEPT] = {{KEPT_DATA, files->data_fd},
				     {KEPT_MAP, files->map_fd},
				     {KEPT_WORDS, files->words_fd}};

	for (uint32_t i = 0; i < WINDOW_FILES_KEPT; i++)
		ret[i] = (struct kept){kept_name(names[i], each[i].kind, files->seed,
						 files->number, files->generation),
				       each[i].fd};
}

void window_files_destroy(struct window_files *files, struct sys *sys, struct keep *keep)
{
	char names[WINDOW_FILES_KEPT][KEPT_NAME_MAX];
	struct kept kept[WINDOW_FILES_KEPT];

	if (files->data_fd < 0)
		return;
	window_files_kept(files, names, kept);
	for (uint32_t i = 0; i < WINDOW_FILES_KEPT; i++)
		keep_remove(keep, kept[i].name);
	window_files_drop(files, sys);
}

static int adopt(struct window_files *files, struct sys *sys, struct window_info info)
{
	uint64_t size = 0, map_bytes = files->bytes / SLICE_BYTES * sizeof(*files->map);
	void *memory;
	int r;

	r = sys->table->window_adopt(sys, files->data_fd, files->bytes, info.page_shift);
	if (!r)
		r = sys->table->words_adopt(sys, files->words_fd,
					    (uint32_t)(files->bytes / SLICE_BYTES));
	if (!r)
		r = sys->table->file_adopt(sys, files->map_fd, SYS_READ, map_bytes, &size,
					   &memory);
	if (r)
		return r;
	files->map = memory;
	if (size != map_bytes)
		return -EBADFD;
	r = sys->table->data_map(sys, files->data_fd, files->bytes, &memory);
	if (!r)
		files->data = memory;
	return r;
}

int window_files_adopt(struct window_files *ret, struct sys *sys, struct keep *keep,
		       struct window_info info, uint32_t number, uint64_t hash_seed)
{
	struct window_files files = WINDOW_FILES_NONE;
	char names[WINDOW_FILES_KEPT][KEPT_NAME_MAX];
	struct kept kept[WINDOW_FILES_KEPT];
	int r = 0, *fds[WINDOW_FILES_KEPT] = {&files.data_fd, &files.map_fd, &files.words_fd};

	name_window(&files, info, number, hash_seed);
	window_files_kept(&files, names, kept);
	for (uint32_t i = 0; i < WINDOW_FILES_KEPT; i++) {
		*fds[i] = keep_take(keep, kept[i].name);
		if (*fds[i] >= 0)
			continue;
		log_error("%s did not outlive the last daemon", kept[i].name);
		r = FILES_E_LOST;
	}
	if (!r) {
		r = adopt(&files, sys, info);
		if (r)
			r = adoption_failed(kept[0].name, r);
	}
	if (r) {
		for (uint32_t i = 0; i < WINDOW_FILES_KEPT && r == FILES_E_LOST; i++)
			keep_remove(keep, kept[i].name);
		window_files_close(&files, sys);
		return r;
	}
	*ret = files;
	return 0;
}

/* ---- making words true ---- */

/* Of a sealed segment that has lost slices the head may be gone, or say how long it was. */
static bool says_the_same(uint64_t is, uint64_t should)
{
	struct slice_info a = slice_word_unpack(is), b = slice_word_unpack(should);

	if (is == should)
		return true;
	return b.kind == EXTENT_SEGMENT && a.kind == b.kind && a.tag == b.tag && !b.session &&
	       !a.session;
}

static uint64_t mend_word(_Atomic uint64_t *word, uint64_t should)
{
	if (says_the_same(atomic_load_explicit(word, memory_order_relaxed), should))
		return 0;
	atomic_store_explicit(word, should, memory_order_release);
	return 1;
}

/*
 * What is wrong is of the last verbs before the death. First heads of what is not there go, then
 * all words but heads are stored, then heads: as apply_slices() says.
 */
uint64_t window_files_mend(struct window_files *files, const struct core *core, uint32_t window)
{
	struct slice_stretch at;
	uint64_t mended = 0;
	uint32_t slice;

	for (slice = 0; core_stretch(core, window, slice, &at); slice += at.count)
		for (uint32_t i = 0; i < at.count; i++) {
			_Atomic uint64_t *word = &files->map[slice + i];
			uint64_t is = atomic_load_explicit(word, memory_order_relaxed);
			uint64_t should = i ? at.other : at.head;

			if (slice_word_unpack(is).head && !says_the_same(is, should) &&
			    slice_word_unpack(is).tag != slice_word_unpack(should).tag)
				mended += mend_word(word, 0);
		}
	for (slice = 0; core_stretch(core, window, slice, &at); slice += at.count)
		for (uint32_t i = at.head ? 1 : 0; i < at.count; i++)
			mended += mend_word(&files->map[slice + i], at.other);
	for (slice = 0; core_stretch(core, window, slice, &at); slice += at.count)
		if (at.head)
			mended += mend_word(&files->map[slice], at.head);
	return mended;
}

/* An id that nobody has may have been somebody's, or never anybody's. */
static bool is_nobodys(uint64_t is, uint64_t should)
{
	return id_word_unpack(should).dead && (!is || id_word_unpack(is).dead);
}

static uint64_t mend_plain(_Atomic uint64_t *word, uint64_t should)
{
	if (atomic_load_explicit(word, memory_order_relaxed) == should)
		return 0;
	atomic_store_explicit(word, should, memory_order_release);
	return 1;
}

uint64_t files_mend_root(struct files *files, const struct core *core, uint32_t space)
{
	struct root_file *root = files->roots[space].root;
	uint64_t windows[WINDOWS_MAX] = {}, ids[IDS_MAX], mended = 0;

	for (uint32_t i = core_window_next(core, 0); i != UINT32_MAX;
	     i = core_window_next(core, i + 1)) {
		struct window_view view;

		if (core_window_view(core, i, &view) && view.space == space)
			windows[view.number] = window_word_pack(view.info);
	}
	core_id_words(core, space, ids);
	for (uint32_t i = 0; i < WINDOWS_MAX; i++)
		mended += mend_plain(&root->windows[i], windows[i]);
	for (uint32_t i = 0; i < IDS_MAX; i++)
		if (!is_nobodys(atomic_load_explicit(&root->ids[i], memory_order_relaxed),
				ids[i]))
			mended += mend_plain(&root->ids[i], ids[i]);
	return mended;
}

void files_tell_epoch(struct files *files, struct sys *sys, uint32_t space, uint64_t epoch)
{
	struct root_file *root = files->roots[space].root;

	if (!root)
		return;
	files_tell_deaths(files, sys, space);
	atomic_store_explicit(&root->epoch, epoch, memory_order_release);
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
