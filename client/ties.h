/*
 * Ties - what goes when an arena goes back, or a scope ends, in the reverse order of its making.
 *
 * T1  An entry is a child (an arena, a pool, a scope), a block to free, or a function to call.
 *     Each has a number, greater than those of all entries before it, and never used again.
 * T2  An entry is taken out before it is acted upon, so that whoever is ended finds itself free,
 *     and a function may add entries: those end as well.
 * T3  Any thread may tie and untie; one thread at a time ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/lock.h"

/* Embedded in a child; zeroed is tied to nobody. */
struct tie {
	struct ties *to;
	size_t at;
	const void *handle; /* by which programs know the child */
	void (*end)(struct tie *tie);
};

enum tie_kind { TIE_NONE, TIE_CHILD, TIE_BLOCK, TIE_CALL };

struct tie_entry {
	enum tie_kind kind;
	uint64_t number;
	void *what; /* the child's tie, the block, or what the function gets */
	void (*call)(void *what);
};

/* Zeroed is empty. */
struct ties {
	struct lock lock;
	struct tie_entry *entries; /* the last of them is none that was taken out */
	size_t n, room;
	uint64_t number; /* of the newest there ever was */
	uint32_t *flag;  /* set when there is an entry; NULL: none is */
};

void ties_deinit(struct ties *ties);

/* 0 or -ENOMEM. Of a child: `what` is its tie, which must stay where it is. */
int ties_add(struct ties *ties, enum tie_kind kind, void *what, void (*call)(void *what));

/* The child ends by itself, or is moved out. */
void tie_cut(struct tie *tie);

/*
 * Is a block of this address among the entries, or a child of this handle? Then it is no more.
 * Looks at the newest first.
 */
bool ties_remove(struct ties *ties, const void *what);

/* Entries above that number, the newest first; blocks are given to `free_block`. */
void ties_end(struct ties *ties, uint64_t above, void (*free_block)(void *of, void *block),
	      void *of);
