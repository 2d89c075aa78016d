#include "tests/integration/hoarder.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/layout.h"

enum { WAIT_SECONDS = 10 };

static void must(const struct peer *peer, bool done)
{
	ck_assert_msg(done, "%llu: %.*s", (unsigned long long)peer->answer.fault.code,
		      (int)peer->answer.fault.message.size, peer->answer.fault.message.data);
}

void hoarder_open(struct hoarder *hoarder, const char *socket, const char *space,
		  const char *cache, uint64_t capacity)
{
	struct peer *peer = &hoarder->peer;

	memset(hoarder, 0, sizeof(*hoarder));
	hoarder->lanes_fd = -1;
	peer_open(peer, socket);
	hoarder->session = peer->answer.body.welcome.session;
	hoarder->space = peer_open_space(peer, space);
	must(peer, peer_call(peer, WIRE_CACHE_OPEN,
			     &(struct wire_cache_open){.space = hoarder->space,
						       .name = wire_str(cache),
						       .capacity = capacity}));
	hoarder->cache = peer->answer.body.cache_opened.cache;
}

void hoarder_resume(struct hoarder *hoarder, const char *socket)
{
	struct peer *peer = &hoarder->peer;
	uint64_t id = peer->id;

	peer_close(peer);
	peer_connect(peer, socket);
	peer->id = id; /* what has a former request's is that one, said again */
	must(peer, peer_call(peer, WIRE_HELLO,
			     &(struct wire_hello){.protocol = 1,
						  .layout_min = 1,
						  .layout_max = 1,
						  .resume = hoarder->session}));
	ck_assert(peer->answer.body.welcome.resumed);
}

static void index_unmap(struct hoarder *hoarder)
{
	if (hoarder->index)
		munmap(hoarder->index, hoarder->index_size);
	if (hoarder->former)
		munmap(hoarder->former, hoarder->former_size);
	hoarder->index = hoarder->former = NULL;
}

void hoarder_close(struct hoarder *hoarder)
{
	index_unmap(hoarder);
	if (hoarder->data)
		munmap(hoarder->data, hoarder->window_size);
	if (hoarder->lanes)
		munmap(hoarder->lanes, hoarder->lanes_size);
	if (hoarder->lanes_fd >= 0)
		close(hoarder->lanes_fd);
	if (hoarder->bell)
		munmap((void *)hoarder->bell, sizeof(*hoarder->bell));
	peer_close(&hoarder->peer);
}

static void window_map(struct hoarder *hoarder, uint32_t window)
{
	struct peer *peer = &hoarder->peer;

	if (hoarder->data && hoarder->window == window)
		return;
	if (hoarder->data)
		munmap(hoarder->data, hoarder->window_size);
	must(peer,
	     peer_call(peer, WIRE_WINDOW_OPEN,
		       &(struct wire_window_open){.space = hoarder->space, .window = window}));
	hoarder->window = window;
	hoarder->window_size = peer->answer.body.window_opened.size;
	hoarder->data = mmap(NULL, hoarder->window_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE, peer->fds[0], 0);
	ck_assert_ptr_ne(hoarder->data, MAP_FAILED);
	close(TAKE_FD(peer->fds[0]));
	close(TAKE_FD(peer->fds[1]));
}

struct object_header *hoarder_at(struct hoarder *hoarder, uint64_t offset)
{
	window_map(hoarder, offset_window(offset));
	return (void *)(hoarder->data + offset_position(offset));
}

void hoarder_lease(struct hoarder *hoarder, uint64_t size)
{
	struct peer *peer = &hoarder->peer;

	if (hoarder->size)
		must(peer, peer_call(peer, WIRE_CACHE_SEAL,
				     &(struct wire_cache_seal){.space = hoarder->space,
							       .offset = hoarder->segment,
							       .tag = hoarder->tag}));
	must(peer, peer_call(peer, WIRE_CACHE_SEGMENT,
			     &(struct wire_cache_segment){.space = hoarder->space,
							  .cache = hoarder->cache,
							  .size = size,
							  .object = size > CHUNK_BYTES}));
	hoarder->segment = peer->answer.body.extent_alloced.offset;
	hoarder->tag = peer->answer.body.extent_alloced.tag;
	hoarder->size = peer->answer.body.extent_alloced.size;
	hoarder->filled = hoarder->segment ? 0 : 1 << OBJECT_SHIFT; /* no object is at 0 */
	window_map(hoarder, offset_window(hoarder->segment));
}

uint64_t key_hash(const char *key)
{
	uint64_t hash = 14695981039346656037ULL;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 1099511628211ULL;
	return hash;
}

uint64_t hoarder_write(struct hoarder *hoarder, const char *key, const void *value,
		       uint64_t size, uint64_t expiry, uint64_t *ret_size)
{
	const struct object_sizes sizes = {.value = size, .key = (uint32_t)strlen(key)};
	uint64_t bytes = object_size(hoarder->segment + hoarder->filled, sizes), offset;
	struct object_header *header;

	if (hoarder->filled + bytes > hoarder->size) {
		hoarder_lease(hoarder, u64_max(bytes + 64, SLICE_BYTES));
		bytes = object_size(hoarder->segment, sizes);
	}
	offset = hoarder->segment + hoarder->filled;
	header = hoarder_at(hoarder, offset);
	*header = (struct object_header){
		.expiry = expiry,
		.sizes = object_sizes_pack(sizes),
		.birth =
			object_birth_pack((struct object_birth){.generation = ++hoarder->born}),
	};
	memcpy(header + 1, key, sizes.key);
	memcpy((char *)header + object_value_at(offset, sizes), value, size);
	hoarder->filled += (bytes + 15) & ~(uint64_t)15;
	*ret_size = bytes;
	return offset;
}

bool hoarder_put(struct hoarder *hoarder, const char *key, const void *value, uint64_t size)
{
	uint64_t bytes, offset = hoarder_write(hoarder, key, value, size, 0, &bytes);

	return peer_call(&hoarder->peer, WIRE_CACHE_PUBLISH,
			 &(struct wire_cache_publish){.space = hoarder->space,
						      .cache = hoarder->cache,
						      .hash = key_hash(key),
						      .offset = offset,
						      .size = bytes,
						      .born = hoarder->born});
}

bool hoarder_delete(struct hoarder *hoarder, const char *key)
{
	return peer_call(&hoarder->peer, WIRE_CACHE_DELETE,
			 &(struct wire_cache_delete){.space = hoarder->space,
						     .cache = hoarder->cache,
						     .hash = key_hash(key)});
}

static void index_map(struct hoarder *hoarder, uint64_t generation)
{
	struct peer *peer = &hoarder->peer;

	must(peer, peer_call(peer, WIRE_CACHE_INDEX,
			     &(struct wire_cache_index){.space = hoarder->space,
							.cache = hoarder->cache,
							.generation = generation}));
	hoarder->index_size = peer->answer.body.cache_index_opened.size;
	hoarder->generation = peer->answer.body.cache_index_opened.generation;
	ck_assert_uint_ge(hoarder->generation, generation);
	hoarder->index =
		mmap(NULL, hoarder->index_size, PROT_READ, MAP_SHARED, peer->fds[0], 0);
	ck_assert_ptr_ne(hoarder->index, MAP_FAILED);
	close(TAKE_FD(peer->fds[0]));
	ck_assert(index_view_open(&hoarder->view, hoarder->index, hoarder->index_size));
}

static void index_map_next(struct hoarder *hoarder)
{
	if (hoarder->former)
		munmap(hoarder->former, hoarder->former_size);
	hoarder->former = hoarder->index;
	hoarder->former_size = hoarder->index_size;
	hoarder->former_view = hoarder->view;
	hoarder->index = NULL;
	index_map(hoarder, hoarder->generation + 1);
}

/* Has all moved on from there? */
static bool is_left(const struct index_view *view)
{
	uint64_t state = atomic_load(&view->head->state);

	return !state || index_state_unpack(state).moved >= view->n_buckets;
}

uint64_t hoarder_find(struct hoarder *hoarder, const char *key)
{
	const struct index_view *view = &hoarder->view;
	struct index_walk walk;
	enum index_answer answer;

	if (!hoarder->index)
		index_map(hoarder, 0);
	if (hoarder->former && !is_left(&hoarder->former_view))
		view = &hoarder->former_view;
	for (;;) {
		index_walk_begin(&walk, view, key_hash(key), &hoarder->hazard,
				 (uint32_t)hoarder->space);
		while ((answer = index_walk_next(&walk, true)) == INDEX_OFFERED) {
			struct object_header *header = hoarder_at(hoarder, walk.offset);

			if (object_sizes_unpack(header->sizes).key == strlen(key) &&
			    !memcmp(header + 1, key, strlen(key)))
				return walk.offset;
		}
		if (answer == INDEX_MISS)
			return 0;
		if (view == &hoarder->view)
			index_map_next(hoarder);
		view = &hoarder->view;
	}
}

void hoarder_lanes(struct hoarder *hoarder, uint32_t n)
{
	struct peer *peer = &hoarder->peer;

	must(peer, peer_call(peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = n}));
	hoarder->lanes_size = peer->answer.body.lanes_opened.size;
	ck_assert_uint_ge(hoarder->lanes_size, n * sizeof(struct lane));
	hoarder->lanes_fd = TAKE_FD(peer->fds[0]);
	hoarder->lanes = mmap(NULL, hoarder->lanes_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			      hoarder->lanes_fd, 0);
	ck_assert_ptr_ne(hoarder->lanes, MAP_FAILED);
	hoarder->bell =
		mmap(NULL, sizeof(*hoarder->bell), PROT_READ, MAP_SHARED, peer->fds[1], 0);
	ck_assert_ptr_ne(hoarder->bell, MAP_FAILED);
	close(TAKE_FD(peer->fds[1]));
}

uint64_t lane_put(struct hoarder *hoarder, uint32_t lane, const struct lane_record *record)
{
	struct lane *at = &hoarder->lanes[lane];
	uint64_t head = atomic_load_explicit(&at->head, memory_order_relaxed);

	for (int i = 0;
	     head - atomic_load_explicit(&at->taken, memory_order_acquire) >= LANE_RECORDS;
	     i++) {
		ck_assert_msg(i < WAIT_SECONDS * 10000, "the daemon sleeps over a full lane");
		usleep(100);
	}
	at->records[head % LANE_RECORDS] = *record;
	atomic_store_explicit(&at->head, head + 1, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&hoarder->bell->sleeping, memory_order_relaxed))
		ck_assert_int_eq(send(hoarder->peer.fd, "", 1, MSG_NOSIGNAL), 1);
	return head;
}

struct lane_record lane_publish(struct hoarder *hoarder, const char *key, const char *value)
{
	uint64_t size, offset = hoarder_write(hoarder, key, value, strlen(value), 0, &size);

	return (struct lane_record){
		.kind = LANE_PUBLISH,
		.cache = (uint32_t)hoarder->cache,
		.hash = key_hash(key),
		.offset = offset,
		.size = size,
		.born = hoarder->born,
	};
}

struct lane_result lane_wait(struct hoarder *hoarder, uint32_t lane, uint64_t position)
{
	const struct timespec patience = {.tv_sec = WAIT_SECONDS};
	struct lane *at = &hoarder->lanes[lane];
	struct lane_result result;
	uint64_t taken;

	for (;;) {
		atomic_store(&at->waiting, 1);
		taken = atomic_load(&at->taken);
		if (taken > position)
			break;
		if (syscall(SYS_futex, &at->taken, FUTEX_WAIT, (uint32_t)taken, &patience, NULL,
			    0) < 0)
			ck_assert_msg(errno == EAGAIN || errno == EINTR,
				      "nobody has woken who waits: %s", strerror(errno));
	}
	atomic_store(&at->waiting, 0);
	memcpy(&result, &at->results[position % LANE_RECORDS], sizeof(result));
	ck_assert_uint_eq(result.position, position + 1);
	return result;
}

struct wire_cache_row hoarder_row(struct hoarder *hoarder)
{
	struct wire_page_after page = {};

	do {
		const struct wire_cache_row *rows;

		must(&hoarder->peer, peer_call(&hoarder->peer, WIRE_CACHE_LIST, &page));
		rows = hoarder->peer.answer.body.cache_rows.rows.rows;
		for (uint32_t i = 0; i < hoarder->peer.answer.body.cache_rows.rows.count; i++)
			if (rows[i].cache == hoarder->cache)
				return rows[i];
		page.after = hoarder->peer.answer.body.cache_rows.next;
	} while (page.after);
	ck_abort_msg("the cache is not listed");
}
