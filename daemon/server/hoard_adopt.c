#include "daemon/server/hoard_adopt.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoard_expiry.h"
#include "daemon/server/hoard_growth.h"
#include "daemon/server/hoard_job.h"
#include "daemon/server/keep.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"
#include "proto/object.h"

enum {
	THREADS_MAX = 8,
	FOUND_FIRST = 64,
	TOLD_A_STEP = 4 * CACHE_UNTOLD, /* headers: 0.2 us each, if they are in no cache */
	LOST = 1,                       /* a file was not left, or is not as we make them */
};

/* Of one cache. */
struct adoption {
	struct server *server;
	struct hoard *hoard;
	struct estate_view view;
	uint64_t now, clock;
	struct cache_found *found;
	uint32_t n_found, room;
	int objects_fd;
	struct hoard_file objects;
	struct hoard_index index, next;
	struct cache *cache;
	bool objects_lost, index_lost;
	int error;
};

struct adoptions {
	struct server *server;
	struct adoption *of; /* each cache that has files */
	uint32_t n;
	uint32_t *by_cache; /* slot: + 1; 0: none */
	_Atomic uint32_t next;
};

/* ---- by threads ---- */

static int objects_open(struct adoption *of)
{
	struct sys *sys = of->server->sys;
	struct stat st;
	void *memory;
	int r;

	if (of->objects_fd < 0)
		return LOST;
	if (fstat(of->objects_fd, &st) < 0)
		return -errno;
	of->objects.span = hoard_objects_span((uint64_t)st.st_size);
	r = sys->table->file_adopt(sys, of->objects_fd, SYS_READ, of->objects.span,
				   &of->objects.size, &memory);
	if (r)
		return r == -EBADFD ? LOST : r;
	of->objects.memory = memory;
	of->objects.fd = TAKE_FD(of->objects_fd);
	return object_records_open(of->objects.memory, of->objects.size) &&
			       object_records_slots(of->objects.size)
		       ? 0
		       : LOST;
}

/* Nobody can be told which objects there were: there are none. */
static int objects_make(struct adoption *of)
{
	char name[KEPT_NAME_MAX];
	struct sys *sys = of->server->sys;
	int r;

	of->objects_lost = true;
	log_error("%s did not outlive the last daemon, or is none",
		  hoard_objects_kept(of->hoard, name));
	hoard_file_drop(sys, &of->objects);
	closep(&of->objects_fd);
	of->objects_fd = -1;
	hoard_objects_unkeep(of->hoard);
	r = hoard_objects_make(sys, &of->objects, HOARD_SLOTS_FIRST);
	if (r)
		return r;
	return keep_put(of->server->keep,
			&(struct kept){hoard_objects_kept(of->hoard, name), of->objects.fd}, 1);
}

static int index_open(struct adoption *of, uint64_t generation, struct hoard_index *index)
{
	struct sys *sys = of->server->sys;
	struct hoard_file *file = &index->file;
	const struct index_head *head;
	struct index_layout layout;
	char name[KEPT_NAME_MAX];
	_cleanup_(closep) int fd =
		keep_take(of->server->keep, hoard_index_kept(of->hoard, generation, name));
	void *memory;
	int r;

	if (fd < 0)
		return LOST;
	r = sys->table->file_adopt(sys, fd, SYS_READ, 0, &file->size, &memory);
	if (r == -EBADFD) {
		hoard_index_unkeep(of->hoard, generation);
		return LOST;
	}
	if (r)
		return r;
	file->memory = memory;
	file->fd = TAKE_FD(fd);
	file->span = file->size;
	index->generation = generation;
	head = file->memory;
	if (!index_layout_of(file->memory, file->size, &layout) ||
	    head->cache != of->hoard->slot || head->generation != generation)
		return LOST;
	index->numbers = malloc(index_positions(layout) * sizeof(uint32_t));
	return index->numbers ? 0 : -ENOMEM;
}

static void index_lose(struct adoption *of, struct hoard_index *index)
{
	if (index->file.fd >= 0)
		hoard_index_unkeep(of->hoard, index->generation);
	hoard_index_drop(of->server->sys, index);
}

/* Of a generation that nobody knows of yet. */
static int index_make(struct adoption *of)
{
	struct index_config config = {
		.layout = index_layout_for(object_records_slots(of->objects.size)),
		.cache = of->hoard->slot,
		.generation = of->view.index + 2,
		.epoch = 1,
		.clock = of->clock,
	};
	char name[KEPT_NAME_MAX];
	int r;

	of->index_lost = true;
	log_error("%s did not outlive the last daemon, or is none",
		  hoard_index_kept(of->hoard, of->view.index, name));
	index_lose(of, &of->index);
	index_lose(of, &of->next);
	if (getrandom(&config.seed, sizeof(config.seed), 0) != sizeof(config.seed))
		return -EIO;
	r = hoard_index_make(of->server->sys, &of->index, &config);
	if (r)
		return r;
	hoard_index_kept(of->hoard, config.generation, name);
	return keep_put(of->server->keep, &(struct kept){name, of->index.file.fd}, 1);
}

/* The one in use, and the one that objects move to: the former says whether there is one. */
static int indexes_open(struct adoption *of)
{
	const struct index_head *head;
	uint64_t generation = of->view.index;
	int r;

	if (mutant(index_adopted_former) && generation > 1)
		--generation;
	r = index_open(of, generation, &of->index);
	if (r)
		return r;
	head = of->index.file.memory;
	return index_state_unpack(atomic_load(&head->state)).next
		       ? index_open(of, generation + 1, &of->next)
		       : 0;
}

static struct index_table table_of(const struct hoard_index *index)
{
	return index->file.memory ? index_table(index->file.memory, index->numbers)
				  : (struct index_table){};
}

static int recover(struct adoption *of)
{
	struct cache_config config = {
		.capacity = hoard_capacity(&of->view),
		.policy = of->view.policy,
		.objects = object_records_open(of->objects.memory, of->objects.size),
		.slots = object_records_slots(of->objects.size),
		.index = table_of(&of->index),
		.now = of->now,
	};

	return cache_recover(&of->cache, &config, table_of(&of->next), of->found, of->n_found);
}

static int adopt(struct adoption *of)
{
	int r;

	r = objects_open(of);
	if (r == LOST)
		r = objects_make(of);
	if (!r)
		r = indexes_open(of);
	if (r == LOST)
		r = index_make(of);
	if (!r)
		r = recover(of);
	if (r == CACHE_E_INDEX) {
		r = index_make(of);
		if (!r)
			r = recover(of);
	}
	assert(r <= 0 || r == CACHE_E_TAKEN);
	return r > 0 ? -EUCLEAN : r;
}

static void *adopt_some(void *userdata)
{
	struct adoptions *all = userdata;

	for (;;) {
		uint32_t i = atomic_fetch_add(&all->next, 1);

		if (i >= all->n)
			return NULL;
		all->of[i].error = adopt(&all->of[i]);
	}
}

/* This one, and as many others as are of use. */
static void adopt_all(struct adoptions *all)
{
	pthread_t threads[THREADS_MAX];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t most = (uint32_t)u64_min(u64_min((uint64_t)(cpus > 1 ? cpus : 1), all->n),
					  THREADS_MAX),
		 n = 0;

	while (n + 1 < most && !pthread_create(&threads[n], NULL, adopt_some, all))
		n++;
	adopt_some(all);
	while (n)
		pthread_join(threads[--n], NULL);
}

/* ---- by the loop's thread, before the loop runs ---- */

static int adoption_begin(struct adoptions *all, const struct estate_view *view)
{
	struct server *server = all->server;
	struct sys *sys = server->sys;
	char name[KEPT_NAME_MAX];
	struct adoption *of;

	of = realloc(all->of, (all->n + 1) * sizeof(*of));
	if (!of)
		return -ENOMEM;
	all->of = of;
	of += all->n;
	*of = (struct adoption){
		.server = server,
		.hoard = hoard_begin(server, view->cache),
		.view = *view,
		.now = server_machine_ms(server),
		.clock = sys->table->machine_ns(sys) - sys->table->now_ns(sys),
		.objects_fd = -1,
		.objects = HOARD_FILE_NONE,
		.index = HOARD_INDEX_NONE,
		.next = HOARD_INDEX_NONE,
	};
	if (!of->hoard)
		return -ENOMEM;
	of->objects_fd = keep_take(server->keep, hoard_objects_kept(of->hoard, name));
	all->by_cache[view->cache] = ++all->n;
	return 0;
}

/* Those that have a data plane. */
static int adoptions_begin(struct adoptions *all)
{
	const struct core *core = all->server->core;
	struct estate_view view;
	int r = 0;

	for (uint32_t cache = core_cache_next(core, 0); cache != UINT32_MAX && !r;
	     cache = core_cache_next(core, cache + 1))
		if (core_cache_view(core, cache, &view) && view.index &&
		    !all->server->lost_spaces[view.space])
			r = adoption_begin(all, &view);
	return r;
}

static int found_add(struct adoption *of, const struct cache_run *run)
{
	if (of->n_found == of->room) {
		uint32_t room = of->room ? of->room * 2 : FOUND_FIRST;
		struct cache_found *found = realloc(of->found, room * sizeof(*found));

		if (!found)
			return -ENOMEM;
		of->found = found;
		of->room = room;
	}
	of->found[of->n_found++] = (struct cache_found){
		.base = run->offset,
		.size = run->size,
		.session = run->session ? run->session : CACHE_CLEANER,
		.own = run->object,
	};
	return 0;
}

static int adoptions_find(struct adoptions *all)
{
	struct cache_run run;
	uint64_t at = 0;
	int r = 0;

	while (!r && core_cache_run(all->server->core, &at, &run))
		if (all->by_cache[run.cache])
			r = found_add(&all->of[all->by_cache[run.cache] - 1], &run);
	return r;
}

/* HA3. */
static void losses_tell(const struct adoption *of)
{
	struct server *server = of->server;
	struct space_view space;

	if (!of->objects_lost && !of->index_lost)
		return;
	if (!core_space_view(server->core, of->view.space, &space))
		space.name = "?";
	server->losses += of->objects_lost + of->index_lost;
	if (of->objects_lost)
		log_error("lost: the objects of cache \"%s\" in space \"%s\": their records "
			  "were not left; it is empty",
			  of->view.name, space.name);
	if (!of->index_lost)
		return;
	log_error("lost: the index of cache \"%s\" in space \"%s\" was not left: %u sessions "
		  "that have it open end",
		  of->view.name, space.name, of->view.sessions);
	for (uint32_t session = core_cache_user(server->core, of->view.cache, 0);
	     session != UINT32_MAX;
	     session = core_cache_user(server->core, of->view.cache, session + 1))
		if (server->clients[session])
			client_process_over(server->clients[session]);
}

static void install(struct adoption *of)
{
	struct hoard *hoard = of->hoard;

	hoard->cache = TAKE_PTR(of->cache);
	hoard->objects = of->objects;
	hoard->index = of->index;
	hoard->next = of->next;
	of->objects = HOARD_FILE_NONE;
	of->index = of->next = HOARD_INDEX_NONE;
	if (of->index_lost)
		core_cache_index(of->server->core, hoard->slot, hoard->index.generation);
	cache_ttl_set(hoard->cache, of->view.ttl_ms);
	cache_clock_set(hoard->cache, of->clock);
	hoard_files_had(hoard);
	losses_tell(of);
	hoard->telling = true;
	hoard->scan_now = true; /* HA2: all that is dead */
	hoard_stir(hoard);
}

static void adoptions_end(struct adoptions *all)
{
	struct sys *sys = all->server->sys;

	for (uint32_t i = 0; i < all->n; i++) {
		struct adoption *of = &all->of[i];

		cache_free(of->cache);
		hoard_file_drop(sys, &of->objects);
		hoard_index_drop(sys, &of->index);
		hoard_index_drop(sys, &of->next);
		closep(&of->objects_fd);
		free(of->found);
	}
	free(all->of);
	free(all->by_cache);
}

int hoards_adopt(struct server *server)
{
	struct adoptions all = {.server = server};
	int r;

	all.by_cache = calloc(records_capacity(server->ledger.records)->slots[RECORD_CACHE],
			      sizeof(*all.by_cache));
	r = all.by_cache ? adoptions_begin(&all) : -ENOMEM;
	if (!r)
		r = adoptions_find(&all);
	if (!r)
		adopt_all(&all);
	for (uint32_t i = 0; i < all.n && !r; i++)
		r = all.of[i].error;
	for (uint32_t i = 0; i < all.n && !r; i++)
		install(&all.of[i]);
	adoptions_end(&all);
	return r;
}

/* ---- afterwards ---- */

/* It says so itself; what cannot be read any more has no time. */
static uint64_t expiry_of(const struct hoard *hoard, const struct cache_object *object)
{
	const struct object_header *header = hoard_header(hoard, object);
	uint64_t expiry;

	return header && !guard_load64(&header->expiry, &expiry) ? expiry : 0;
}

bool hoard_tell(struct hoard *hoard)
{
	struct cache_object objects[CACHE_UNTOLD];
	int r = CACHE_MORE;

	for (uint32_t told = 0, n; told < TOLD_A_STEP && r == CACHE_MORE; told += n) {
		r = cache_untold(hoard->cache, &hoard->told, objects, &n);
		for (uint32_t i = 0; i < n; i++)
			cache_tell(hoard->cache, &objects[i], expiry_of(hoard, &objects[i]));
		if (!n)
			break;
	}
	hoard->telling = r == CACHE_MORE;
	hoard_expiry_arm(hoard, server_machine_ms(hoard->server));
	return hoard->telling;
}
