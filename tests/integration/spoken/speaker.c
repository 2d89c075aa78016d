/*
 * Speaker - a program that says all that the library says: `speaker SOCKET`, and with VARBOS_LANE=none
 * what is said without lanes alone. It tells each step, and goes on when it is told to by a line.
 * Linked with the shared library, so that an older one can be told to speak instead (spoken.py).
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/cache.h>
#include <varbos/channel.h>
#include <varbos/varbos.h>

enum {
	EXTENT = 5 << 16,
	LARGE = 300 * 1024,
	SMALL = 100,
	FILLING = 40000,
	MIB = 1 << 20,
	PATIENT_MS = 60000,
	AWAY_MS = 300, /* that who needs the daemon waits for it */
};

static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;

static void must(bool done, const char *what)
{
	if (done)
		return;
	fprintf(stderr, "speaker: %s: %s\n", what, varbos_error()->message);
	exit(1);
}

static void step(const char *name)
{
	char line[16];

	printf("%s\n", name);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

/* ---- memory ---- */

static void speak_of_memory(void)
{
	char *private, *shared, *held;
	varbos_ref sent;

	private = varbos_alloc(space, EXTENT);
	must(private, "an extent");
	memset(private, 'p', EXTENT);
	shared = varbos_alloc_shared(space, LARGE);
	must(shared, "a shared extent");
	memset(shared, 's', LARGE);
	sent = varbos_send(space, shared, VARBOS_ANYONE);
	must(sent, "sending it");
	/* Who asks for it names it so. */
	printf("sent 0x%llx\n", (unsigned long long)sent);
	held = varbos_alloc_shared(space, LARGE);
	must(held, "another shared extent");
	must(!varbos_free(space, held), "freeing that");
	must(!varbos_free(space, private), "freeing an extent");
	private = varbos_alloc(space, EXTENT);
	must(private, "an extent that stays");
	must(!varbos_alloc(space, (size_t)1 << 40), "more than there is");
}

/* One block alone: what is asked for further ones may depend on the time between them. */
static void speak_of_channels(void)
{
	const struct varbos_channel_options options = {.capacity = 8};
	struct varbos_channel *channel;
	char *block;

	must(!varbos_channel_open(&channel, space, "ch",
				  VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, &options),
	     "a channel");
	block = varbos_alloc_shared(space, SMALL);
	must(block, "a block");
	strcpy(block, "hello");
	must(!varbos_channel_send(channel, block, 0), "sending it");
	block = varbos_channel_receive(channel, 0);
	must(block && !strcmp(block, "hello"), "receiving it");
	step("in a channel");
	varbos_channel_close(channel);
}

/* ---- caches ---- */

static int put(const char *key, const void *value, size_t size)
{
	return varbos_cache_put(cache, key, strlen(key), value, size, NULL);
}

static bool holds(const char *key, const void *value, size_t size)
{
	struct varbos_view view;
	bool same;

	if (varbos_cache_get(cache, key, strlen(key), &view))
		return false;
	same = view.size == size && !memcmp(view.data, value, size);
	varbos_view_release(&view);
	return same;
}

static int compute(struct varbos_fetch *fetch, void *failure)
{
	return failure ? 7 : varbos_fetch_give(fetch, "computed", 8);
}

static void speak_of_fetching(void)
{
	static char failure;
	struct varbos_view view;

	must(!varbos_cache_fetch(cache, "fetched", 7, compute, NULL, NULL, &view), "a fetch");
	must(view.size == 8 && !memcmp(view.data, "computed", 8), "what was computed");
	varbos_view_release(&view);
	must(varbos_cache_fetch(cache, "failed", 6, compute, &failure, NULL, &view) ==
		     VARBOS_E_FAILED,
	     "a fetch that fails");
}

static void speak_of_caches(void)
{
	const struct varbos_cache_options options = {.capacity = 4 * MIB, .policy = "lru"};
	const struct varbos_put_options only_new = {.mode = VARBOS_PUT_ADD};
	static char large[LARGE];

	must(!varbos_cache_open(&cache, space, "c", &options), "a cache");
	must(!put("key", "value", 5), "a put");
	must(holds("key", "value", 5), "what was put");
	must(!put("key", "another", 7), "a put that replaces");
	must(holds("key", "another", 7), "what replaced it");
	must(varbos_cache_put(cache, "key", 3, "a", 1, &only_new) == VARBOS_E_EXISTS,
	     "a put of what is there");
	memset(large, 'l', sizeof(large));
	must(!put("large", large, sizeof(large)), "a large put");
	must(holds("large", large, sizeof(large)), "the large value");
	/* More than two small segments hold: the first is sealed. */
	for (int i = 0; i < 3; i++)
		must(!put((char[]){(char)('0' + i), 0}, large, FILLING), "puts that fill");
	must(!put("short", "lived", 5), "another put");
	must(!varbos_cache_touch(cache, "short", 5), "a touch");
	must(!varbos_cache_expire(cache, "short", 5, UINT64_MAX), "an expiry");
	must(!varbos_cache_del(cache, "short", 5), "a removal");
	must(varbos_cache_del(cache, "short", 5) == VARBOS_E_NOT_FOUND, "a removal of nothing");
	speak_of_fetching();
}

/* ---- a life ---- */

static void speak_without_lanes(void)
{
	const struct varbos_space_options existing = {.flags = VARBOS_SPACE_EXISTING};
	const struct varbos_cache_options same = {.flags = VARBOS_CACHE_EXISTING};

	must(!varbos_space_open(&space, vb, "s", &existing), "the space");
	must(!varbos_cache_open(&cache, space, "c", &same), "the cache");
	must(holds("key", "another", 7), "a copy");
	varbos_cache_close(cache);
	varbos_space_close(space);
}

static void speak(void)
{
	const struct varbos_space_options options = {.limit = 32 * MIB, .mode = 0600};
	struct varbos_space_info *infos;
	size_t n;

	must(!varbos_ping(vb, NULL), "a ping");
	must(!varbos_space_open(&space, vb, "s", &options), "a space");
	speak_of_memory();
	speak_of_channels();
	speak_of_caches();
	step("all is there");
	must(!varbos_cache_clear(cache), "a clear");
	varbos_cache_close(cache);
	must(!varbos_space_list(vb, &infos, &n), "the spaces");
	free(infos);
	varbos_space_close(space);
	must(varbos_space_remove(vb, "none", 0) == VARBOS_E_NOT_FOUND, "a space that is none");
	must(!varbos_space_remove(vb, "s", 1), "removing the space");
}

/* What becomes of it once the daemon has gone. An older library knows of no coming back. */
static void speak_again(void)
{
	int (*set_reconnect)(struct varbos *, uint32_t) =
		(int (*)(struct varbos *, uint32_t))dlsym(RTLD_DEFAULT, "varbos_set_reconnect");

	if (set_reconnect)
		must(!set_reconnect(vb, AWAY_MS), "how long to wait");
	step("alone");
	for (;;) {
		if (varbos_ping(vb, NULL))
			printf("%s/%s/%s ", varbos_code_name(varbos_error()->code),
			       varbos_error()->which, varbos_error()->message);
		step("said");
	}
}

int main(int argc, char **argv)
{
	const char *lanes = getenv("VARBOS_LANE");

	if (argc != 2)
		return 2;
	must(!varbos_connect(&vb, argv[1]), "connecting");
	varbos_set_timeout(vb, PATIENT_MS);
	if (lanes && !strcmp(lanes, "none")) {
		speak_without_lanes();
	} else {
		speak();
		speak_again();
	}
	varbos_disconnect(vb);
	return 0;
}
