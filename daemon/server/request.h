/*
 * Request - what a client asks, from datagram to answer.
 *
 * Q1  Every request is answered exactly once, or its session has ended: on the connection that the
 *     session has by then. One that is said again while it waits is the same.
 * Q2  A request that has to wait for a plan is kept as the datagram it was, and tried again
 *     when a plan has ended, oldest first, a bounded number a turn.
 * Q4  Memory is asked for in turn: while a request waits for memory of a space, later ones for
 *     that space wait behind it; and while one has been tried in vain RETRIES_MAX times, all
 *     later ones do, so that plans end and it finds what it needs.
 * Q3  A session starts its requests in order; what waits may finish out of order.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/core.h"
#include "proto/wire.h"

struct client;
struct connection;
struct server;

struct request {
	struct server *server;
	struct connection *connection; /* NULL: the client has gone absent; no one to answer */
	struct client *client;         /* NULL: before HELLO */
	enum wire_method method;
	uint64_t id;
	bool note;      /* wants no answer */
	bool held;      /* without a job */
	bool record;    /* of a return ring: uncounted, so it may neither wait nor have a job */
	uint64_t since; /* sweeps that had begun when it came, */
	uint64_t scans; /* and scans (scanner.h) */
	uint32_t cache; /* of cache.segment, once memory for it is on its way */
	uint32_t memory; /* of this space is wanted; 0: none */
	bool apart;      /* nobody who comes later is behind it while it waits */
	uint64_t
		begun; /* what a method has noted before it was to be tried again; 0 at first */
	union wire_body result;
	struct wire_fault fault;
	char text[256]; /* of the fault's message */
};

/* What a method can come to, besides 0 (answer with the result) and -errno. */
enum {
	REQUEST_FAULT = 1, /* answer with the fault */
	REQUEST_LATER,     /* taken over: request_finish() will be called on a copy */
	REQUEST_BUSY,      /* to be tried again when a plan has ended */
};

void request_receive(struct connection *connection, const void *data, uint32_t size);

/*
 * Take over what method handler got on its stack, to be finished when a job is done: counted
 * by its client until then. NULL: no memory.
 */
struct request *request_keep(const struct request *request);
/* The same for what no job finishes: its client may end meanwhile. */
struct request *request_hold(const struct request *request);
/* May its client have one more that is kept? */
bool request_may_keep(const struct request *request);
/* Answer it and free it. r is as a method's return; takes the descriptors. */
void request_finish(struct request *request, int r, int *fds, uint32_t n_fds);

/* An extent.free that nobody waits for: a refusal goes to the client as a note. */
void request_free(struct client *client, const struct wire_extent_free *args);

/* A plan or grant has ended: what waits may go on, at the next turn. */
void request_retry(struct server *server);
/* Try what waits once more. */
void request_retry_now(struct server *server);
void request_forget_all(struct server *server);

/* The answer to BYE, when all has been given back. */
void request_answer_bye(struct connection *connection, uint64_t id);
