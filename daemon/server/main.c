/*
 * varbosd - owns the machine's big memory.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/streams.h"
#include "daemon/server/activation.h"
#include "daemon/server/fault.h"
#include "daemon/server/keeper.h"
#include "daemon/server/log.h"
#include "daemon/server/options.h"
#include "daemon/server/program.h"
#include "daemon/server/server.h"
#include "daemon/sys/sys.h"

enum { MMAP_FROM = 256 << 10 };

/* 2: what it was told is wrong, and will be the next time. */
static int status_of(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? EXIT_FAILURE : 2;
}

int main(int argc, char **argv)
{
	_cleanup_(options_deinit) struct options options = {.lifeline = -1};
	bool is_keeper = keeper_is_asked(argc, argv);
	struct sys *sys;
	int r;

	streams_open();
	log_open();
	r = program_remember(argc, argv, is_keeper);
	if (r) {
		log_error("no start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	if (is_keeper)
		return keeper_run(argc, argv);
	/* What is large grows by moving pages, not bytes, whatever was freed before. */
	mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
	r = options_parse(&options, argc, argv);
	if (r == OPTIONS_DONE) {
		if (!fflush(stdout) && !ferror(stdout))
			return EXIT_SUCCESS;
		log_error("standard output: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (r == OPTIONS_E_CHECK)
		return EXIT_FAILURE;
	if (r) {
		if (options.lifeline >= 0)
			log_tell(options.lifeline, FAULT_UNAVAILABLE);
		return status_of(r);
	}

	log_limit((enum log_level)(LOG_LEVEL_ERROR + options.config.log.level));
	r = activation_take(&options);
	if (r) {
		if (options.lifeline >= 0)
			log_tell(options.lifeline, FAULT_UNAVAILABLE);
		return status_of(r);
	}
	r = sys_real_new(&sys);
	if (r) {
		log_error("no start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	r = server_run(&options, sys);
	sys_real_free(sys);
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
