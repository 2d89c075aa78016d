/*
 * Link - a session with the daemon for one question at a time.
 *
 * What libvarbos does not offer (status, client.list) goes this way, and so does all else that
 * maps no memory. No descriptor is ever received: the kernel closes them unseen.
 */
#pragma once

#include <stdint.h>

#include "client/ctl/answer.h"
#include "proto/wire.h"

struct link {
	int fd;
	int timeout_ms; /* for one answer, and for the connection */
	uint64_t next_id;
	struct wire_message message; /* the last answer; what it points at is in `received` */
	char sent[4096];
	char received[WIRE_MESSAGE_MAX];
};

/* Connects and says hello; why not, it has said on stderr. */
enum answer link_new(struct link **ret, const char *path, int timeout_ms);
void link_free(struct link *link);

static inline void link_freep(struct link **link)
{
	link_free(*link);
}

/*
 * Ask and wait. `params` is the method's struct; *ret points at its result's, until the next
 * question. `what` begins the line on stderr if it fails.
 */
enum answer link_ask(struct link *link, const char *what, enum wire_method method,
		     const void *params, const void **ret);

/*
 * The same where a refusal is an answer like others: then *ret is NULL and *ret_fault says why, until
 * the next question, and nothing stands on stderr.
 */
enum answer link_try(struct link *link, const char *what, enum wire_method method,
		     const void *params, const void **ret, const struct wire_fault **ret_fault);

/* Ask for what ends the session: that is the answer, unless it is refused. */
enum answer link_end(struct link *link, const char *what, enum wire_method method,
		     const void *params);

/*
 * Ask page after page, and make an array of lines of the rows: line_fill(line, row) for each.
 * The method's answer is {rows, next}. *ret is for the caller to free().
 */
enum answer link_list(struct link *link, const char *what, enum wire_method method,
		      size_t line_size, void (*line_fill)(void *line, const void *row),
		      void **ret, size_t *ret_count);
