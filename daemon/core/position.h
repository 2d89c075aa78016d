/*
 * Position - how far what clients put into their lanes and return rings is done.
 *
 * PO1  `taken` of a lane is stored after all that a record of it did, and before the first store of the
 *      next record, whoever's that is. So of all lanes together one record at most was begun and is
 *      not counted: who goes on after a death finds it at the position of its lane.
 * PO2  It may be done already. A publish is known again by its object, which lies where the record says.
 *      What leaves nothing of the kind (a delete), or what would be made twice, or refused (a lease, a
 *      seal), has an intent before its first store, and is known again by what that names.
 * PO3  An intent says something as long as its lane's position is the one it is of. It goes before the
 *      lanes of its session, so that it is never of another's.
 * PO4  Both files' records go before their session's.
 */
#pragma once

#include "daemon/core/core.h"

struct session;

/* Its session ends. */
void position_release(struct core *core, struct session *session);

/* From records: -EUCLEAN. */
int position_recover_lanes(struct core *core, uint32_t slot);
int position_recover_returns(struct core *core, uint32_t slot);
int position_recover_intent(struct core *core);

/* NULL, or what is wrong. */
const char *position_check(const struct core *core, const struct session *session);
const char *position_check_intent(const struct core *core);
