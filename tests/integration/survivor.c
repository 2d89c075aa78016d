#include "tests/integration/survivor.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

enum {
	STORE_TAKES = 512,
	FIRST_PASSED = 3,
	OUT_OF_THE_WAY = 600,
	SETTLED = 50,      /* looks in a row that show the same */
	WAIT_TRIES = 6000, /* of 10 ms */
};

static void folder_remove(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(path);
}

/* As a service manager passes what it keeps: descriptors from 3 on, and their names. */
static void pass(const struct left *left)
{
	char *names = calloc(left->n + 1, KEPT_NAME_MAX + 1), text[16];

	for (uint32_t i = 0; i < left->n; i++)
		left->fds[i] = fcntl(left->fds[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
	for (uint32_t i = 0; i < left->n; i++) {
		dup2(left->fds[i], FIRST_PASSED + (int)i);
		strcat(names, i ? ":" : "");
		strcat(names, left->names[i]);
	}
	snprintf(text, sizeof(text), "%u", left->n);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
}

static _Noreturn void become_daemon(const struct survivor *survivor, const struct left *left)
{
	const char *program = getenv("VARBOSD"), *argv[3 + SURVIVOR_ARGS + 1];
	int log, argc = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log = open(survivor->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	dup2(log, STDERR_FILENO);
	setenv("VARBOS_MEMORY_PAGES", "4K", 0); /* as in daemon.c */
	argv[argc++] = program;
	argv[argc++] = "--socket";
	argv[argc++] = survivor->socket;
	for (int i = 0; survivor->extra[i]; i++)
		argv[argc++] = survivor->extra[i];
	argv[argc] = NULL;
	if (left->n)
		pass(left);
	if (survivor->descriptors)
		setrlimit(RLIMIT_NOFILE,
			  &(struct rlimit){survivor->descriptors, survivor->descriptors});
	execv(program, (char **)(uintptr_t)argv);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static void run(struct survivor *survivor)
{
	struct left left;

	ck_assert_msg(getenv("VARBOSD"), "$VARBOSD does not say where varbosd is");
	fake_store_leave(&survivor->store, &left);
	survivor->pid = fork();
	ck_assert_int_ge(survivor->pid, 0);
	if (!survivor->pid)
		become_daemon(survivor, &left);
	for (uint32_t i = 0; i < left.n; i++) {
		close(left.fds[i]);
		free(left.names[i]);
	}
	free(left.fds);
	free(left.names);
}

static void take_extra(struct survivor *survivor, va_list args)
{
	for (int i = 0; (survivor->extra[i] = va_arg(args, const char *)); i++)
		ck_assert_int_lt(i, SURVIVOR_ARGS - 1);
}

void survivor_start(struct survivor *survivor, ...)
{
	va_list args;

	*survivor = (struct survivor){.folder = "/tmp/varbos-test-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(survivor->folder));
	snprintf(survivor->socket, sizeof(survivor->socket), "%s/varbos.sock",
		 survivor->folder);
	snprintf(survivor->log, sizeof(survivor->log), "%s/log", survivor->folder);
	va_start(args, survivor);
	take_extra(survivor, args);
	va_end(args);
	fake_store_start(&survivor->store, STORE_TAKES);
	run(survivor);
}

void survivor_kill(struct survivor *survivor)
{
	kill(survivor->pid, SIGKILL);
	ck_assert_int_eq(waitpid(survivor->pid, NULL, 0), survivor->pid);
	survivor->pid = 0;
}

static void print_log(const struct survivor *survivor)
{
	FILE *log = fopen(survivor->log, "re");
	char line[512];

	while (log && fgets(line, sizeof(line), log))
		fprintf(stderr, "  %s", line);
	if (log)
		fclose(log);
}

void survivor_end(struct survivor *survivor)
{
	int status;

	kill(survivor->pid, SIGTERM);
	ck_assert_int_eq(waitpid(survivor->pid, &status, 0), survivor->pid);
	survivor->pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	print_log(survivor);
	ck_abort_msg("varbosd did not end well: wait status 0x%x", (unsigned)status);
}

void survivor_again(struct survivor *survivor)
{
	ck_assert(!survivor->pid);
	run(survivor);
}

void survivor_again_with(struct survivor *survivor, ...)
{
	va_list args;

	va_start(args, survivor);
	take_extra(survivor, args);
	va_end(args);
	survivor_again(survivor);
}

void survivor_stop(struct survivor *survivor)
{
	if (survivor->pid)
		survivor_end(survivor);
	fake_store_stop(&survivor->store);
	survivor_folder_remove(survivor);
}

void survivor_folder_remove(const struct survivor *survivor)
{
	folder_remove(survivor->folder);
}

static unsigned descriptors(const struct survivor *survivor)
{
	const struct dirent *entry;
	unsigned n = 0;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)survivor->pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder)))
		n += entry->d_name[0] != '.';
	closedir(folder);
	return n;
}

unsigned survivor_descriptors_settled(const struct survivor *survivor)
{
	unsigned now = descriptors(survivor), last;

	for (int same = 0; same < SETTLED; same = now == last ? same + 1 : 0) {
		last = now;
		usleep(10000);
		now = descriptors(survivor);
	}
	return now;
}

void survivor_descriptors_are(const struct survivor *survivor, unsigned expected)
{
	unsigned now = descriptors(survivor);

	for (int i = 0; now != expected && i < WAIT_TRIES; i++) {
		usleep(10000);
		now = descriptors(survivor);
	}
	ck_assert_uint_eq(now, expected);
}

bool survivor_said(const struct survivor *survivor, const char *text)
{
	FILE *log = fopen(survivor->log, "re");
	bool said = false;
	char line[1024];

	while (log && !said && fgets(line, sizeof(line), log))
		said = strstr(line, text);
	if (log)
		fclose(log);
	return said;
}

int survivor_kept(struct survivor *survivor, const char *prefix)
{
	struct fake_store *store = &survivor->store;
	int fd = -1;

	fake_store_count(store, NULL); /* all that was said has been heard */
	pthread_mutex_lock(&store->mutex);
	for (uint32_t i = 0; i < store->n && fd < 0; i++)
		if (!strncmp(store->stored[i].name, prefix, strlen(prefix)))
			fd = fcntl(store->stored[i].fd, F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&store->mutex);
	return fd;
}

void survivor_lose(struct survivor *survivor, const char *prefix)
{
	struct fake_store *store = &survivor->store;
	uint32_t n = 0;

	fake_store_count(store, NULL);
	pthread_mutex_lock(&store->mutex);
	for (uint32_t i = 0; i < store->n; i++)
		if (strncmp(store->stored[i].name, prefix, strlen(prefix)))
			store->stored[n++] = store->stored[i];
		else
			close(store->stored[i].fd);
	ck_assert_uint_lt(n, store->n);
	store->n = n;
	pthread_mutex_unlock(&store->mutex);
}
