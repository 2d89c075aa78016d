#include "tests/integration/fake_daemon.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "proto/layout.h"
#include "proto/wire.h"

enum {
	SPACE = 7,
	SESSION = 3,
	SLICES = 32,
	MAP_WORDS = 512, /* of the page; those beyond the window lie, too */
	GENERATION = 5,
	HOLDER = 9,
	CHANNEL = 10,
};

#define WINDOW_SIZE ((uint64_t)SLICES << SLICE_SHIFT)

unsigned fds_open(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned n = 0;

	assert(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* ---- files ---- */

static int memfd(const char *name, uint64_t size, int seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert(fd >= 0);
	assert(!ftruncate(fd, (off_t)size));
	assert(!seals || !fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void make_data(struct fake_daemon *fake)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	uint64_t size = WINDOW_SIZE;
	int pair[2];

	if (fake->lie == LIE_DATA_PIPE) {
		assert(!pipe2(pair, O_CLOEXEC));
		close(pair[1]);
		fake->data = pair[0];
		return;
	}
	if (fake->lie == LIE_DATA_SHRINKS)
		seals = F_SEAL_GROW;
	if (fake->lie == LIE_DATA_GROWS)
		seals = F_SEAL_SHRINK;
	if (fake->lie == LIE_DATA_SMALL)
		size /= 2;
	if (fake->lie == LIE_DATA_LARGE)
		size *= 2;
	fake->data = memfd("data", size, seals);
}

static void make_files(struct fake_daemon *fake)
{
	struct window_info info = {
		.state = fake->lie == LIE_WINDOW_UNGRANTED ? WINDOW_BORN : WINDOW_GRANTED,
		.page_shift = 12,
		.size_shift = 21,
		.generation = GENERATION,
	};
	uint64_t root_size = sizeof(*fake->root_file);

	if (fake->lie == LIE_WINDOW_VAST)
		info.size_shift = 35;
	if (fake->lie == LIE_WINDOW_TINY)
		info.size_shift = 20;

	make_data(fake);
	fake->map = memfd("map", fake->lie == LIE_MAP_SHORT ? 8 * (SLICES - 1) : 8 * MAP_WORDS,
			  fake->lie == LIE_MAP_UNSEALED ? 0 : F_SEAL_SHRINK);
	fake->words =
		mmap(NULL, 8 * MAP_WORDS, PROT_READ | PROT_WRITE, MAP_SHARED, fake->map, 0);
	fake->words_file = memfd(
		"words", words_file_size(SLICES) - (fake->lie == LIE_WORDS_SHORT ? 4096 : 0),
		fake->lie == LIE_WORDS_UNSEALED ? 0 : F_SEAL_SHRINK | F_SEAL_GROW);
	fake->root = memfd("root", fake->lie == LIE_ROOT_SHORT ? root_size / 2 : root_size,
			   fake->lie == LIE_ROOT_UNSEALED ? 0 : F_SEAL_SHRINK);
	fake->root_file =
		mmap(NULL, root_size, PROT_READ | PROT_WRITE, MAP_SHARED, fake->root, 0);
	assert(fake->words != MAP_FAILED && fake->root_file != MAP_FAILED);
	if (fake->lie == LIE_ROOT_SHORT)
		return;

	fake->root_file->magic = fake->lie == LIE_ROOT_MAGIC ? 1 : ROOT_MAGIC;
	fake->root_file->layout = LAYOUT_VERSION + (fake->lie == LIE_ROOT_LAYOUT);
	fake->root_file->space = SPACE + (fake->lie == LIE_ROOT_SPACE);
	fake->root_file->windows[0] = window_word_pack(info);
	if (fake->lie != LIE_ID_NOBODY)
		fake->root_file->ids[HOLDER] = id_word_pack(
			(struct id_info){.kind = ID_PROCESS, .pid = (uint32_t)getpid()});
}

static int reopen(int fd)
{
	char path[64];
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, O_RDONLY | O_CLOEXEC);
	assert(copy >= 0);
	return copy;
}

/* ---- sending ---- */

static void send_with(int to, const void *data, size_t size, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (n_fds) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	(void)!sendmsg(to, &message, MSG_NOSIGNAL); /* the other side may have gone */
}

static void send_refused(struct fake_daemon *fake, int to, bool with_fd)
{
	struct wire_extent_refused refused = {
		.space = SPACE,
		.offset = 0x30000,
		.tag = 9,
		.code = 4,
		.message = wire_str("it is not yours"),
	};
	char buffer[512];
	int size = wire_encode_note(buffer, sizeof(buffer), WIRE_EXTENT_REFUSED, &refused);

	assert(size > 0);
	send_with(to, buffer, (size_t)size, &fake->root, with_fd);
}

static void answer(struct fake_daemon *fake, int to, const struct wire_message *request,
		   const void *result, const int *fds, unsigned n_fds)
{
	static const char garbage[] = "\xc1 is what MessagePack never uses";
	static const char huge[] = "\xdd\xff\xff\xff\xff";
	static const char new_note[] = "\x93\x02\xa7"
				       "weather"
				       "\x80";
	static const char asks[] = "\x94\x00\x01\xa4"
				   "ping"
				   "\x80";
	uint64_t id = request->id + (fake->lie == LIE_WRONG_ID ? 1000 : 0);
	int surplus[8] = {fake->root, fake->root, fake->root, fake->root, fake->root};
	const struct wire_fault fault = {.code = 99, .message = wire_str("it is raining")};
	char buffer[8192];
	int size;

	size = wire_encode_result(buffer, sizeof(buffer), id,
				  fake->lie == LIE_OTHER_SHAPE ? WIRE_PING : request->method,
				  fake->lie == LIE_OTHER_SHAPE ? &(struct wire_ping){.token = 1}
							       : result);
	if (fake->lie == LIE_CODE || fake->lie == LIE_FDS_WITH_FAULT)
		size = wire_encode_fault(buffer, sizeof(buffer), id, &fault);
	assert(size > 0);

	switch ((int)fake->lie) {
	case LIE_SILENT:
		fake->unanswered++;
		return;
	case LIE_LATE:
		if (!fake->late_size) {
			memcpy(fake->late, buffer, (size_t)size);
			fake->late_size = size;
			return;
		}
		send_with(to, fake->late, (size_t)fake->late_size, &fake->root, 1);
		break;
	case LIE_GARBAGE:
		send_with(to, garbage, sizeof(garbage) - 1, NULL, 0);
		return;
	case LIE_HUGE_HEADER:
		send_with(to, huge, sizeof(huge) - 1, NULL, 0);
		return;
	case LIE_EMPTY:
		send_with(to, NULL, 0, NULL, 0);
		return;
	case LIE_REQUEST:
		send_with(to, asks, sizeof(asks) - 1, NULL, 0);
		return;
	case LIE_NEW_NOTE:
		send_with(to, new_note, sizeof(new_note) - 1, NULL, 0);
		break;
	case LIE_REFUSED_NOTE:
	case LIE_FDS_WITH_NOTE:
		send_refused(fake, to, fake->lie == LIE_FDS_WITH_NOTE);
		break;
	case LIE_FDS_SURPLUS:
		n_fds = 5;
		fds = surplus;
		break;
	case LIE_FDS_UNASKED:
	case LIE_FDS_WITH_FAULT:
		n_fds = 1;
		fds = surplus;
		break;
	case LIE_FDS_MISSING:
		n_fds -= n_fds ? 1 : 0;
		break;
	}
	if (fake->dying == DEATH_DONE && size <= (int)sizeof(fake->said)) {
		memcpy(fake->said, buffer, (size_t)size);
		fake->said_id = id;
		fake->said_size = n_fds ? 0 : size;
	}
	if (fake->dying == DEATH_DONE)
		return;
	if (fake->gather) {
		assert(size <= (int)sizeof(fake->held[0]) && fake->n_held < 16);
		memcpy(fake->held[fake->n_held], buffer, (size_t)size);
		fake->held_size[fake->n_held++] = size;
		if (fake->n_held < fake->gather)
			return;
		for (uint32_t i = 0; i < fake->n_held; i++) {
			uint32_t at = fake->slowly ? i : fake->n_held - 1 - i;

			send_with(to, fake->held[at], (size_t)fake->held_size[at], NULL, 0);
			if (fake->slowly)
				usleep(2000);
		}
		fake->n_held = 0;
		return;
	}
	send_with(to, buffer, (size_t)size, fds, n_fds);
}

/* ---- answering ---- */

/* True: it is answered. */
static bool resume_oddly(struct fake_daemon *fake, int to, const struct wire_message *request,
			 struct wire_welcome *result)
{
	struct wire_fault fault = {.code = VARBOS_E_NOT_FOUND, .which = wire_str("session")};
	char buffer[256];
	int size;

	result->resumed = fake->lie != LIE_SESSION_NEW;
	result->session += fake->lie == LIE_SESSION_OTHER;
	result->layout += fake->lie == LIE_SESSION_LAYOUT;
	switch ((int)fake->lie) {
	case LIE_SESSION_GONE:
		break;
	case LIE_SESSION_UNHEARD:
		fault = (struct wire_fault){.code = VARBOS_E_INVALID,
					    .which = wire_str("resume")};
		break;
	case LIE_SESSION_BUSY:
		fault = (struct wire_fault){.code = VARBOS_E_UNAVAILABLE,
					    .which = wire_str("quarantine"),
					    .message = wire_str("it waits for an operator")};
		break;
	default:
		return false;
	}
	size = wire_encode_fault(buffer, sizeof(buffer), request->id, &fault);
	assert(size > 0);
	send_with(to, buffer, (size_t)size, NULL, 0);
	return true;
}

static void welcome(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	struct wire_welcome result = {
		.protocol = WIRE_PROTOCOL + (fake->lie == LIE_PROTOCOL),
		.layout = LAYOUT_VERSION + (fake->lie == LIE_LAYOUT),
		.session = SESSION,
		.epoch = 1,
		.inflight = fake->lie == LIE_INFLIGHT_ZERO ? 0 : WIRE_INFLIGHT_MAX,
		.message_max = WIRE_MESSAGE_MAX,
	};

	fake->hellos++;
	if (request->body.hello.resume && resume_oddly(fake, to, request, &result))
		return;
	if (fake->lie == LIE_SESSION_ZERO)
		result.session = 0;
	if (fake->lie == LIE_SESSION_WIDE)
		result.session = 1 << 20;
	answer(fake, to, request, &result, &fake->root,
	       fake->lie == LIE_SESSION_FDS && result.resumed);
}

static void open_window(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	struct wire_window_opened result = {
		.size = WINDOW_SIZE,
		.page = fake->lie == LIE_WINDOW_PAGE ? CHUNK_BYTES : 4096,
		.generation = GENERATION + (fake->lie == LIE_WINDOW_GENERATION),
	};
	int fds[2] = {fake->data, reopen(fake->map)};

	if (fake->lie == LIE_WINDOW_VAST)
		result.size = (uint64_t)1 << 35;
	if (fake->lie == LIE_WINDOW_TINY)
		result.size = 1 << 20;
	if (fake->lie == LIE_WINDOW_ODD)
		result.size += 4096;
	answer(fake, to, request, &result, fds, 2);
	close(fds[1]);
}

static uint32_t find_room(const struct fake_daemon *fake, uint32_t n)
{
	uint32_t first = 0;

	for (uint32_t i = 0; i < SLICES; i++) {
		if (fake->words[i])
			first = i + 1;
		else if (i + 1 - first == n)
			return first;
	}
	return SLICES;
}

static void alloc(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	const struct wire_extent_alloc *asked = &request->body.extent_alloc;
	uint32_t n = (uint32_t)((asked->size + SLICE_BYTES - 1) >> SLICE_SHIFT);
	uint32_t first = find_room(fake, n), tag = fake->tag_next++;
	struct slice_info info = {
		.kind = asked->shared   ? EXTENT_SHARED
			: asked->blocks ? EXTENT_BLOCKS
					: EXTENT_PRIVATE,
		.tag = tag,
		.head = true,
		.count = n,
		.session = asked->shared ? 0 : SESSION,
	};
	struct wire_extent_alloced result;

	assert(first < SLICES);
	if (fake->lie == LIE_OFFSET_BEYOND)
		first = SLICES;
	if (fake->lie == LIE_OFFSET_STRADDLES)
		first = SLICES - 1;
	if (fake->lie == LIE_OWNER)
		info.session = SESSION + 1;
	if (fake->lie == LIE_COUNT)
		info.count = n - 1;
	result = (struct wire_extent_alloced){
		.offset = (uint64_t)first << SLICE_SHIFT,
		.size = (uint64_t)n << SLICE_SHIFT,
		.tag = tag,
	};
	fake->words[first] = slice_word_pack(info);
	info.head = false;
	info.count = info.session = 0;
	for (uint32_t i = 1; i < n; i++)
		fake->words[first + i] = slice_word_pack(info);

	switch ((int)fake->lie) {
	case LIE_OFFSET_WIDE:
		result.offset |= (uint64_t)1 << OFFSET_BITS;
		break;
	case LIE_OFFSET_ODD:
		result.offset += 64;
		break;
	case LIE_OFFSET_NOWHERE:
		result.offset = offset_make(1, 0);
		break;
	case LIE_SIZE_LESS:
		result.size -= SLICE_BYTES;
		break;
	case LIE_SIZE_ODD:
		result.size += 1;
		break;
	case LIE_TAG_ZERO:
		result.tag = 0;
		break;
	case LIE_TAG_WIDE:
		result.tag += (uint64_t)1 << 20;
		break;
	case LIE_TAG_OTHER:
		result.tag += 1;
		break;
	}
	answer(fake, to, request, &result, NULL, 0);
}

static void free_extent(struct fake_daemon *fake, const struct wire_message *note)
{
	const struct wire_extent_free *what = &note->body.extent_free;
	uint32_t first = (uint32_t)(what->offset >> SLICE_SHIFT);
	struct slice_info info;

	assert(first < SLICES);
	info = slice_word_unpack(fake->words[first]);
	if (what->maybe && (!info.head || info.tag != what->tag))
		return;
	fake->frees++;
	if (fake->ignore_frees)
		return;
	assert(info.head && info.tag == what->tag);
	for (uint32_t i = 0; i < info.count; i++)
		fake->words[first + i] = 0;
}

static void open_holder(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	struct wire_holder_opened result = {
		.id = fake->lie == LIE_ID_ZERO   ? 0
		      : fake->lie == LIE_ID_WIDE ? IDS_MAX
						 : HOLDER,
	};

	answer(fake, to, request, &result, NULL, 0);
}

/* Its memory is the last slice. */
static void open_channel(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	struct wire_channel_opened result = {
		.offset = (SLICES - 1) * SLICE_BYTES,
		.size = SLICE_BYTES,
		.tag = 77,
		.id = fake->lie == LIE_CHANNEL_ID ? 0 : CHANNEL,
		.capacity = 64,
	};
	struct slice_info info = {
		.kind = fake->lie == LIE_CHANNEL_KIND ? EXTENT_PRIVATE : EXTENT_CHANNEL,
		.tag = 77 + (fake->lie == LIE_CHANNEL_TAG),
		.head = true,
		.count = 1,
	};

	if (fake->lie == LIE_CHANNEL_CAPACITY)
		result.capacity = 65;
	if (fake->lie == LIE_CHANNEL_LARGE)
		result.capacity = 1 << 20;
	if (fake->lie == LIE_CHANNEL_OFFSET)
		result.offset = WINDOW_SIZE;
	fake->words[SLICES - 1] = slice_word_pack(info);
	fake->root_file->ids[CHANNEL] = id_word_pack(
		(struct id_info){.kind = ID_CHANNEL, .senders = 1, .had_senders = true});
	answer(fake, to, request, &result, NULL, 0);
}

static void list(struct fake_daemon *fake, int to, const struct wire_message *request)
{
	struct wire_space_row row = {.name = wire_str("s"), .placement = wire_str("bestfit")};
	struct wire_space_rows result = {
		.rows = {&row, 1},
		.next = fake->lie == LIE_ENDLESS_LIST ? 1 : 0,
	};

	answer(fake, to, request, &result, NULL, 0);
}

static void note_heard(struct fake_daemon *fake, const struct wire_message *message,
		       const char *bytes, ssize_t size)
{
	struct heard *heard = &fake->heard[fake->n_heard];

	if (fake->n_heard == FAKE_HEARD)
		return;
	*heard = (struct heard){
		.method = (int)message->method,
		.id = message->kind == WIRE_NOTE ? 0 : message->id,
		.size = (int)size,
	};
	memcpy(heard->bytes, bytes, (size_t)(size < FAKE_BYTES ? size : FAKE_BYTES));
	fake->n_heard++;
}

/* What was done already is not done again. */
static bool answer_again(struct fake_daemon *fake, int to, const struct wire_message *message)
{
	if (message->kind == WIRE_NOTE || fake->said_id != message->id || !fake->said_size)
		return false;
	send_with(to, fake->said, (size_t)fake->said_size, NULL, 0);
	fake->said_size = 0;
	return true;
}

/* False: the connection is to be closed. */
static bool serve(struct fake_daemon *fake, int to, const struct wire_message *message)
{
	struct wire_ping ping = {
		.token = message->body.ping.token + (fake->lie == LIE_OTHER_TOKEN),
	};

	fake->requests++;
	if (fake->lie == LIE_CLOSE && message->method != WIRE_HELLO)
		return false;
	switch ((int)message->method) {
	case WIRE_HELLO:
		welcome(fake, to, message);
		break;
	case WIRE_PING:
		answer(fake, to, message, &ping, NULL, 0);
		break;
	case WIRE_SPACE_OPEN:
		answer(fake, to, message,
		       &(struct wire_space_opened){
			       .space = SPACE, .limit = WINDOW_SIZE, .page = 4096},
		       &fake->root, 1);
		break;
	case WIRE_WINDOW_OPEN:
		open_window(fake, to, message);
		break;
	case WIRE_EXTENT_ALLOC:
		alloc(fake, to, message);
		break;
	case WIRE_EXTENT_FREE:
		free_extent(fake, message);
		if (message->kind == WIRE_REQUEST)
			answer(fake, to, message, &(struct wire_empty){}, NULL, 0);
		break;
	case WIRE_HOLDER_OPEN:
		open_holder(fake, to, message);
		break;
	case WIRE_WORDS_OPEN:
		answer(fake, to, message,
		       &(struct wire_words_opened){.size = words_file_size(SLICES)},
		       &fake->words_file, 1);
		break;
	case WIRE_CHANNEL_OPEN:
		open_channel(fake, to, message);
		break;
	case WIRE_SPACE_LIST:
		list(fake, to, message);
		break;
	default: /* BYE, SPACE_CLOSE */
		fake->closes += message->method == WIRE_SPACE_CLOSE;
		answer(fake, to, message, &(struct wire_empty){}, NULL, 0);
		break;
	}
	return true;
}

static bool dies_of(const struct fake_daemon *fake, const struct wire_message *message)
{
	if (!fake->death)
		return false;
	return fake->death_of == WIRE_METHODS_N ? message->method != WIRE_HELLO
						: fake->death_of == (int)message->method;
}

/* False: the connection is to be closed; fake->dying: all of it. */
static bool read_one(struct fake_daemon *fake, int from)
{
	_cleanup_(wire_message_deinit) struct wire_message message = {};
	static _Thread_local char buffer[WIRE_MESSAGE_MAX];
	ssize_t n = recv(from, buffer, sizeof(buffer), MSG_PEEK);
	struct wire_trouble trouble;

	if (n <= 0)
		return false;
	if (n == 1) {
		fake->wakes++;
		return recv(from, buffer, sizeof(buffer), 0) == 1;
	}
	assert(!wire_decode_call(&message, buffer, (size_t)n, &trouble));
	if (dies_of(fake, &message)) {
		fake->dying = fake->death;
		if (!fake->deadly)
			fake->death = DEATH_NONE;
		if (fake->dying == DEATH_UNREAD)
			return false;
	}
	n = recv(from, buffer, sizeof(buffer), 0);
	note_heard(fake, &message, buffer, n);
	if (fake->dying == DEATH_READ)
		return false;
	return answer_again(fake, from, &message) || serve(fake, from, &message);
}

static void listen_at(struct fake_daemon *fake)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, fake->socket);
	fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert(fake->listener >= 0);
	assert(!bind(fake->listener, (struct sockaddr *)&address, sizeof(address)));
	assert(!listen(fake->listener, FAKE_CONNECTIONS));
}

static void die(struct fake_daemon *fake)
{
	for (int i = 0; i < FAKE_CONNECTIONS; i++) {
		closep(&fake->connections[i]);
		fake->connections[i] = -1;
	}
	close(fake->listener);
	unlink(fake->socket);
	fake->dying = DEATH_NONE;
	fake->deaths++;
	while (fake->absent)
		usleep(1000);
	listen_at(fake);
}

static void *run(void *userdata)
{
	struct fake_daemon *fake = userdata;
	struct pollfd fds[FAKE_CONNECTIONS + 2];

	for (;;) {
		fds[0] = (struct pollfd){.fd = fake->stop[0], .events = POLLIN};
		fds[1] = (struct pollfd){.fd = fake->listener, .events = POLLIN};
		for (int i = 0; i < FAKE_CONNECTIONS; i++)
			fds[2 + i] =
				(struct pollfd){.fd = fake->connections[i], .events = POLLIN};
		poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[0].revents)
			return NULL;
		for (int i = 0; i < FAKE_CONNECTIONS && !fake->dying; i++)
			if (fds[2 + i].revents && !read_one(fake, fake->connections[i])) {
				close(fake->connections[i]);
				fake->connections[i] = -1;
			}
		if (fake->dying) {
			die(fake);
			continue;
		}
		for (int i = 0; fds[1].revents && i < FAKE_CONNECTIONS; i++)
			if (fake->connections[i] < 0) {
				fake->connections[i] =
					accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
				break;
			}
	}
}

void fake_daemon_start(struct fake_daemon *fake, enum lie lie)
{
	*fake = (struct fake_daemon){.lie = lie, .tag_next = 1, .death_of = WIRE_METHODS_N};
	for (int i = 0; i < FAKE_CONNECTIONS; i++)
		fake->connections[i] = -1;
	strcpy(fake->folder, "/tmp/varbos-fake-XXXXXX");
	assert(mkdtemp(fake->folder));
	snprintf(fake->socket, sizeof(fake->socket), "%s/varbos.sock", fake->folder);
	make_files(fake);
	listen_at(fake);
	assert(!pipe2(fake->stop, O_CLOEXEC));
	assert(!pthread_create(&fake->thread, NULL, run, fake));
}

void fake_daemon_stop(struct fake_daemon *fake)
{
	assert(write(fake->stop[1], "", 1) == 1);
	pthread_join(fake->thread, NULL);
	for (int i = 0; i < FAKE_CONNECTIONS; i++)
		closep(&fake->connections[i]);
	close(fake->listener);
	close(fake->stop[0]);
	close(fake->stop[1]);
	close(fake->root);
	close(fake->data);
	close(fake->map);
	close(fake->words_file);
	munmap(fake->root_file, sizeof(*fake->root_file));
	munmap((void *)fake->words, 8 * MAP_WORDS);
	unlink(fake->socket);
	rmdir(fake->folder);
}
