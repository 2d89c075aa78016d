/*
 * Waiting - connections that have not said HELLO yet.
 *
 * H1  Each has limits.hello to say it, from when it was taken; then it is dropped, unless it has said
 *     it and we were not there to hear it.
 * H2  They wait in the order of their deadlines, under one timer, which runs only while there
 *     are any.
 * H3  A newcomer that finds the last place taken is refused; nobody is dropped for it, so that
 *     one uid's flood takes no place from another's.
 * H4  Each has taken the descriptor that its HELLO will bring, a pidfd: whoever comes in can become
 *     a session, since a uid that had no descriptor may not be refused its second one.
 */
#pragma once

struct connection;
struct server;

void waiting_init(struct server *server);
void waiting_add(struct connection *connection);
/* It has said HELLO, or is being closed. No-op if it does not wait. */
void waiting_remove(struct connection *connection);
