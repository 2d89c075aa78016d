/*
 * Accounts - who has how much of a daemon's memory, twice: as the daemon says (its statistics file),
 * and summed up from the records of its ledger, which are read out of the file that outlives it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/core/record.h"

enum { ACCOUNTS_MAX = 64 };

struct account {
	uint32_t session, pid;
	uint64_t used;
};

struct accounts {
	uint64_t used;    /* by all */
	uint64_t cached;  /* by the ledger: of that by caches alone, nobody fills it */
	uint64_t working; /* likewise: the rest */
	uint64_t
		digest; /* likewise: of who there is, of channels, rights and what is no cache's */
	uint64_t values, live,
		ids;      /* as told: in caches, how much that is; of holders and channels */
	uint64_t beat_ms; /* as told: when the daemon was last heard of, by its clock */
	uint32_t n;
	struct account of[ACCOUNTS_MAX]; /* the sessions, by their slots */
	uint32_t records[RECORD_KINDS];  /* of the ledger: how many of each kind */
};

/* The daemon at that socket, as its statistics file says; 0: none that lives. */
pid_t accounts_daemon(const char *socket);
/* By its own books. */
void accounts_told(const char *socket, struct accounts *ret);
/* By its ledger, as it stands: of a daemon that lives. */
void accounts_read(pid_t daemon, struct accounts *ret);
/*
 * Waits until nothing has moved for more than a beat, at which the daemon looks what there is to tell, and
 * both are the same to the byte: what they have in common is told by either, the rest by one. Fails the
 * test if they never are.
 */
void accounts_settled(const char *socket, struct accounts *ret);
