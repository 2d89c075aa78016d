/*
 * Doctor - would Varbos work here, and if not, what has to be done?
 *
 * DR1 A check looks at plain data only: what the machine is was found out before (doctor_machine.c), so
 *     that tests hand it any machine.
 * DR2 Every finding that is not OK says what to do, as a command where there is one.
 * DR3 FAIL is what would not work; a warning works worse than it could, or than was asked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sys/sys.h"

enum { DOCTOR_FINDINGS_MAX = 80 };

enum doctor_pages { PAGES_AUTO = 0, PAGES_4K = 12, PAGES_2M = 21, PAGES_1G = 30 };

struct machine_pool {
	bool there; /* the kernel knows pages of this size */
	uint64_t total, free;
};

enum machine_config {
	CONFIG_NOT_ASKED,
	CONFIG_NOT_THERE, /* no varbosd is found */
	CONFIG_WRONG,
	CONFIG_GOOD,
};

enum machine_socket {
	SOCKET_NONE,     /* there is nothing */
	SOCKET_SERVED,   /* somebody answers */
	SOCKET_STALE,    /* a socket that no one serves */
	SOCKET_BUSY,     /* its backlog is full: it is served, but not now */
	SOCKET_DENIED,   /* not for us */
	SOCKET_OTHER,    /* a file that is no socket, or a socket of another kind */
	SOCKET_TOO_LONG, /* no address has room for it */
};

enum machine_member { MEMBER_NO, MEMBER_YES, MEMBER_SINCE /* but not this process */ };

struct machine {
	/* what is wanted */
	uint64_t size, small; /* small: of a region with pages of 1 GiB; 0: a quarter */
	enum doctor_pages pages;
	bool lock;
	enum machine_config config; /* where that is from */
	char size_origin[256], pages_origin[256];
	char config_why[256];  /* what is wrong first */
	char told_socket[108]; /* "": nobody said */

	/* memory */
	bool host_known;
	struct sys_host host; /* cgroups included */
	uint64_t mem_total, mem_available;
	uint64_t cgroup_room, cgroup_limit; /* UINT64_MAX: none */
	struct machine_pool huge, giant;
	uint64_t swap_total;
	bool swappiness_known;
	uint64_t swappiness;
	char thp[64], thp_shmem[96]; /* as the kernel writes them; "": unknown */

	/* nodes */
	bool nodes_known;
	struct sys_nodes nodes;
	bool balancing_known;
	uint64_t balancing;

	/* this process, and what it may */
	bool root;
	uint64_t nofile_soft, nofile_hard, memlock_soft; /* UINT64_MAX: no limit */
	char user[64];
	bool has_user, has_group; /* varbos, varbos-clients */
	enum machine_member member;

	/* the kernel */
	bool memfd, memfd_huge, pidfd, peer_pidfd, membarrier, pass_rights;
	char release[64];

	/* the daemon */
	char socket[4096];
	uint64_t socket_max; /* bytes that a path may have */
	enum machine_socket socket_state;
	bool answered; /* then: */
	bool isolates;
	char version[64], pages_why[256];
	uint64_t region, committed, page;
};

enum finding_level { FINDING_OK, FINDING_NOTE, FINDING_WARNING, FINDING_FAIL };

struct finding {
	enum finding_level level;
	char level_name[8];
	char check[16];
	char text[256];
	char todo[256];
};

struct findings {
	uint32_t count, of_level[FINDING_FAIL + 1];
	struct finding rows[DOCTOR_FINDINGS_MAX];
};

/* All checks, in the order of their table. */
void doctor_look(const struct machine *machine, struct findings *ret);

/* "auto", "4K", ... */
bool pages_parse(const char *text, enum doctor_pages *ret);
/* What varbosd would be told, into size, pages, lock and told_socket. */
void machine_ask_config(struct machine *machine);
/* The same, out of what it prints; `text` is taken apart. */
void machine_take_config(char *text, struct machine *machine);
/* What stands below `root` ("" but in tests): /proc and /sys. */
void machine_read(const char *root, struct machine *machine);
/* What only the kernel and the user database can say: limits, groups, features, the socket. */
void machine_ask(struct machine *machine);
