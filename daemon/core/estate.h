/*
 * Estate - what a cache is to the ledger: its name and terms, the memory it has, and who has it
 * open. What it holds there, and for how long, is decided elsewhere.
 *
 * ES1  A cache is of one space, and no two of a space have the same name; but a removed one has
 *      none any more. Its slot is its handle, and never 0.
 * ES2  Its memory is extents that name it: a user's, who fills them; then sealed, and its own.
 *      `bytes` is the sum of their charges.
 * ES3  A user is a member that has the cache open, once. He goes after his extents and rights.
 * ES4  A removed cache lets nobody in. It goes when its last user has gone: its extents, then its
 *      record, so that no slot is another's while an extent names it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"

struct asker;
struct member;
struct space;

struct estate {
	struct link link; /* of its space */
	struct space *space;
	uint32_t slot, serial;
	uint32_t policy; /* enum policy_id */
	bool removed;
	uint64_t capacity, ttl_ms;
	uint64_t token_next; /* of rights */
	uint64_t cleared, index;
	uint32_t n_rights;
	uint64_t bytes;
	uint64_t files;                 /* bytes of metadata besides METADATA_CACHE */
	uint32_t n_segments, n_objects; /* extents */
	struct link extents;            /* sealed ones: struct extent, in_cache */
	struct link users;              /* struct user, in_cache */
	uint32_t n_users;
	char name[CACHE_NAME_MAX + 1];
};

struct user {
	struct link in_cache, in_member;
	struct user *next_open;
	struct estate *cache;
	struct member *member;
	uint32_t slot;
	bool closing;
	uint64_t pinned, pins; /* bytes: pins.h; as far as the scan under way has come */
	struct link extents;   /* that he fills: struct extent, in_cache */
	struct link rights;    /* struct right, in_user */
};

/* How many extents of that kind it has. */
uint32_t *estate_count(struct estate *estate, enum extent_kind kind);
/* Of those that are not removed. */
struct estate *estate_named(const struct space *space, const char *name);
/* NULL: there is none. */
struct user *user_find(const struct core *core, const struct estate *estate,
		       const struct member *member);
/* By slots; NULL: it has it not open, or is closing it. */
struct user *user_at(const struct core *core, uint32_t session, uint32_t cache);
/*
 * The same, of who changes what the cache is or holds. CORE_E_NOT_FOUND: "cache"; CORE_E_PERMISSION:
 * "write", its session reads only.
 */
int user_to_write(const struct core *core, uint32_t session, uint32_t cache, struct user **ret,
		  struct core_fault *fault);
/* The record that says all this. */
struct cache_record estate_record(const struct estate *estate);
struct cache_word estate_word(const struct estate *estate);
struct user_word user_word(const struct user *user);

/* He seals what he fills, one a step, and is gone. CORE_MORE; CORE_E_BUSY: a plan makes him one. */
int user_leave(struct core *core, struct user *user, uint32_t *steps,
	       const struct asker *asker);
/* Without users and extents: its record goes. */
void estate_release(struct core *core, struct estate *estate);

/* From records. False: there cannot be such a cache. NULL in *ret: no memory. */
bool estate_enter(struct core *core, uint32_t slot, const struct cache_record *record,
		  struct estate **ret);
struct user *user_enter(struct core *core, struct estate *estate, struct member *member,
			uint32_t slot);
/* With its users, out of memory and accounts. */
void estate_free(struct core *core, struct estate *estate);
