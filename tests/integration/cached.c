#include "tests/integration/cached.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/integration/joined.h"

struct varbos_cache *cache;
bool apart;

void lanes_by(int argc, char **argv)
{
	apart = argc > 1 && !strcmp(argv[1], "none");
	if (argc > 1)
		setenv("VARBOS_LANE", argv[1], 1);
}

void open_cache_of(size_t capacity)
{
	const struct varbos_cache_options options = {.capacity = capacity};

	set_up();
	must(varbos_cache_open(&cache, space, "c", &options));
}

void close_cache(void)
{
	varbos_cache_close(cache);
	tear_down();
}

void must(int r)
{
	ck_assert_msg(!r, "%s: %s", varbos_code_name(r), varbos_error()->message);
}

void refused(int r, enum varbos_code code, const char *which)
{
	const char *message = varbos_error()->message;

	ck_assert_msg(r == (int)code && varbos_error()->code == code &&
			      (!which || !strcmp(varbos_error()->which, which)),
		      "%s: %s (%s)", varbos_code_name(r), message, varbos_error()->which);
	ck_assert_msg(strstr(message, "varbos_cache_") || strstr(message, "varbos_fetch_"),
		      "%s", message);
}

int put(struct varbos_cache *to, const char *key, const char *value)
{
	return varbos_cache_put(to, key, strlen(key), value, strlen(value), NULL);
}

int get(struct varbos_cache *from, const char *key, struct varbos_view *ret)
{
	return varbos_cache_get(from, key, strlen(key), ret);
}

bool shows(const struct varbos_view *view, const char *value)
{
	return view->size == strlen(value) && !memcmp(view->data, value, view->size);
}

bool is(struct varbos_cache *from, const char *key, const char *value)
{
	struct varbos_view view;
	bool same;

	if (get(from, key, &view))
		return false;
	same = shows(&view, value);
	varbos_view_release(&view);
	return same;
}

bool is_missing(struct varbos_cache *from, const char *key)
{
	struct varbos_view view;
	int r = get(from, key, &view);

	if (!r)
		varbos_view_release(&view);
	return r == VARBOS_E_NOT_FOUND;
}

bool exists(struct varbos_cache *in, const void *key, size_t key_size)
{
	int r = varbos_cache_exists(in, key, key_size);

	ck_assert(!r || r == VARBOS_E_NOT_FOUND);
	return !r;
}

void fill(char *value, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++)
		value[i] = (char)((seed * 0x9e3779b97f4a7c15 + i * 0x2545f4914f6cdd1d) >> 56);
}

bool is_filled(const char *value, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++)
		if (value[i] !=
		    (char)((seed * 0x9e3779b97f4a7c15 + i * 0x2545f4914f6cdd1d) >> 56))
			return false;
	return true;
}

void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}
