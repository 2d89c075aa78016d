/*
 * rtt - one question and its answer: the floor under everything that asks the daemon.
 */
#include <varbos/varbos.h>

#include "bench/harness.h"

static void ping(struct harness *harness, void *userdata)
{
	(void)userdata;
	if (varbos_ping(harness->vb, NULL))
		harness_die(harness, "rtt: %s", varbos_error()->message);
}

void bench_rtt(struct harness *harness)
{
	harness_compare(harness, "rtt", 0, ping, NULL);
}
