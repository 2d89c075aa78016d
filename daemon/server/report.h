/*
 * Report - what a session says that its memory is in blocks (proto/layout.h).
 *
 * RE1 A report is memory that a client writes: it is read through guard_copy() alone, each word
 *     once, and no more rows than there can be.
 * RE2 What is made of it never exceeds what the core knows: of what a session leases in a space
 *     its classes have parts, and of these its blocks. What is in no class counts as in use.
 * RE3 Reports are looked at when somebody asks, and at each beat those that have changed: what
 *     was said last stands until then, whatever has become of the client.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/request.h"

struct client;
struct server;

enum { REPORT_SPACES = 16 }; /* of a session, in its sums; what is beyond counts as in use */

/* Of a report as it was last looked at: bytes that no block is in, by space. */
struct report_sums {
	uint64_t turn;
	uint32_t n;
	struct {
		uint32_t space; /* slot */
		uint64_t cached;
	} of[REPORT_SPACES];
};

/* Those that have changed: at each beat, and before somebody is told. */
void reports_look(struct server *server);
/* By the sums: of all that the session has, and of sums.of[i].space. */
uint64_t report_cached(const struct client *client);
uint64_t report_cached_in(const struct client *client, uint32_t i);

int run_client_blocks(struct request *request, const union wire_body *params);
