/*
 * Right - who alone computes the value that a key of a cache stands for.
 *
 * RT1  Of a cache and a key hash nobody has the right, or one user of the cache who may write. He has
 *      it until he lets go, is gone, or the shell passes it on.
 * RT2  Each time the right is taken it has another token, and none comes back while the cache is
 *      there: so who comes too late is told from who has it now.
 * RT3  How many rights a uid has is limited; they end with their user.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"

struct user;

struct right {
	struct link in_user;
	struct right *next_claim; /* in core->claims */
	struct user *user;
	uint32_t slot;
	uint64_t hash, token, until;
};

/* The record that says all this. */
struct right_record right_record(const struct right *right);

/* Its record goes, then the rest; the rest alone. */
void right_release(struct core *core, struct right *right);
void right_free(struct core *core, struct right *right);

/* From records. False: there cannot be such a right. NULL in *ret: no memory. */
bool right_enter(struct core *core, uint32_t slot, const struct right_record *record,
		 struct right **ret);
