#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/base.h"
#include "client/ctl/snapshot.h"
#include "proto/stats_file.h"
#include "tests/suite.h"

static char folder[] = "/tmp/varbos-snapshot-XXXXXX";
static char socket_path[128], file_path[160];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A file as a daemon leaves it: this process is the daemon. */
static struct stats_file *file_new(void)
{
	struct stats_file *file = calloc(1, sizeof(*file));
	struct stats_copy *copy = calloc(1, sizeof(*copy));

	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(copy);
	file->magic = STATS_MAGIC;
	file->layout = LAYOUT_VERSION;
	file->size = sizeof(*file);
	file->pid = (uint32_t)getpid();
	file->page_shift = 21;
	file->beat_ns = now_ns();
	memset(file->version, 'v', sizeof(file->version));

	copy->n_spaces = 1;
	copy->spaces[0].used = 4096;
	memset(copy->spaces[0].name, 'n', sizeof(copy->spaces[0].name));
	stats_file_publish(file, copy);
	free(copy);
	return file;
}

static void file_write(const struct stats_file *file, size_t size)
{
	_cleanup_(closep) int fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, file, size), (ssize_t)size);
}

static void setup(void)
{
	strcpy(folder, "/tmp/varbos-snapshot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/sock", folder);
	snprintf(file_path, sizeof(file_path), "%s.stats", socket_path);
}

static void teardown(void)
{
	unlink(file_path);
	rmdir(folder);
}

START_TEST(what_the_daemon_published_is_read)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	_cleanup_(freep) struct snapshot *snapshot = NULL;

	/* A disk may take longer than a beat. */
	for (unsigned tries = 0; tries < 10; tries++) {
		freep(&snapshot);
		snapshot = NULL;
		file->beat_ns = now_ns();
		file_write(file, sizeof(*file));
		ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_OK);
		if (snapshot->writer == SNAPSHOT_ALIVE)
			break;
	}
	ck_assert_int_eq(snapshot->writer, SNAPSHOT_ALIVE);
	ck_assert_uint_eq(snapshot->pid, (uint32_t)getpid());
	ck_assert_uint_eq(snapshot->page_shift, 21);
	ck_assert_uint_eq(snapshot->copy.n_spaces, 1);
	ck_assert_uint_eq(snapshot->copy.spaces[0].used, 4096);
}
END_TEST

START_TEST(strings_without_an_end_are_given_one_and_counts_are_cut)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	_cleanup_(freep) struct snapshot *snapshot = NULL;

	for (int i = 0; i < 2; i++)
		file->copies[i].n_spaces = file->copies[i].n_clients = file->copies[i].n_nodes =
			UINT32_MAX;
	file->page_shift = 255;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_OK);
	ck_assert_uint_eq(snapshot->copy.n_spaces, STATS_SPACES_MAX);
	ck_assert_uint_eq(snapshot->copy.n_clients, STATS_CLIENTS_MAX);
	ck_assert_uint_eq(snapshot->copy.n_nodes, STATS_NODES_MAX);
	ck_assert_uint_lt(snapshot->page_shift, 64);
	ck_assert_uint_eq(strlen(snapshot->version), sizeof(snapshot->version) - 1);
	ck_assert_uint_eq(strlen(snapshot->copy.spaces[0].name), SPACE_NAME_MAX);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_refused_without_a_fault)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	struct snapshot *snapshot = NULL;

	size_t least = offsetof(struct stats_file, quarantine);

	for (size_t size = 0; size < least; size += size < 64 ? 8 : 65536) {
		file_write(file, size);
		ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_FAILED);
	}
	file_write(file, least - 1);
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_FAILED);
	ck_assert_ptr_null(snapshot);
}
END_TEST

START_TEST(what_an_older_daemons_file_ends_before_is_empty)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	_cleanup_(freep) struct snapshot *snapshot = NULL, *whole = NULL;

	memset(file->quarantine, 'q', sizeof(file->quarantine));
	file->losses = 3;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&whole, socket_path), ANSWER_OK);
	ck_assert_uint_eq(strlen(whole->quarantine), sizeof(whole->quarantine) - 1);
	ck_assert_uint_eq(whole->losses, 3);
	file->size = offsetof(struct stats_file, quarantine);
	file_write(file, file->size);
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_OK);
	ck_assert_uint_eq(strlen(snapshot->quarantine) + snapshot->losses, 0);
}
END_TEST

START_TEST(a_file_of_another_kind_or_layout_is_refused)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	struct snapshot *snapshot = NULL;

	file->magic ^= 1;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_FAILED);
	file->magic ^= 1;
	file->layout++;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_VERSION);
	file->layout--;
	file->size = 100;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_FAILED);
	unlink(file_path);
	ck_assert_int_eq(mkfifo(file_path, 0600), 0);
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_FAILED);
	unlink(file_path);
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_UNREACHABLE);
}
END_TEST

START_TEST(an_old_beat_of_a_process_that_lives_is_silence_and_of_a_younger_one_death)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	_cleanup_(freep) struct snapshot *snapshot = NULL;
	uint64_t now = file->beat_ns;

	/* Process 1 is older than five seconds, or soon will be: in a container it may be young. */
	if (now < 20000000000u)
		return;
	file->pid = 1;
	for (unsigned tries = 0; tries < 100; tries++) {
		if (tries)
			usleep(100000);
		freep(&snapshot);
		file->beat_ns = now_ns() - 5000000000u;
		file_write(file, sizeof(*file));
		ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_OK);
		if (snapshot->writer == SNAPSHOT_SILENT)
			break;
	}
	ck_assert_int_eq(snapshot->writer, SNAPSHOT_SILENT);
	ck_assert_uint_ge(snapshot->age_ms, 5000);

	freep(&snapshot);
	file->pid = (uint32_t)getpid();
	file->beat_ns = 1000000000;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&snapshot, socket_path), ANSWER_OK);
	ck_assert_int_eq(snapshot->writer, SNAPSHOT_DEAD);
}
END_TEST

START_TEST(the_writer_is_dead_from_its_exit_on_reaped_or_not)
{
	_cleanup_(freep) struct stats_file *file = file_new();
	_cleanup_(freep) struct snapshot *zombie = NULL, *gone = NULL;
	siginfo_t info;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	file->pid = (uint32_t)pid;
	file_write(file, sizeof(*file));
	ck_assert_int_eq(snapshot_new(&zombie, socket_path), ANSWER_OK);
	ck_assert_int_eq(zombie->writer, SNAPSHOT_DEAD);

	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(snapshot_new(&gone, socket_path), ANSWER_OK);
	ck_assert_int_eq(gone->writer, SNAPSHOT_DEAD);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshot");
	TCase *tcase = tcase_create("snapshot");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_the_daemon_published_is_read);
	tcase_add_test(tcase, strings_without_an_end_are_given_one_and_counts_are_cut);
	tcase_add_test(tcase, a_file_cut_anywhere_is_refused_without_a_fault);
	tcase_add_test(tcase, what_an_older_daemons_file_ends_before_is_empty);
	tcase_add_test(tcase, a_file_of_another_kind_or_layout_is_refused);
	tcase_add_test(
		tcase,
		an_old_beat_of_a_process_that_lives_is_silence_and_of_a_younger_one_death);
	tcase_add_test(tcase, the_writer_is_dead_from_its_exit_on_reaped_or_not);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
