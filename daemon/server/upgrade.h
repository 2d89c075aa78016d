/*
 * Upgrade - another binary in the place of this one: the same process, with the same arguments, and
 * with all that is kept, by way of exec.
 *
 * UP1  What does not run, as `--version` shows, or would end over its configuration, as `--check-config`
 *      shows, is not put in place; and whatever comes between, this one goes on serving, and says why.
 *      Nothing of it has changed.
 * UP2  Jobs under way may end first, for a bounded time. What then is cut off is as after a death: the
 *      next one recovers, and clients ask again. But whoever keeps descriptors has been told all.
 * UP3  The end of the connection is the answer. Only a refusal is a message.
 */
#pragma once

#include "daemon/server/request.h"

struct server;

/* The method. */
int run_upgrade(struct request *request, const union wire_body *params);

/* The server ends. */
void upgrade_stop(struct server *server);
