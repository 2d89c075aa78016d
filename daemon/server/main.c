/*
 * varbosd - owns the machine's big memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/server/log.h"
#include "daemon/server/options.h"
#include "daemon/server/server.h"
#include "daemon/sys/sys.h"

int main(int argc, char **argv)
{
	struct options options;
	struct sys *sys;
	int r;

	log_init();
	r = options_parse(&options, argc, argv);
	if (r)
		return r == OPTIONS_DONE ? EXIT_SUCCESS : 2;

	r = sys_real_new(&sys);
	if (r) {
		log_error("no start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	r = server_run(&options, sys);
	sys_real_free(sys);
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
