#include "daemon/sys/words.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/guard.h"
#include "daemon/sys/memfd.h"

enum {
	PAGE = 4096,
	READ_WORDS = 4096, /* at once */
	SWAPS_MAX = 8,     /* tries; who changes a word so often holds it */
};

/* The pages behind a run's words, mapped at the first need, and its notes likewise. */
struct view {
	int fd;
	uint64_t offset, size;
	char *memory;
};

int words_create(const char *name, uint32_t n_slices, int *ret_fd)
{
	return memfd_window(name, words_file_size(n_slices), 12, ret_fd);
}

int words_check(int fd, uint32_t n_slices)
{
	return memfd_check_window(fd, words_file_size(n_slices), 12);
}

void words_destroy(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size > 0)
		punch_pages(fd, 0, (uint64_t)size);
	close(fd);
}

static _Atomic uint32_t *view_word(struct view *view, uint64_t offset)
{
	if (!view->memory) {
		void *memory = mmap(NULL, view->size, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_NORESERVE, view->fd, (off_t)view->offset);

		if (memory == MAP_FAILED)
			return NULL;
		view->memory = memory;
	}
	return (_Atomic uint32_t *)(void *)(view->memory + (offset - view->offset));
}

static void view_deinit(struct view *view)
{
	if (view->memory)
		munmap(view->memory, view->size);
}

/* All of it, but for what lies in holes: that is 0. */
static int read_at(int fd, void *buf, uint64_t size, uint64_t offset)
{
	ssize_t n;

	for (uint64_t done = 0; done < size; done += (uint64_t)n) {
		n = pread(fd, (char *)buf + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -EIO; /* its size is sealed: it has no end there */
	}
	return 0;
}

struct sweep {
	const struct words_run *run;
	const struct block_ids *dead;
	struct view words;
	struct words_found found;
};

/* `word` as it was read; it may change until it is swapped. */
static int sweep_word(struct sweep *sweep, uint64_t offset, uint32_t word)
{
	for (unsigned tries = 0; tries < SWAPS_MAX; tries++) {
		struct block_info info = block_word_unpack(word);
		uint32_t next = word, seen;
		_Atomic uint32_t *at;

		sweep->found.taken |= info.generation == sweep->run->tag;
		if (info.state != BLOCK_HELD && info.state != BLOCK_SENT) {
			sweep->found.freed |= info.state == BLOCK_FREED &&
					      (info.generation == sweep->run->tag ||
					       mutant(words_freed_before));
			return 0;
		}
		if (!block_word_sweep(&next, sweep->dead))
			break;
		at = view_word(&sweep->words, offset);
		if (!at)
			return -errno;
		if (guard_cas32(at, word, next, &seen))
			return 0; /* D2 */
		sweep->found.swept += seen == word;
		word = seen == word ? next : seen;
	}
	sweep->found.live = true;
	return 0;
}

static int sweep_words(struct sweep *sweep, uint64_t from, uint64_t to)
{
	uint32_t words[READ_WORDS];
	int r;

	for (uint64_t at = from, n; at < to; at += n) {
		n = u64_min(to - at, sizeof(words));
		r = read_at(sweep->words.fd, words, n, at);
		if (mutant(words_touched))
			guard_cas32(view_word(&sweep->words, at), 0, 0, &words[0]);
		for (uint64_t i = 0; !r && i < n / sizeof(words[0]); i++)
			if (words[i] & 3)
				r = sweep_word(sweep, at + i * sizeof(words[0]), words[i]);
		if (r)
			return r;
	}
	return 0;
}

/* Where data begins at or after `from`, whole pages; `to` if there is none before it. */
static uint64_t skip_hole(int fd, uint64_t from, uint64_t to)
{
	off_t at = lseek(fd, (off_t)from, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? to
				      : from; /* where holes cannot be told, they are read */
	return u64_min((uint64_t)at, to);
}

static uint64_t skip_data(int fd, uint64_t from, uint64_t to)
{
	off_t at = lseek(fd, (off_t)from, SEEK_HOLE);

	/* At least a page: what a client punches meanwhile must not keep us here (D3). */
	return at < 0 ? to : u64_min(u64_max((uint64_t)at, from + PAGE), to);
}

static int sweep_run(struct sweep *sweep)
{
	uint64_t from = sweep->words.offset, to = from + sweep->words.size;
	int fd = sweep->words.fd, r = 0;

	if (sweep->run->tag)
		return sweep_words(sweep, from, from + sizeof(uint32_t));
	while (!r) {
		uint64_t data = mutant(words_touched) ? from : skip_hole(fd, from, to);

		if (data == to)
			break;
		from = skip_data(fd, data, to);
		r = sweep_words(sweep, data, from);
	}
	return r;
}

/* All slices of it: which of them a run of blocks begins in, its owner alone knows. */
static void leave_hints(int fd, uint32_t n_slices, const struct words_run *run)
{
	uint64_t first = words_notes(n_slices) + run->first * sizeof(struct slice_note);
	uint64_t last = first + run->count * sizeof(struct slice_note);
	struct view notes = {.fd = fd, .offset = first / PAGE * PAGE};
	uint32_t seen;

	notes.size = last - notes.offset;
	for (uint64_t at = first; at < last; at += sizeof(struct slice_note)) {
		_Atomic uint32_t *freed =
			view_word(&notes, at + offsetof(struct slice_note, freed));

		if (!freed || guard_cas32(freed, 0, 1, &seen))
			break; /* a hint: owners look at the words before they lease more */
	}
	view_deinit(&notes);
}

int words_sweep(int fd, uint32_t n_slices, const struct words_run *run,
		const struct block_ids *dead, struct words_found *ret)
{
	struct sweep sweep = {
		.run = run,
		.dead = dead,
		.words = {.fd = fd,
			  .offset = run->first * SLICE_WORDS_BYTES,
			  .size = (run->tag ? 1 : run->count) * SLICE_WORDS_BYTES},
	};
	int r;

	if ((run->first >= n_slices || run->count > n_slices - run->first) &&
	    !mutant(words_unbounded))
		return -ERANGE;
	r = sweep_run(&sweep);
	view_deinit(&sweep.words);
	if (sweep.found.swept && run->hint)
		leave_hints(fd, n_slices, run);
	*ret = sweep.found;
	return r;
}

int words_read(int fd, uint64_t offset, uint32_t *ret)
{
	return read_at(fd, ret, sizeof(*ret), offset);
}
