/*
 * Ledger - the records (daemon/core/record.h) in a file of their own, which outlives the daemon.
 *
 * LG1  The head comes first, whole, before anyone keeps the file, and never changes: which layout
 *      follows, and which region it is about, as of birth.
 * LG2  A layout that is not LEDGER_LAYOUT is nobody's to read, and nobody's to overwrite.
 * LG3  What no record was ever stored into stays a hole: it is neither read nor counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/topology.h"
#include "daemon/core/record.h"
#include "daemon/sys/sys.h"

/* To be raised whenever what follows the head is laid out otherwise. */
enum { LEDGER_LAYOUT = 1 };

enum { LEDGER_NODES_TEXT = 256, LEDGER_WHY_TEXT = 640 };

/* As bytes in the file: only fields of fixed size, those that are not used 0. */
struct ledger_region {
	uint32_t page_shift;
	uint32_t large_shift; /* 0: there are no such pages, and: */
	uint64_t large_bytes, large_from;
	uint64_t node_bytes[TOPOLOGY_NODES_MAX], large_node_bytes[TOPOLOGY_NODES_MAX];
	struct topology topology;
	struct {
		uint64_t size, small;
		uint64_t pages; /* enum config_pages */
		char nodes[LEDGER_NODES_TEXT];
	} asked;                   /* by the configuration */
	char why[LEDGER_WHY_TEXT]; /* "", or why pages are smaller than that */
};

struct ledger {
	int fd;
	void *memory; /* NULL: there is none */
	uint64_t size;
	struct records *records;
};

#define LEDGER_NONE ((struct ledger){.fd = -1})

enum {
	LEDGER_E_LAYOUT = 1, /* another version's, or no ledger at all */
};

int ledger_new(struct ledger *ret, struct sys *sys, const struct ledger_region *region,
	       const struct record_capacity *capacity);
/*
 * One that was left; takes the descriptor if it answers 0. LEDGER_E_LAYOUT: *ret_layout is the version
 * that it says, or 0. -EBADFD: it is no file that ledger_new() makes.
 */
int ledger_open(struct ledger *ret, struct sys *sys, int fd, uint32_t *ret_layout);
void ledger_close(struct ledger *ledger, struct sys *sys);

const struct ledger_region *ledger_region(const struct ledger *ledger);
/* From which slot on there never was a record of that kind. */
int ledger_used(const struct ledger *ledger, struct sys *sys, struct record_capacity *ret);
