/*
 * A cache that two processes have: one renders what is missing, in place; both show it without a
 * copy. What is shown stays as it is while it is looked at, though it be replaced meanwhile.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/cache.h>

enum { PAGE_BYTES = 4096 };

static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *pages;

/* As much as it takes, where it is going to be read. */
static int render(const char *name, int version)
{
	struct varbos_reservation page;
	int r = varbos_cache_reserve(pages, name, strlen(name), PAGE_BYTES, NULL, &page);

	if (r)
		return r;
	return varbos_cache_commit(
		&page, (size_t)snprintf(page.data, page.size, "%s, version %d", name, version));
}

static int show(const char *name)
{
	struct varbos_view view;
	int r = varbos_cache_get(pages, name, strlen(name), &view);

	if (r == VARBOS_E_NOT_FOUND) {
		printf("%s: rendered\n", name);
		r = render(name, 1);
		if (!r)
			r = varbos_cache_get(pages, name, strlen(name), &view);
	}
	if (r)
		return r;
	printf("%s: %.*s\n", name, (int)view.size, (const char *)view.data);
	varbos_view_release(&view);
	return 0;
}

/* Another process opens the cache anew, with the first call that uses it. */
static int show_elsewhere(const char *name)
{
	int status = 1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		status = show(name);
		fflush(NULL);
		_exit(!!status);
	}
	return pid < 0 || waitpid(pid, &status, 0) < 0 || status;
}

static int run(void)
{
	struct varbos_view before;
	int r = show("start");

	if (!r)
		r = show_elsewhere("start");
	if (!r)
		r = show_elsewhere("news");
	if (!r)
		r = show("news");
	if (!r)
		r = varbos_cache_get(pages, "news", 4, &before);
	if (r)
		return r;
	r = render("news", 2);
	printf("still there: %.*s\n", (int)before.size, (const char *)before.data);
	varbos_view_release(&before);
	return r ? r : show("news");
}

int main(void)
{
	const struct varbos_cache_options options = {.capacity = 8 << 20, .ttl_ms = 3600000};

	if (varbos_connect_private(&vb, NULL) || varbos_space_open(&space, vb, "site", NULL) ||
	    varbos_cache_open(&pages, space, "pages", &options) || run())
		return fprintf(stderr, "%s\n", varbos_error()->message), 1;
	varbos_cache_close(pages);
	varbos_disconnect(vb);
}
