/*
 * Fake sys - the table of daemon/sys/sys.h without the machine: plain memfds whatever the page
 * size, memory that is counted and limited here, a clock that stands still, and failures where
 * a test wants them.
 *
 * Any thread may call the table; a test reads the fields only while no one else does.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "daemon/sys/sys.h"

enum fake_call {
	FAKE_WINDOW_CREATE,
	FAKE_WINDOW_DESTROY,
	FAKE_WORDS_CREATE,
	FAKE_WORDS_DESTROY,
	FAKE_WORDS_SWEEP,
	FAKE_ORPHAN_LOCKS,
	FAKE_WORDS_READ,
	FAKE_FILE_CREATE,
	FAKE_FILE_UNMAP,
	FAKE_FILE_GROW,
	FAKE_WINDOW_ADOPT,
	FAKE_WORDS_ADOPT,
	FAKE_FILE_ADOPT,
	FAKE_LEDGER_CREATE,
	FAKE_LEDGER_ADOPT,
	FAKE_DATA_END,
	FAKE_DATA_MAP,
	FAKE_COMMIT,
	FAKE_PUNCH,
	FAKE_SCRUB,
	FAKE_ZERO,
	FAKE_BLOCKS,
	FAKE_REOPEN,
	FAKE_HOST,
	FAKE_NODES,
	FAKE_RESERVE,
	FAKE_RESERVE_ADOPT,
	FAKE_LOCK,
	FAKE_RELOCK,
	FAKE_COLLAPSE,
	FAKE_PEER,
	FAKE_PROCESS,
	FAKE_WAKE,
	FAKE_BARRIER,
	FAKE_CALLS
};

struct fake_sys {
	struct sys sys; /* hand out &fake.sys */
	pthread_mutex_t lock;
	struct sys_host host;   /* what is left; commit takes from it, punch gives back */
	struct sys_nodes nodes; /* one, unless a test wants more */
	uint64_t elsewhere; /* of the next commit on a node, so many bytes come from another */
	uint64_t committed_on
		[TOPOLOGY_NODES_MAX]; /* by commits that named a node, punched or not */
	uint64_t reserved;            /* by the last reserve of 2 MiB pages */
	uint64_t reserved_giant;      /* of 1 GiB pages */
	int reserve_fd, giant_fd;     /* what holds them, or would; -1: nothing */
	uint64_t lock_limit; /* what may be locked, and what the last lock asked for: */
	uint64_t locked;
	uint64_t window_bytes; /* committed in windows */
	uint64_t windows;      /* created and not destroyed */
	uint64_t words;        /* files, likewise */
	uint64_t files;        /* mapped */
	uint64_t now_ns;       /* what the clock says */
	uint64_t suspended_ns; /* what the machine's time is ahead of it */
	uint32_t uid;          /* what peer says, unless UINT32_MAX: the truth */
	uint64_t calls[FAKE_CALLS];
	struct {
		uint64_t nth;
		int error;
	} fail[FAKE_CALLS];
};

/* A machine with so many bytes free, and as many in hugepages. */
void fake_sys_init(struct fake_sys *fake, uint64_t bytes);
void fake_sys_deinit(struct fake_sys *fake);

/* The nth call from now on (1: the next) fails with -error, once. */
void fake_sys_fail(struct fake_sys *fake, enum fake_call call, uint64_t nth, int error);

/* Another process: what it has is what it adopts; memory that is committed stays so. */
void fake_sys_again(struct fake_sys *fake);

/* Let the clock go on. */
void fake_sys_advance(struct fake_sys *fake, uint64_t ns);
/* The machine sleeps: its time goes on, the clock does not. */
void fake_sys_suspend(struct fake_sys *fake, uint64_t ns);
