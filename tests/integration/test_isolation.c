/*
 * Isolation - three users of one daemon: who owns a space, who may read it, and a stranger. Each tries
 * all that Linux offers on what it was given, on the others and on the daemon, and is heard saying
 * what it was told.
 *
 * What each attempt says is a table in ARCHITECTURE.md, which has to be true:
 *
 *   test_isolation --write ARCHITECTURE.md     makes it so
 *
 * $ISOLATION_SOCKET, $ISOLATION_DAEMON (its pid) and $ISOLATION_GROUP (who may connect): a service
 * that runs already, instead of daemons of the test's own. Needs root, to be several users.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/attempts.h"
#include "tests/hugepages.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/integration/person.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define SPACE "isolated"

enum {
	PAGES = 24,
	VARBOS = 61001, /* uids of nobody's */
	OWNER,
	READER,
	STRANGER,
	CLIENTS = 61011, /* gids */
	TEAM,
	OTHERS,
	LIMIT = 16 << 20,
	TEXT_MAX = 1 << 16,
	WAIT_TRIES = 2000, /* of 10 ms */
};

/* What there is to be had. */
enum file {
	FILE_ROOT,
	FILE_MAP,
	FILE_INDEX,
	FILE_BELL,
	FILE_DATA,
	FILE_DATA_HUGE,
	FILE_WORDS,
	FILE_LANES,
	FILE_RETURNS,
	FILES
};

static const char *const file_names[FILES] = {
	[FILE_ROOT] = "root file",
	[FILE_MAP] = "slice map",
	[FILE_INDEX] = "index",
	[FILE_BELL] = "bell",
	[FILE_DATA] = "data in 4 KiB pages",
	[FILE_DATA_HUGE] = "data in 2 MiB pages",
	[FILE_WORDS] = "words",
	[FILE_LANES] = "lanes",
	[FILE_RETURNS] = "return ring",
};

enum role { ROLE_OWNER, ROLE_READER, ROLE_STRANGER, ROLES };

static const char *const role_names[ROLES] = {"owner", "reader", "stranger"};

enum process { PROCESS_DAEMON, PROCESS_OWNER, PROCESS_READER, PROCESSES };

static const char *const process_names[PROCESSES] = {"daemon", "owner", "reader"};

enum { NOT_TRIED = -1 };

/* Seen by all of them; each writes what is its. */
static struct board {
	int file[ROLES][FILES][FILE_ATTEMPTS]; /* 0, errno */
	int process[ROLES][PROCESSES][PROCESS_ATTEMPTS];
	/* by the owner: */
	uint64_t secret, toy; /* offsets of extents */
	uint64_t secret_tag, toy_tag;
	uint64_t unit; /* bytes of each; a page, or more */
	size_t kept;   /* pages of `secret`, by pipes */
	pid_t pid[PROCESSES];
} * board;

static struct person people[ROLES];
static gid_t clients;
static bool borrowed;

/* ---- the daemon ---- */

static struct test_daemon daemon_;
static const char *socket_path;

static bool is_service(void)
{
	return getenv("ISOLATION_SOCKET");
}

static bool may_try(void)
{
	if (!geteuid())
		return true;
	fprintf(stderr, "SKIPPED: three users: needs root\n");
	return false;
}

static void become_three(void)
{
	const char *name = getenv("ISOLATION_GROUP");
	const struct group *group = name ? getgrnam(name) : NULL;

	clients = group ? group->gr_gid : CLIENTS;
	people[ROLE_OWNER] =
		(struct person){.uid = OWNER, .gid = TEAM, .groups = {clients}, .n_groups = 1};
	people[ROLE_READER] = (struct person){
		.uid = READER, .gid = OTHERS, .groups = {clients, TEAM}, .n_groups = 2};
	people[ROLE_STRANGER] = (struct person){
		.uid = STRANGER, .gid = OTHERS, .groups = {clients}, .n_groups = 1};
}

/* As root, from a service that goes on: what this test made, or one that failed before. */
static void remove_spaces(void)
{
	const char *const names[] = {SPACE, "next"};
	struct peer peer;

	peer_open(&peer, socket_path);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		peer_call(
			&peer, WIRE_SPACE_REMOVE,
			&(struct wire_space_remove){.name = wire_str(names[i]), .force = true});
	peer_close(&peer);
}

static void begin(const char *pages)
{
	become_three();
	if (is_service()) {
		socket_path = getenv("ISOLATION_SOCKET");
		board->pid[PROCESS_DAEMON] = atoi(getenv("ISOLATION_DAEMON"));
		remove_spaces();
		return;
	}
	/* Another's daemon may have some of the hugepages for a while. */
	for (int i = 0;
	     test_daemon_try_as(&daemon_, VARBOS, clients, "48M", "--pages", pages, NULL);
	     i++) {
		ck_assert_int_lt(i, strcmp(pages, "4K") != 0 ? WAIT_TRIES : 0);
		usleep(10000);
	}
	socket_path = daemon_.socket;
	board->pid[PROCESS_DAEMON] = daemon_.pid;
}

static void end(void)
{
	if (is_service())
		remove_spaces();
	else
		test_daemon_stop(&daemon_);
}

static void must(struct peer *peer, bool done)
{
	ck_assert_msg(done, "%llu: %.*s", (unsigned long long)peer->answer.fault.code,
		      (int)peer->answer.fault.message.size, peer->answer.fault.message.data);
}

/* ---- who has what ---- */

struct holding {
	struct peer peer;
	uint64_t space, cache;
	struct attempt_target files[FILES]; /* fd -1: not this one */
	uint64_t windows_size;
};

static void hold(struct holding *holding, enum file file, int fd, uint64_t offset,
		 uint64_t size)
{
	holding->files[file] =
		(struct attempt_target){.fd = fd, .offset = offset, .size = size};
}

static void hold_all_of(struct holding *holding, enum file file, int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	hold(holding, file, fd, 0, (uint64_t)st.st_size);
}

static void enter(struct holding *holding, bool read_only)
{
	struct peer *peer = &holding->peer;

	*holding = (struct holding){0};
	for (int i = 0; i < FILES; i++)
		holding->files[i].fd = -1;
	peer_open(peer, socket_path);
	must(peer, peer_call(peer, WIRE_SPACE_OPEN,
			     &(struct wire_space_open){.name = wire_str(SPACE),
						       .read_only = read_only}));
	holding->space = peer->answer.body.space_opened.space;
	board->unit = u64_max(peer->answer.body.space_opened.page, SLICE_BYTES);
	hold_all_of(holding, FILE_ROOT, TAKE_FD(peer->fds[0]));
}

static uint64_t allocate(struct holding *holding, uint64_t *ret_tag)
{
	struct peer *peer = &holding->peer;

	must(peer, peer_call(peer, WIRE_EXTENT_ALLOC,
			     &(struct wire_extent_alloc){.space = holding->space,
							 .size = board->unit,
							 .align = board->unit,
							 .shared = true}));
	*ret_tag = peer->answer.body.extent_alloced.tag;
	return peer->answer.body.extent_alloced.offset;
}

/* All descriptors that a session can ask for. The bytes at `toy` are there to be spoiled. */
static void have_all(struct holding *holding)
{
	struct peer *peer = &holding->peer;
	enum file data;

	must(peer, peer_call(peer, WIRE_WINDOW_OPEN,
			     &(struct wire_window_open){.space = holding->space}));
	data = peer->answer.body.window_opened.page == 4096 ? FILE_DATA : FILE_DATA_HUGE;
	holding->windows_size = peer->answer.body.window_opened.size;
	hold(holding, data, TAKE_FD(peer->fds[0]), board->toy, board->unit);
	hold_all_of(holding, FILE_MAP, TAKE_FD(peer->fds[1]));
	must(peer, peer_call(peer, WIRE_WORDS_OPEN,
			     &(struct wire_window_open){.space = holding->space}));
	hold(holding, FILE_WORDS, TAKE_FD(peer->fds[0]), 0, 4096);
	must(peer, peer_call(peer, WIRE_CACHE_OPEN,
			     &(struct wire_cache_open){.space = holding->space,
						       .name = wire_str("c"),
						       .capacity = 2 * MIB}));
	holding->cache = peer->answer.body.cache_opened.cache;
	must(peer, peer_call(peer, WIRE_CACHE_INDEX,
			     &(struct wire_cache_index){.space = holding->space,
							.cache = holding->cache}));
	hold_all_of(holding, FILE_INDEX, TAKE_FD(peer->fds[0]));
	must(peer, peer_call(peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 1}));
	hold_all_of(holding, FILE_LANES, TAKE_FD(peer->fds[0]));
	hold_all_of(holding, FILE_BELL, TAKE_FD(peer->fds[1]));
	must(peer, peer_call(peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	hold_all_of(holding, FILE_RETURNS, TAKE_FD(peer->fds[0]));
}

static enum file data_of(const struct holding *holding)
{
	return holding->files[FILE_DATA].fd >= 0 ? FILE_DATA : FILE_DATA_HUGE;
}

static char *map_data(const struct holding *holding, uint64_t offset, uint64_t size, int prot)
{
	void *at = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE,
			holding->files[data_of(holding)].fd, (off_t)offset);

	ck_assert_ptr_ne(at, MAP_FAILED);
	return at;
}

static void owner_enters(struct holding *holding)
{
	struct peer peer;

	peer_open(&peer, socket_path);
	must(&peer, peer_call(&peer, WIRE_SPACE_CREATE,
			      &(struct wire_space_create){
				      .name = wire_str(SPACE), .limit = LIMIT, .mode = 0640}));
	peer_close(&peer);
	enter(holding, false);
	board->secret = allocate(holding, &board->secret_tag);
	board->toy = allocate(holding, &board->toy_tag);
	have_all(holding);
}

static void owner_leaves(struct holding *holding)
{
	must(&holding->peer, peer_call(&holding->peer, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&holding->peer);
}

/* ---- what may be done ---- */

/* Bytes that are one's own to write may be written, and punched. */
static bool is_writing(enum file_attempt attempt)
{
	switch (attempt) {
	case ATTEMPT_pwrite:
	case ATTEMPT_map_writable:
	case ATTEMPT_mprotect:
	case ATTEMPT_read_into:
	case ATTEMPT_proc_mem:
	case ATTEMPT_process_vm_writev:
	case ATTEMPT_poke:
	case ATTEMPT_populate:
	case ATTEMPT_remove:
	case ATTEMPT_punch:
		return true;
	case ATTEMPT_reopen_write:
	case ATTEMPT_reopen_read:
	case ATTEMPT_allocate:
	case ATTEMPT_grow:
	case ATTEMPT_shrink:
	case ATTEMPT_fchmod:
	case ATTEMPT_fchown:
	case ATTEMPT_futimens:
	case ATTEMPT_seal:
	case FILE_ATTEMPTS:
		break;
	}
	return false;
}

static bool may(enum role role, enum file file, enum file_attempt attempt)
{
	switch (file) {
	case FILE_DATA:
	case FILE_DATA_HUGE:
	case FILE_WORDS:
		return role == ROLE_OWNER && is_writing(attempt);
	case FILE_LANES:
	case FILE_RETURNS: /* are the session's alone */
		return is_writing(attempt);
	case FILE_ROOT:
	case FILE_MAP:
	case FILE_INDEX:
	case FILE_BELL:
	case FILES:
		break;
	}
	return false;
}

/* To ptrace, a mapping has to be inherited; all else is the same. */
static void try_files(enum role role, const struct holding *holding)
{
	for (enum file i = 0; i < FILES; i++)
		for (enum file_attempt j = 0; j < FILE_ATTEMPTS && holding->files[i].fd >= 0;
		     j++)
			board->file[role][i][j] = attempt_on_file(j, &holding->files[i]);
}

static void try_process(enum role role, enum process process)
{
	for (enum process_attempt i = 0; i < PROCESS_ATTEMPTS; i++)
		board->process[role][process][i] = attempt_on_process(i, board->pid[process]);
}

static void controlled(void)
{
	const char *wrong = attempts_control();

	ck_assert_msg(!wrong, "%s", wrong);
}

/* ---- the three ---- */

static void owner_lives(struct other_person *person)
{
	struct holding holding;
	char *secret;

	owner_enters(&holding);
	secret = map_data(&holding, board->secret, board->unit, PROT_READ | PROT_WRITE);
	memset(secret, 's', board->unit);
	board->pid[PROCESS_OWNER] = getpid();
	person_say(person, 0);

	person_hear(person);
	for (uint64_t i = 0; i < board->unit; i++)
		ck_assert_int_eq(secret[i], 's');
	controlled();
	try_files(ROLE_OWNER, &holding);
	try_process(ROLE_OWNER, PROCESS_DAEMON);
	try_process(ROLE_OWNER, PROCESS_READER);
	peer_status(&holding.peer); /* the daemon minds none of it */
	owner_leaves(&holding);
}

static void reader_lives(struct other_person *person)
{
	struct holding holding;
	const char *secret;

	enter(&holding, true);
	have_all(&holding);
	secret = map_data(&holding, board->secret, board->unit, PROT_READ);
	ck_assert_int_eq(secret[0], 's');
	board->pid[PROCESS_READER] = getpid();
	controlled();
	try_files(ROLE_READER, &holding);
	try_process(ROLE_READER, PROCESS_DAEMON);
	try_process(ROLE_READER, PROCESS_OWNER);
	peer_status(&holding.peer);
	person_say(person, 0);
	person_hear(person); /* the others try it */
	owner_leaves(&holding);
}

static void stranger_lives(struct other_person *person)
{
	(void)person;
	controlled();
	for (enum process i = 0; i < PROCESSES; i++)
		try_process(ROLE_STRANGER, i);
}

static void play(const char *pages)
{
	struct other_person owner, reader, stranger;

	begin(pages);
	person_start(&owner, &people[ROLE_OWNER], owner_lives);
	person_hear(&owner);
	person_start(&reader, &people[ROLE_READER], reader_lives);
	person_hear(&reader);
	person_start(&stranger, &people[ROLE_STRANGER], stranger_lives);
	person_end(&stranger);
	person_say(&owner, 0);
	person_end(&owner);
	person_say(&reader, 0);
	person_end(&reader);
	end();
}

/* ---- the table ---- */

static void add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(char *text, const char *format, ...)
{
	size_t n = strlen(text);
	va_list args;

	va_start(args, format);
	n += (size_t)vsnprintf(text + n, TEXT_MAX - n, format, args);
	va_end(args);
	ck_assert_uint_lt(n, TEXT_MAX);
}

static void add_result(char *text, int result)
{
	const char *name = result ? strerrorname_np(result) : "done";

	add(text, " | %s", name ? name : "?");
}

/* Who and what met with the same answers, one after the other. */
static bool same_as_before(const int *results, size_t n, const int *const *columns,
			   size_t n_columns, size_t *ret)
{
	for (*ret = 0; *ret < n_columns; ++*ret)
		if (!memcmp(results, columns[*ret], n * sizeof(*results)))
			return true;
	return false;
}

static void add_files(char *text)
{
	const int *columns[ROLES * FILES];
	char names[ROLES * FILES][256] = {};
	size_t n = 0, at;

	for (enum role role = 0; role < ROLES; role++)
		for (enum file i = 0; i < FILES; i++) {
			const int *results = board->file[role][i];
			char *name;

			if (results[0] == NOT_TRIED)
				continue;
			if (!same_as_before(results, FILE_ATTEMPTS, columns, n, &at))
				columns[n++] = results;
			name = names[at];
			snprintf(name + strlen(name), sizeof(names[0]) - strlen(name),
				 "%s%s's %s", name[0] ? ", " : "", role_names[role],
				 file_names[i]);
		}
	for (size_t i = 0; i < n; i++)
		add(text, "- %c: %s\n", (int)('A' + i), names[i]);
	add(text, "\n| on a file that it was given");
	for (size_t i = 0; i < n; i++)
		add(text, " | %c", (int)('A' + i));
	add(text, " |\n|---");
	for (size_t i = 0; i < n; i++)
		add(text, "|---");
	add(text, "|\n");
	for (enum file_attempt i = 0; i < FILE_ATTEMPTS; i++) {
		add(text, "| %s", file_attempt_texts[i]);
		for (size_t j = 0; j < n; j++)
			add_result(text, columns[j][i]);
		add(text, " |\n");
	}
}

static void add_processes(char *text)
{
	const int *columns[ROLES * PROCESSES];
	char names[ROLES * PROCESSES][256] = {};
	size_t n = 0, at;

	for (enum role role = 0; role < ROLES; role++)
		for (enum process i = 0; i < PROCESSES; i++) {
			const int *results = board->process[role][i];
			char *name;

			if (results[0] == NOT_TRIED)
				continue;
			if (!same_as_before(results, PROCESS_ATTEMPTS, columns, n, &at))
				columns[n++] = results;
			name = names[at];
			snprintf(name + strlen(name), sizeof(names[0]) - strlen(name),
				 "%s%s at the %s", name[0] ? ", " : "", role_names[role],
				 process_names[i]);
		}
	add(text, "\n| on a process");
	for (size_t i = 0; i < n; i++)
		add(text, " | %s", names[i]);
	add(text, " |\n|---");
	for (size_t i = 0; i < n; i++)
		add(text, "|---");
	add(text, "|\n");
	for (enum process_attempt i = 0; i < PROCESS_ATTEMPTS; i++) {
		add(text, "| %s", process_attempt_texts[i]);
		for (size_t j = 0; j < n; j++)
			add_result(text, columns[j][i]);
		add(text, " |\n");
	}
}

static const char table_begin[] = "<!-- isolation: begin -->\n";
static const char table_end[] = "<!-- isolation: end -->\n";
static const char *write_to; /* a file's name */

static void table_write(const char *path, const char *before, size_t n, const char *table,
			const char *after)
{
	FILE *out = fopen(path, "we");

	ck_assert_ptr_nonnull(out);
	fprintf(out, "%.*s%s%s", (int)n, before, table, after);
	ck_assert_int_eq(fclose(out), 0);
}

/* The line of the table that begins so; its end is where the next one begins. */
static const char *line_of(const char *table, const char *begins)
{
	size_t n = strlen(begins);

	while (strncmp(table, begins, n)) {
		table = strchr(table, '\n');
		ck_assert_msg(table, "there is no line: %s", begins);
		table++;
	}
	return table;
}

/* Is this what the table says in that column of the row? */
static void cell_is(const char *table, const char *row, unsigned column, int result)
{
	char begins[128], wanted[32];
	const char *at;

	snprintf(begins, sizeof(begins), "| %s |", row);
	snprintf(wanted, sizeof(wanted), " %s |", result ? strerrorname_np(result) : "done");
	at = line_of(table, begins) + 1;
	for (unsigned i = 0; i <= column; i++)
		at = strchr(at, '|') + 1;
	ck_assert_msg(!strncmp(at, wanted, strlen(wanted)), "%s, in column %u: %s, not%.20s",
		      row, column + 1, wanted, at);
}

/* The column that names this one, of a header with cells, or of a list of letters. */
static unsigned column_of(const char *table, const char *name)
{
	const char *at = strstr(table, name);
	unsigned column = 0;

	ck_assert_msg(at, "the table says nothing of the %s", name);
	while (at > table && at[-1] != '\n')
		column += *--at == '|';
	return *at == '-' ? (unsigned)(at[2] - 'A') : column - 2;
}

/* All that was tried now, whatever else the table has. */
static void cells_hold(const char *table)
{
	char name[64];

	for (enum role role = 0; role < ROLES; role++) {
		for (enum file i = 0; i < FILES; i++) {
			if (board->file[role][i][0] == NOT_TRIED)
				continue;
			snprintf(name, sizeof(name), "%s's %s", role_names[role],
				 file_names[i]);
			for (enum file_attempt j = 0; j < FILE_ATTEMPTS; j++)
				cell_is(table, file_attempt_texts[j], column_of(table, name),
					board->file[role][i][j]);
		}
		for (enum process i = 0; i < PROCESSES; i++) {
			if (board->process[role][i][0] == NOT_TRIED)
				continue;
			snprintf(name, sizeof(name), "%s at the %s", role_names[role],
				 process_names[i]);
			for (enum process_attempt j = 0; j < PROCESS_ATTEMPTS; j++)
				cell_is(table, process_attempt_texts[j], column_of(table, name),
					board->process[role][i][j]);
		}
	}
}

static void table_holds(const char *path)
{
	static char page[4 * TEXT_MAX], table[TEXT_MAX];
	char *from, *to;
	FILE *in = fopen(path, "re");

	ck_assert_msg(in, "%s: %s", path, strerror(errno));
	page[fread(page, 1, sizeof(page) - 1, in)] = '\0';
	fclose(in);
	from = strstr(page, table_begin);
	to = strstr(page, table_end);
	ck_assert_msg(from && to > from, "%s has no %s", path, table_begin);
	from += strlen(table_begin);
	table[0] = '\0';
	add_files(table);
	add_processes(table);
	if (write_to) {
		table_write(path, page, (size_t)(from - page), table, to);
		return;
	}
	*to = '\0';
	cells_hold(from);
	/* With both sizes of pages there is nothing else that it could say. */
	ck_assert_msg(!borrowed || !strcmp(from, table),
		      "%s does not say what is so (test_isolation --write %s mends it):\n%s",
		      path, path, table);
}

static void board_clear(void)
{
	for (enum role role = 0; role < ROLES; role++) {
		for (enum file i = 0; i < FILES; i++)
			for (enum file_attempt j = 0; j < FILE_ATTEMPTS; j++)
				board->file[role][i][j] = NOT_TRIED;
		for (enum process i = 0; i < PROCESSES; i++)
			for (enum process_attempt j = 0; j < PROCESS_ATTEMPTS; j++)
				board->process[role][i][j] = NOT_TRIED;
	}
}

/* Nothing that is denied to be done was done; what may be done, some of it, was. */
static void board_holds(void)
{
	for (enum role role = 0; role < ROLES; role++) {
		for (enum file i = 0; i < FILES; i++) {
			unsigned done = 0, writing = 0;

			if (board->file[role][i][0] == NOT_TRIED)
				continue;
			for (enum file_attempt j = 0; j < FILE_ATTEMPTS; j++) {
				int result = board->file[role][i][j];

				ck_assert_int_ne(result, NOT_TRIED);
				ck_assert_msg(result || may(role, i, j),
					      "%s, on the %s, by the %s", file_attempt_texts[j],
					      file_names[i], role_names[role]);
				done += !result;
				writing += may(role, i, j);
			}
			ck_assert_msg(done + 1 >= writing, "the %s cannot write the %s",
				      role_names[role], file_names[i]);
		}
		for (enum process i = 0; i < PROCESSES; i++)
			for (enum process_attempt j = 0; j < PROCESS_ATTEMPTS; j++)
				ck_assert_msg(board->process[role][i][j],
					      "%s, on the %s, by the %s",
					      process_attempt_texts[j], process_names[i],
					      role_names[role]);
	}
}

START_TEST(each_attempt_is_denied_with_the_errno_that_the_manual_says)
{
	const char *table = write_to ? write_to : getenv("ISOLATION_TABLE");

	if (!may_try())
		return;
	board_clear();
	play("4K");
	board_holds();
	if (borrowed)
		play("2M");
	board_holds();
	ck_assert_int_ne(board->file[ROLE_READER][FILE_ROOT][0], NOT_TRIED);
	if (table)
		table_holds(table);
}
END_TEST

/* ---- what is refused by name ---- */

static void refused(struct peer *peer, uint64_t code, const char *which, const char *text)
{
	const struct wire_fault *fault = &peer->answer.fault;

	ck_assert(peer->answer.failed);
	ck_assert_int_eq(peer->fds[0], -1);
	ck_assert_uint_eq(fault->code, code);
	ck_assert_msg(wire_str_is(fault->which, which), "%.*s, not %s", (int)fault->which.size,
		      fault->which.data, which);
	ck_assert_msg(memmem(fault->message.data, fault->message.size, text, strlen(text)),
		      "%.*s", (int)fault->message.size, fault->message.data);
}

/* Whoever is not in the group: not even a connection. */
static void outsider_lives(struct other_person *person)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char statistics[128];

	(void)person;
	strcpy(address.sun_path, socket_path);
	ck_assert_int_lt(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(errno, EACCES);
	snprintf(statistics, sizeof(statistics), "%s.stats", socket_path);
	ck_assert_int_lt(open(statistics, O_RDONLY | O_CLOEXEC), 0);
	ck_assert_int_eq(errno, EACCES);
}

static bool try_enter(struct peer *peer, bool read_only)
{
	return peer_call(
		peer, WIRE_SPACE_OPEN,
		&(struct wire_space_open){.name = wire_str(SPACE), .read_only = read_only});
}

/* The space's handle is no secret, and nothing without having opened it. */
static void knock(struct peer *peer, uint64_t space)
{
	static const char closed[] = "no such space is open in this session";
	const struct {
		enum wire_method method;
		const void *params;
	} knocks[] = {
		{WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space}},
		{WIRE_WORDS_OPEN, &(struct wire_window_open){.space = space}},
		{WIRE_EXTENT_ALLOC, &(struct wire_extent_alloc){.space = space, .size = 1}},
		{WIRE_EXTENT_FREE, &(struct wire_extent_free){.space = space}},
		{WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = space}},
		{WIRE_CHANNEL_OPEN, &(struct wire_channel_open){.space = space,
								.name = wire_str("x"),
								.roles = 3}},
		{WIRE_CHANNEL_LIST, &(struct wire_space_page){.space = space}},
		{WIRE_BLOCK_WHO, &(struct wire_block_who){.space = space}},
		{WIRE_CACHE_OPEN,
		 &(struct wire_cache_open){.space = space, .name = wire_str("c")}},
		{WIRE_CACHE_REMOVE,
		 &(struct wire_cache_remove){.space = space, .name = wire_str("c")}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(knocks); i++) {
		ck_assert(!peer_call(peer, knocks[i].method, knocks[i].params));
		ck_assert_msg(peer->answer.fault.code == FAULT_NOT_FOUND, "method %d",
			      (int)knocks[i].method);
		refused(peer, FAULT_NOT_FOUND, "space", closed);
	}
	/* A cache is found in spaces that are open. */
	ck_assert(!peer_call(peer, WIRE_CACHE_INDEX,
			     &(struct wire_cache_index){.space = space, .cache = 1}));
	ck_assert_int_eq(peer->fds[0], -1);
}

static void stranger_knocks(struct other_person *person)
{
	uint64_t space = person_hear(person);
	struct peer peer;

	peer_open(&peer, socket_path);
	ck_assert(!try_enter(&peer, true));
	refused(&peer, FAULT_PERMISSION, "read",
		"permission denied: uid 61004 may not read it: its mode is 0640, its owner uid "
		"61002, its group gid 61012");
	ck_assert(!try_enter(&peer, false));
	refused(&peer, FAULT_PERMISSION, "read", "uid 61004 may not read it");
	knock(&peer, space);
	ck_assert(!peer_call(
		&peer, WIRE_SPACE_CHANGE,
		&(struct wire_space_change){.name = wire_str(SPACE), .set = 16, .mode = 0666}));
	refused(&peer, FAULT_PERMISSION, "owner", "only its owner and root");
	ck_assert(!peer_call(
		&peer, WIRE_SPACE_REMOVE,
		&(struct wire_space_remove){.name = wire_str(SPACE), .force = true}));
	refused(&peer, FAULT_PERMISSION, "owner", "only its owner and root");
	peer_close(&peer);
}

static void reader_knocks(struct other_person *person)
{
	uint64_t space;
	struct peer peer;

	person_hear(person);
	peer_open(&peer, socket_path);
	ck_assert(!try_enter(&peer, false));
	refused(&peer, FAULT_PERMISSION, "write",
		"permission denied: uid 61003 may not write it: its mode is 0640");
	must(&peer, try_enter(&peer, true));
	space = peer.answer.body.space_opened.space;
	ck_assert(!peer_call(&peer, WIRE_EXTENT_ALLOC,
			     &(struct wire_extent_alloc){.space = space, .size = 1}));
	refused(&peer, FAULT_PERMISSION, "write", "has opened the space read-only");
	ck_assert(!peer_call(&peer, WIRE_EXTENT_FREE,
			     &(struct wire_extent_free){.space = space,
							.offset = board->secret,
							.tag = board->secret_tag}));
	refused(&peer, FAULT_PERMISSION, "write", "read-only");
	ck_assert(!peer_call(&peer, WIRE_HOLDER_OPEN,
			     &(struct wire_space_handle){.space = space}));
	refused(&peer, FAULT_PERMISSION, "write", "read-only");
	ck_assert(!peer_call(
		&peer, WIRE_SPACE_CHANGE,
		&(struct wire_space_change){.name = wire_str(SPACE), .set = 16, .mode = 0666}));
	refused(&peer, FAULT_PERMISSION, "owner", "only its owner and root");
	peer_close(&peer);
}

static void owner_waits(struct other_person *person)
{
	struct holding holding;

	owner_enters(&holding);
	person_say(person, holding.space);
	person_hear(person);
	owner_leaves(&holding);
}

START_TEST(what_is_denied_says_what_is_missing)
{
	struct person outsider = {.uid = STRANGER, .gid = OTHERS};
	struct other_person owner, other;
	uint64_t space;

	if (!may_try())
		return;
	begin("4K");
	person_start(&owner, &people[ROLE_OWNER], owner_waits);
	space = person_hear(&owner);
	person_start(&other, &outsider, outsider_lives);
	person_end(&other);
	person_start(&other, &people[ROLE_STRANGER], stranger_knocks);
	person_say(&other, space);
	person_end(&other);
	person_start(&other, &people[ROLE_READER], reader_knocks);
	person_say(&other, space);
	person_end(&other);
	person_say(&owner, 0);
	person_end(&owner);
	end();
}
END_TEST

/* ---- holes ---- */

static uint64_t blocks(const struct attempt_target *target)
{
	struct stat st;

	ck_assert_int_eq(fstat(target->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* By way of the kernel, which says EFAULT where a program would have SIGBUS. */
static int touch(const char *at)
{
	int pipe_[2], r;

	ck_assert_int_eq(pipe2(pipe_, O_CLOEXEC), 0);
	r = write(pipe_[1], at, 1) == 1 ? 0 : errno;
	close(pipe_[0]);
	close(pipe_[1]);
	return r;
}

/* Of what the daemon alone writes there is no hole, and nothing to be touched behind the end. */
static void no_hole(const struct attempt_target *target)
{
	const uint64_t page = 4096, pages = (target->size + page - 1) / page;
	const char *at = mmap(NULL, (pages + 1) * page, PROT_READ, MAP_SHARED, target->fd, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	ck_assert_uint_eq(blocks(target), pages * page);
	ck_assert_int_eq(touch(at + (pages - 1) * page), 0);
	ck_assert_int_eq(touch(at + pages * page), EFAULT);
	ck_assert_uint_eq(blocks(target), pages * page);
}

static void reader_touches(struct other_person *person)
{
	struct holding holding;
	const struct attempt_target *data;
	uint64_t page, before;
	const char *at;

	enter(&holding, true);
	have_all(&holding);
	no_hole(&holding.files[FILE_ROOT]);
	no_hole(&holding.files[FILE_MAP]);
	no_hole(&holding.files[FILE_INDEX]);
	no_hole(&holding.files[FILE_BELL]);

	data = &holding.files[data_of(&holding)];
	page = data_of(&holding) == FILE_DATA ? 4096 : CHUNK_BYTES;
	at = map_data(&holding, 0, holding.windows_size, PROT_READ);
	before = blocks(data);
	for (uint64_t i = 0; i < holding.windows_size; i += page) {
		int r = touch(at + i);

		ck_assert(!r || page > 4096);
		ck_assert(!r || r == EFAULT);
	}
	if (page > 4096) {
		ck_assert_uint_lt(before, holding.windows_size);
		ck_assert_uint_eq(blocks(data), before);
	} else {
		/*
		 * Pages there are, but no more than the space may have; and they go with who made
		 * them, or are looked for while they are made.
		 */
		ck_assert_uint_le(blocks(data), holding.windows_size);
		ck_assert_uint_le(holding.windows_size, LIMIT);
	}
	person_say(person, before);
	owner_leaves(&holding);
}

static void owner_watches(struct other_person *person)
{
	struct holding holding;
	const struct attempt_target *data;
	uint64_t before;

	owner_enters(&holding);
	person_say(person, 0);
	before = person_hear(person);
	data = &holding.files[data_of(&holding)];
	for (int i = 0; i < WAIT_TRIES && blocks(data) > before; i++)
		usleep(10000);
	ck_assert_uint_eq(blocks(data), before);
	owner_leaves(&holding);
}

static void touch_holes(const char *pages)
{
	struct other_person owner, reader;
	uint64_t before;

	begin(pages);
	person_start(&owner, &people[ROLE_OWNER], owner_watches);
	person_hear(&owner);
	person_start(&reader, &people[ROLE_READER], reader_touches);
	before = person_hear(&reader);
	person_end(&reader);
	person_say(&owner, before);
	person_end(&owner);
	end();
}

START_TEST(who_touches_holes_keeps_no_page)
{
	if (!may_try())
		return;
	touch_holes("4K");
	if (borrowed)
		touch_holes("2M");
}
END_TEST

/* ---- memory that passes on ---- */

static const char *page_of(const char *memory, size_t i)
{
	return memory + i * (board->unit == SLICE_BYTES ? 4096 : CHUNK_BYTES);
}

/* A pipe that keeps the first bytes of so many pages, not a copy of them. */
static int keep(const char *memory, size_t pages, int *ret_writes)
{
	int pipe_[2];

	ck_assert_int_eq(pipe2(pipe_, O_CLOEXEC), 0);
	for (size_t i = 0; i < pages; i++) {
		struct iovec piece = {(void *)(uintptr_t)page_of(memory, i), 64};

		ck_assert_int_eq(vmsplice(pipe_[1], &piece, 1, 0), 64);
	}
	*ret_writes = pipe_[1];
	return pipe_[0];
}

static void is_filled(int fd, size_t pages, char with)
{
	char bytes[64];

	for (size_t i = 0; i < pages; i++) {
		ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
		for (size_t j = 0; j < sizeof(bytes); j++)
			ck_assert_int_eq(bytes[j], with);
	}
}

static void former_lives(struct other_person *person)
{
	struct holding holding;
	char *memory;
	int kept, writes;

	owner_enters(&holding);
	memory = map_data(&holding, board->secret, board->unit, PROT_READ | PROT_WRITE);
	memset(memory, 's', board->unit);
	kept = keep(memory, board->kept, &writes);
	person_say(person, 0);
	person_hear(person);
	must(&holding.peer,
	     peer_call(&holding.peer, WIRE_SPACE_REMOVE,
		       &(struct wire_space_remove){.name = wire_str(SPACE), .force = true}));
	owner_leaves(&holding);
	person_say(person, 0);
	person_hear(person);
	is_filled(kept, board->kept, 's');
	close(writes);
}

static void former_reader_lives(struct other_person *person)
{
	struct holding holding;
	const char *memory;
	int kept, writes;

	enter(&holding, true);
	have_all(&holding);
	memory = map_data(&holding, board->secret, board->unit, PROT_READ);
	kept = keep(memory, board->kept, &writes);
	person_say(person, 0);
	person_hear(person);
	owner_leaves(&holding);
	person_say(person, 0);
	person_hear(person);
	is_filled(kept, board->kept, 's');
	/* In the mapping, there is nothing any more, or a new page: never what others have. */
	if (!touch(memory))
		ck_assert_int_ne(memory[0], 'n');
	close(writes);
}

/* All that can be had, which is at least what the others had. */
static void next_lives(struct other_person *person)
{
	struct wire_space_create create = {.name = wire_str("next"), .limit = 24 * MIB};
	struct holding holding;
	struct peer *peer = &holding.peer;
	uint64_t had = 0;

	holding = (struct holding){0};
	peer_open(peer, socket_path);
	must(peer, peer_call(peer, WIRE_SPACE_CREATE, &create));
	must(peer,
	     peer_call(peer, WIRE_SPACE_OPEN, &(struct wire_space_open){.name = create.name}));
	holding.space = peer->answer.body.space_opened.space;
	while (peer_call(peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = holding.space, .size = MIB})) {
		uint64_t offset = peer->answer.body.extent_alloced.offset;
		const char *at;
		char *memory;

		must(peer,
		     peer_call(peer, WIRE_WINDOW_OPEN,
			       &(struct wire_window_open){.space = holding.space,
							  .window = offset_window(offset)}));
		memory =
			mmap(NULL, peer->answer.body.window_opened.size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE, peer->fds[0], 0);
		ck_assert_ptr_ne(memory, MAP_FAILED);
		at = memory + offset_position(offset);
		for (uint64_t i = 0; i < MIB; i += 8)
			ck_assert_int_eq(at[i], 0);
		memset(memory + offset_position(offset), 'n', MIB);
		munmap(memory, peer->answer.body.window_opened.size);
		had += MIB;
	}
	ck_assert_msg(had >= 8 * MIB, "%" PRIu64 ": %.*s", had,
		      (int)peer->answer.fault.message.size, peer->answer.fault.message.data);
	person_say(person, had);
	person_hear(person);
	must(peer, peer_call(peer, WIRE_SPACE_REMOVE,
			     &(struct wire_space_remove){.name = create.name, .force = true}));
	owner_leaves(&holding);
}

static void pass_on(const char *pages, size_t kept)
{
	struct other_person owner, reader, next;

	begin(pages);
	board->kept = kept;
	person_start(&owner, &people[ROLE_OWNER], former_lives);
	person_hear(&owner);
	person_start(&reader, &people[ROLE_READER], former_reader_lives);
	person_hear(&reader);
	person_say(&reader, 0);
	person_hear(&reader);
	person_say(&owner, 0);
	person_hear(&owner);
	person_start(&next, &people[ROLE_STRANGER], next_lives);
	person_hear(&next);
	person_say(&owner, 0);
	person_end(&owner);
	person_say(&reader, 0);
	person_end(&reader);
	person_say(&next, 0);
	person_end(&next);
	end();
}

START_TEST(memory_of_another_space_shows_no_old_byte)
{
	if (!may_try())
		return;
	pass_on("4K", 16);
	if (borrowed)
		pass_on("2M", 1);
}
END_TEST

/* ---- a member that is removed ---- */

/* 64 KiB or a page at a time, all that the space may have: filled, and none of it in window 0. */
static void owner_goes_on(struct holding *holding)
{
	struct peer *peer = &holding->peer;
	uint64_t had = 0;

	while (peer_call(peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = holding->space,
						     .size = board->unit,
						     .shared = true})) {
		uint64_t offset = peer->answer.body.extent_alloced.offset, size;
		char *memory;

		ck_assert_uint_ne(offset_window(offset), 0);
		must(peer,
		     peer_call(peer, WIRE_WINDOW_OPEN,
			       &(struct wire_window_open){.space = holding->space,
							  .window = offset_window(offset)}));
		size = peer->answer.body.window_opened.size;
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			      peer->fds[0], 0);
		ck_assert_ptr_ne(memory, MAP_FAILED);
		memset(memory + offset_position(offset), 'n', board->unit);
		munmap(memory, size);
		had += board->unit;
	}
	ck_assert_uint_ge(had, 4 * MIB);
}

static void owner_removes(struct other_person *person)
{
	struct holding holding;
	struct peer *peer = &holding.peer;
	char *secret;

	owner_enters(&holding);
	secret = map_data(&holding, board->secret, board->unit, PROT_READ | PROT_WRITE);
	memset(secret, 's', board->unit);
	person_say(person, 0);
	person_hear(person);
	must(peer, peer_call(peer, WIRE_EXTENT_FREE,
			     &(struct wire_extent_free){.space = holding.space,
							.offset = board->toy,
							.tag = board->toy_tag}));
	must(peer, peer_call(peer, WIRE_SPACE_CHANGE,
			     &(struct wire_space_change){
				     .name = wire_str(SPACE), .set = 16, .mode = 0600}));
	owner_goes_on(&holding);
	person_say(person, 0);
	person_hear(person);
	owner_leaves(&holding);
}

static void is_revoked(struct peer *peer, bool done)
{
	ck_assert(!done);
	refused(peer, FAULT_PERMISSION, "revoked",
		"uid 61003 has lost the right by which it opened it (its mode is 0600");
}

static void reader_is_removed(struct other_person *person)
{
	struct holding holding;
	struct peer *peer = &holding.peer;
	const char *at;

	enter(&holding, true);
	have_all(&holding);
	at = map_data(&holding, 0, holding.windows_size, PROT_READ);
	person_say(person, 0);
	person_hear(person);

	/* What it has, it has. */
	ck_assert_int_eq(at[board->secret], 's');
	for (uint64_t i = 0; i < holding.windows_size; i += 4096)
		ck_assert(touch(at + i) || at[i] != 'n');
	for (uint64_t window = 0; window < 3; window++) {
		const struct wire_window_open open = {.space = holding.space, .window = window};

		is_revoked(peer, peer_call(peer, WIRE_WINDOW_OPEN, &open));
		is_revoked(peer, peer_call(peer, WIRE_WORDS_OPEN, &open));
	}
	is_revoked(peer, peer_call(peer, WIRE_CACHE_INDEX,
				   &(struct wire_cache_index){.space = holding.space,
							      .cache = holding.cache}));
	is_revoked(peer, peer_call(peer, WIRE_CACHE_OPEN,
				   &(struct wire_cache_open){.space = holding.space,
							     .name = wire_str("c")}));
	must(peer, peer_call(peer, WIRE_SPACE_CLOSE,
			     &(struct wire_space_handle){.space = holding.space}));
	ck_assert(!try_enter(peer, true));
	refused(peer, FAULT_PERMISSION, "read", "uid 61003 may not read it");
	owner_leaves(&holding);
	person_say(person, 0);
}

static void take_away(const char *pages)
{
	struct other_person owner, reader;

	begin(pages);
	person_start(&owner, &people[ROLE_OWNER], owner_removes);
	person_hear(&owner);
	person_start(&reader, &people[ROLE_READER], reader_is_removed);
	person_hear(&reader);
	person_say(&owner, 0);
	person_hear(&owner);
	person_say(&reader, 0);
	person_hear(&reader);
	person_end(&reader);
	person_say(&owner, 0);
	person_end(&owner);
	end();
}

START_TEST(a_reader_that_is_removed_keeps_what_it_has_and_gets_nothing_more)
{
	if (!may_try())
		return;
	take_away("4K");
	if (borrowed)
		take_away("2M");
}
END_TEST

static void borrow(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	borrowed = !geteuid() && !is_service() && hugepages_borrow(PAGES);
}

static void give_back(void)
{
	if (borrowed)
		hugepages_return();
	munmap(board, sizeof(*board));
}

int main(int argc, char **argv)
{
	Suite *s = suite_create("isolation");
	TCase *t = tcase_create("isolation");

	if (argc == 3 && !strcmp(argv[1], "--write"))
		write_to = argv[2];
	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, borrow, give_back);
	tcase_add_test(t, each_attempt_is_denied_with_the_errno_that_the_manual_says);
	tcase_add_test(t, what_is_denied_says_what_is_missing);
	tcase_add_test(t, who_touches_holes_keeps_no_page);
	tcase_add_test(t, memory_of_another_space_shows_no_old_byte);
	tcase_add_test(t, a_reader_that_is_removed_keeps_what_it_has_and_gets_nothing_more);
	suite_add_tcase(s, t);
	return suite_run(s);
}
