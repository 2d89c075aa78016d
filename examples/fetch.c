/*
 * A report that takes a while, and that several processes want at once: one of them computes it,
 * the others wait for it and show the same.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/cache.h>

enum { PROCESSES = 4 };

static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *reports;

/* Called by one process at a time, for each key. */
static int compute(struct varbos_fetch *fetch, void *context)
{
	static const char text[] = "42 visitors";

	(void)context;
	usleep(100000);
	printf("%.*s: computed\n", (int)fetch->key_size, (const char *)fetch->key);
	return varbos_fetch_give(fetch, text, sizeof(text) - 1);
}

static int show(const char *name)
{
	const struct varbos_fetch_options options = {.ttl_ms = 60000, .stale_ms = 10000};
	struct varbos_view view;
	int r;

	r = varbos_cache_fetch(reports, name, strlen(name), compute, NULL, &options, &view);
	if (r)
		return fprintf(stderr, "%s\n", varbos_error()->message);
	printf("%s: %.*s\n", name, (int)view.size, (const char *)view.data);
	varbos_view_release(&view);
	return 0;
}

int main(void)
{
	int status, failed = 0;

	if (varbos_connect_private(&vb, NULL) || varbos_space_open(&space, vb, "site", NULL) ||
	    varbos_cache_open(&reports, space, "reports", NULL))
		return fprintf(stderr, "%s\n", varbos_error()->message), 1;
	for (int i = 0; i < PROCESSES; i++) {
		if (fork())
			continue;
		status = show("today");
		fflush(stdout);
		_exit(!!status);
	}
	for (int i = 0; i < PROCESSES; i++)
		failed |= wait(&status) < 0 || status;
	varbos_cache_close(reports);
	varbos_disconnect(vb);
	return failed;
}
