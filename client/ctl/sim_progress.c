#include "client/ctl/sim_progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define SECOND ((uint64_t)1000000000)

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t came;

static void on_signal(int number)
{
	came = number;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

void progress_next(struct progress *progress)
{
	progress->began = now_ns();
	progress->due = u64_max(progress->due, progress->began + SECOND / 4);
}

/* What is ignored stays so. A read is interrupted. */
void progress_begin(struct progress *progress)
{
	struct sigaction action = {.sa_handler = on_signal}, former;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (!sigaction(signals[i], NULL, &former) && former.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	*progress = (struct progress){.terminal = isatty(STDERR_FILENO)};
	progress_next(progress);
	progress->due = progress->began + SECOND;
}

bool progress_show(struct progress *progress, const char *what, uint64_t position,
		   uint64_t length, uint64_t requests)
{
	uint64_t now, ms;
	char share[16] = "";

	if (came)
		return false;
	if (!progress->terminal)
		return true;
	now = now_ns();
	if (now < progress->due)
		return true;
	ms = u64_max((now - progress->began) / 1000000, 1);
	if (length)
		snprintf(share, sizeof(share), "%3u%%  ",
			 (unsigned)(u64_min(position, length) * 100 / length));
	fprintf(stderr,
		"\r%s: %s%" PRIu64 ".%" PRIu64 " M requests, %" PRIu64 ".%" PRIu64 " M/s\033[K",
		what, share, requests / 1000000, requests / 100000 % 10, requests / ms / 1000,
		requests / ms / 100 % 10);
	fflush(stderr);
	progress->shown = true;
	progress->due = now + SECOND / 4;
	return true;
}

void progress_hide(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}

void progress_end(struct progress *progress)
{
	progress_hide(progress);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction former;

		if (!sigaction(signals[i], NULL, &former) && former.sa_handler == on_signal)
			signal(signals[i], SIG_DFL);
	}
	if (came)
		raise(came);
}
