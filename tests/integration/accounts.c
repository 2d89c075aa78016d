#include "tests/integration/accounts.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/core/record.h"
#include "proto/layout.h"
#include "proto/stats_file.h"

enum {
	LEDGER_HEAD = 32768, /* behind which the records begin */
	REST_MS = 1200,      /* by the daemon's clock, whose beats may be late */
	STEP_MS = 20,
	TRIES = 3000, /* steps */
};

/* NULL: no daemon serves at this moment. */
static struct stats_file *file_of(const char *socket)
{
	struct stats_file *file;
	struct stat st;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s.stats", socket);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) || st.st_size < (off_t)sizeof(*file)) {
		close(fd);
		return NULL;
	}
	file = mmap(NULL, sizeof(*file), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	ck_assert_ptr_ne(file, MAP_FAILED);
	return file;
}

pid_t accounts_daemon(const char *socket)
{
	struct stats_file *file = file_of(socket);
	pid_t pid = 0;

	if (!file)
		return 0;
	if (file->pid && atomic_load(&file->turn) && !kill((pid_t)file->pid, 0))
		pid = (pid_t)file->pid;
	munmap(file, sizeof(*file));
	return pid;
}

static int by_session(const void *a, const void *b)
{
	const struct account *left = a, *right = b;

	return left->session < right->session ? -1 : left->session > right->session;
}

void accounts_told(const char *socket, struct accounts *ret)
{
	static struct stats_copy copy;
	struct stats_file *file = file_of(socket);

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(stats_file_read(file, &copy), 0);
	*ret = (struct accounts){.used = copy.used,
				 .n = copy.n_clients,
				 .beat_ms = atomic_load(&file->beat_ns) / 1000000};
	munmap(file, sizeof(*file));
	ck_assert_uint_le(ret->n, ACCOUNTS_MAX);
	for (uint32_t i = 0; i < ret->n; i++)
		ret->of[i] = (struct account){copy.clients[i].session, copy.clients[i].pid,
					      copy.clients[i].used};
	for (uint32_t i = 0; i < copy.n_caches; i++) {
		ret->values += copy.caches[i].values;
		ret->live += copy.caches[i].live;
	}
	for (uint32_t i = 0; i < copy.n_spaces; i++)
		ret->ids += copy.spaces[i].ids;
	qsort(ret->of, ret->n, sizeof(*ret->of), by_session);
}

/* Its ledger, private to it, by its name. */
static int ledger_of(pid_t daemon)
{
	char folder[32], path[64], target[64];
	struct dirent *entry;
	int fd = -1;
	DIR *fds;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)daemon);
	fds = opendir(folder);
	while (fds && fd < 0 && (entry = readdir(fds))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%.16s", folder, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (!strncmp(target, "/memfd:varbos-ledger", 20))
			fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fds)
		closedir(fds);
	return fd;
}

/* A copy of what was ever stored, for to read a hole through a mapping would fill it. */
struct copy {
	int fd;
	char *memory;
	size_t size;
	const struct records *records;
};

static void copy_take(pid_t daemon, struct copy *copy)
{
	struct stat st;
	off_t at = 0;

	copy->fd = ledger_of(daemon);
	ck_assert_int_ge(copy->fd, 0);
	ck_assert_int_eq(fstat(copy->fd, &st), 0);
	copy->size = (size_t)st.st_size;
	copy->memory = mmap(NULL, copy->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(copy->memory, MAP_FAILED);
	while ((at = lseek(copy->fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(copy->fd, at, SEEK_HOLE);

		ck_assert_int_eq(pread(copy->fd, copy->memory + at, (size_t)(end - at), at),
				 end - at);
		at = end;
	}
	copy->records = records_open(copy->memory + LEDGER_HEAD, copy->size - LEDGER_HEAD);
	ck_assert_ptr_nonnull(copy->records);
}

static void sum_extent(const struct extent_record *record, struct accounts *accounts)
{
	struct extent_owner owner = extent_owner_unpack(record->owner);
	struct extent_run run = extent_run_unpack(record->run, owner.kind);
	uint64_t slices = run.slices ? (uint64_t)__builtin_popcount(run.slices) : run.count;
	uint64_t bytes = slices << SLICE_SHIFT;

	accounts->used += bytes;
	*(owner.cache && !owner.holder ? &accounts->cached : &accounts->working) += bytes;
	for (uint32_t i = 0; i < accounts->n; i++)
		if (owner.holder == accounts->of[i].session + 1)
			accounts->of[i].used += bytes;
}

/* Not of what a daemon changes by itself: what tags and tokens come next, how far lanes are, caches. */
static bool is_lasting(const struct records *records, enum record_kind kind, uint32_t slot)
{
	static const bool lasts[RECORD_KINDS] = {
		[RECORD_SESSION] = true, [RECORD_MEMBER] = true, [RECORD_CHANNEL] = true,
		[RECORD_END] = true,     [RECORD_USER] = true,   [RECORD_RIGHT] = true,
	};
	const struct extent_record *extent;
	struct extent_owner owner;

	if (kind != RECORD_EXTENT)
		return lasts[kind];
	extent = records_at(records, kind, slot);
	owner = extent_owner_unpack(extent->owner);
	return !owner.cache || owner.holder;
}

static void digest_add(const struct records *records, enum record_kind kind, uint32_t slot,
		       struct accounts *accounts)
{
	uint64_t hash = ((uint64_t)kind << 32 | slot) * 0x9e3779b97f4a7c15ULL;

	for (uint32_t i = 0; i < record_words(kind); i++) {
		hash ^= record_word(records, kind, slot, i);
		hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9ULL;
	}
	accounts->digest += hash;
}

static void sum_record(const struct records *records, enum record_kind kind, uint32_t slot,
		       struct accounts *accounts)
{
	const struct session_record *session;

	++accounts->records[kind];
	if (is_lasting(records, kind, slot))
		digest_add(records, kind, slot, accounts);
	if (kind == RECORD_EXTENT)
		sum_extent(records_at(records, kind, slot), accounts);
	if (kind != RECORD_SESSION)
		return;
	session = records_at(records, kind, slot);
	ck_assert_uint_lt(accounts->n, ACCOUNTS_MAX);
	accounts->of[accounts->n++] =
		(struct account){slot, session_word_unpack(session->word).pid, 0};
}

static void sum_kind(const struct copy *copy, enum record_kind kind, struct accounts *accounts)
{
	uint32_t slots = records_capacity(copy->records)->slots[kind], slot = 0;
	uint64_t from, to, size;

	records_span(copy->records, kind, &from, &to);
	size = slots ? (to - from) / slots : 1;
	while (slot < slots) {
		off_t at = (off_t)(LEDGER_HEAD + from + slot * size), end;

		at = lseek(copy->fd, at, SEEK_DATA);
		if (at < 0 || at >= (off_t)(LEDGER_HEAD + to))
			return;
		end = lseek(copy->fd, at, SEEK_HOLE);
		at -= (off_t)(LEDGER_HEAD + from);
		end -= (off_t)(LEDGER_HEAD + from);
		if ((uint64_t)at / size > slot)
			slot = (uint32_t)((uint64_t)at / size);
		for (; slot < slots && slot * size < (uint64_t)end; slot++)
			if (records_valid(copy->records, kind, slot))
				sum_record(copy->records, kind, slot, accounts);
	}
}

void accounts_read(pid_t daemon, struct accounts *ret)
{
	struct copy copy;

	*ret = (struct accounts){0};
	copy_take(daemon, &copy);
	/* Whose extents are is told by sessions, which come first. */
	for (uint32_t kind = 0; kind < RECORD_KINDS; kind++)
		sum_kind(&copy, kind, ret);
	munmap(copy.memory, copy.size);
	close(copy.fd);
}

static bool agree(const struct accounts *told, const struct accounts *read)
{
	return told->used == read->used && told->n == read->n &&
	       !memcmp(told->of, read->of, told->n * sizeof(*told->of));
}

static void complain_of(const struct accounts *told, const struct accounts *read)
{
	for (uint32_t i = 0; i < told->n || i < read->n; i++)
		fprintf(stderr,
			"  session %u of %u: %" PRIu64 "; by the ledger %u of %u: %" PRIu64
			"\n",
			told->of[i].session, told->of[i].pid, told->of[i].used,
			read->of[i].session, read->of[i].pid, read->of[i].used);
	ck_abort_msg("the daemon says that %" PRIu64 " bytes are used, its ledger %" PRIu64,
		     told->used, read->used);
}

/* Whether both say the same of what is told. */
static bool accounts_same(const struct accounts *a, const struct accounts *b)
{
	bool same = a->used == b->used && a->values == b->values && a->live == b->live &&
		    a->ids == b->ids && a->n == b->n;

	for (uint32_t i = 0; same && i < a->n; i++)
		same = a->of[i].session == b->of[i].session && a->of[i].pid == b->of[i].pid &&
		       a->of[i].used == b->of[i].used;
	return same;
}

void accounts_settled(const char *socket, struct accounts *ret)
{
	struct accounts told, last;

	accounts_told(socket, &last);
	for (int i = 0; i < TRIES; i++) {
		usleep(STEP_MS * 1000);
		accounts_told(socket, &told);
		if (!accounts_same(&told, &last))
			last = told;
		if (told.beat_ms < last.beat_ms + REST_MS)
			continue;
		accounts_read(accounts_daemon(socket), ret);
		ret->values = told.values;
		ret->live = told.live;
		ret->ids = told.ids;
		if (agree(&told, ret))
			return;
		last = told;
	}
	complain_of(&told, ret);
}
