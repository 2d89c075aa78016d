/*
 * Host - a server over a fake machine, in this process, and what a peer asks of it.
 */
#pragma once

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/server.h"
#include "tests/fake_sys.h"
#include "tests/integration/peer.h"

/* One server, its folder and its thread. */
extern struct host {
	struct fake_sys fake;
	struct options options;
	pthread_t thread;
	char folder[32];
	int lifeline; /* closing it ends the server */
	int result;
	char said[600]; /* the last error of one that would not start, and its code before it */
} host;

/* Which thread made the kernel's calls: the fake's table with a note of it. */
extern struct noted {
	const struct sys_table *fake;
	struct sys_table noting;
	pthread_t loop;
	_Atomic bool on_loop[FAKE_CALLS];
	_Atomic uint64_t calls[FAKE_CALLS];
} noted;

/* Commits wait here while it is shut; the second is that of other nodes than the first. */
extern _Atomic bool gate_shut, gate_elsewhere_shut;
extern _Atomic uint64_t commits_refused;

/* What the loop's clock goes on by, each time that the loop looks at it. */
extern _Atomic uint64_t look_ns;

/* The machine, and the folder; a test may change `host` between this and host_run(). */
void host_prepare(uint64_t size, enum config_pages pages, bool hugepages);
void host_run(void);
void host_start(uint64_t size, enum config_pages pages, bool hugepages);
void host_stop(void);

/* True: the answer has it. */
bool alloc(struct peer *peer, uint64_t space, uint64_t size);
bool free_last(struct peer *peer, uint64_t space);
/* The same in two steps, and the request's id. */
uint64_t ask_memory(struct peer *peer, uint64_t space, uint64_t size);
bool got_memory(struct peer *peer, uint64_t id);

/* An exit status. */
int host_suite_run(Suite *suite);
