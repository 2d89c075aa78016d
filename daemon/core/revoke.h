/*
 * Revoke - who loses a right to a space keeps what he has mapped, and gets nothing more.
 *
 * RV1 A member is barred while the space's mode and owner would not let him do what he has it open
 *     for. He is given no window, no memory, no id, no channel and no cache of it, and changes none;
 *     what he has he keeps, pays for, and may give back.
 * RV2 When somebody may lose a right, whoever that is, all windows retire that were granted: anyone
 *     who could open one may have kept its descriptor, or passed it on. Nothing of a retired window
 *     is ever given out again. What is there stays, and is found; what comes free goes back to the
 *     region, a unit at a time. So memory that is granted later lies in windows that only those
 *     get who still may.
 * RV3 Both are recorded before the terms that they follow from.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/record.h"

struct member;
struct space;

/* Of a class of the mode: 4 reads, 2 writes. */
uint32_t rights_of(enum member_via via, uint32_t mode);
/* CORE_E_PERMISSION, "revoked", to a member that is barred. */
int revoked(const struct member *member, struct core_fault *fault);
/* The space is about to have these terms. */
void revoke_for(struct core *core, struct space *space, const struct space_terms *terms);
