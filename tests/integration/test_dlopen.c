/*
 * A program that loads the library late, when its threads run already: what each of them needs of
 * it per thread finds room. And one that closes it early.
 */
#include <check.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/integration/daemon.h"
#include "tests/suite.h"

enum { THREADS = 6, ROUNDS = 1000 };

static __typeof__(varbos_alloc) *do_alloc;
static __typeof__(varbos_free) *do_free;
static __typeof__(varbos_usable_size) *do_usable_size;
static struct varbos_space *space;
static _Atomic bool loaded;

static void *allocate(void *unused)
{
	while (!atomic_load(&loaded))
		;
	for (int i = 0; i < ROUNDS; i++) {
		char *memory = do_alloc(space, 64), *other = do_alloc(space, 5000);

		if (!memory || !other || do_usable_size(space, other) != 5120)
			return (void *)"allocation";
		memset(memory, i, 64);
		memset(other, i, 5000);
		if (do_free(space, memory) || do_free(space, other))
			return (void *)"free";
	}
	return unused;
}

static void *symbol(void *library, const char *name)
{
	void *address = dlsym(library, name);

	ck_assert_msg(address, "%s", name);
	return address;
}

START_TEST(threads_that_ran_before_it_was_loaded_allocate)
{
	__typeof__(varbos_connect) *do_connect;
	__typeof__(varbos_space_open) *do_open;
	__typeof__(varbos_disconnect) *do_disconnect;
	struct test_daemon daemon_;
	pthread_t threads[THREADS];
	struct varbos *vb;
	void *library, *failure;

	test_daemon_start(&daemon_, "16M", NULL);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, allocate, NULL), 0);
	library = dlopen(getenv("LIBVARBOS"), RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(library, "%s", dlerror());
	do_connect = symbol(library, "varbos_connect");
	do_open = symbol(library, "varbos_space_open");
	do_disconnect = symbol(library, "varbos_disconnect");
	do_alloc = symbol(library, "varbos_alloc");
	do_free = symbol(library, "varbos_free");
	do_usable_size = symbol(library, "varbos_usable_size");
	ck_assert_int_eq(do_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(do_open(&space, vb, "s", NULL), 0);
	atomic_store(&loaded, true);
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failure), 0);
		ck_assert_msg(!failure, "%s", (char *)failure);
	}
	do_disconnect(vb);
	test_daemon_stop(&daemon_);
}
END_TEST

static pthread_barrier_t closed;

static void *allocate_and_stay(void *unused)
{
	char *memory = do_alloc(space, 64);

	pthread_barrier_wait(&closed);
	pthread_barrier_wait(&closed);
	return memory ? unused : (void *)"allocation";
}

START_TEST(who_closes_the_library_harms_neither_threads_nor_children)
{
	void *library = dlopen(getenv("LIBVARBOS"), RTLD_NOW | RTLD_LOCAL), *failure;
	__typeof__(varbos_connect) *do_connect = symbol(library, "varbos_connect");
	__typeof__(varbos_space_open) *do_open = symbol(library, "varbos_space_open");
	__typeof__(varbos_disconnect) *do_disconnect = symbol(library, "varbos_disconnect");
	struct test_daemon daemon_;
	struct varbos *vb;
	pthread_t thread;
	int status;
	pid_t pid;

	do_alloc = symbol(library, "varbos_alloc");
	test_daemon_start(&daemon_, "16M", NULL);
	ck_assert_int_eq(do_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(do_open(&space, vb, "s", NULL), 0);
	pthread_barrier_init(&closed, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, allocate_and_stay, NULL), 0);
	pthread_barrier_wait(&closed);
	do_disconnect(vb);
	ck_assert_int_eq(dlclose(library), 0);
	pid = fork();
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	pthread_barrier_wait(&closed);
	ck_assert_int_eq(pthread_join(thread, &failure), 0);
	ck_assert_msg(!failure, "%s", (char *)failure);
	test_daemon_stop(&daemon_);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dlopen");
	TCase *t = tcase_create("dlopen");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, threads_that_ran_before_it_was_loaded_allocate);
	tcase_add_test(t, who_closes_the_library_harms_neither_threads_nor_children);
	suite_add_tcase(s, t);
	return suite_run(s);
}
