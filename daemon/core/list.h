/*
 * List - a ring of links that live inside what they link. A zeroed link is in no ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/base.h"

struct link {
	struct link *next, *previous;
};

static inline void list_init(struct link *list)
{
	list->next = list->previous = list;
}

static inline bool list_empty(const struct link *list)
{
	return list->next == list;
}

static inline void list_append(struct link *list, struct link *link)
{
	link->next = list;
	link->previous = list->previous;
	list->previous->next = link;
	list->previous = link;
}

static inline void list_remove(struct link *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
	*link = (struct link){NULL, NULL};
}

#define list_for_each(at, list) \
	for (struct link *at = (list)->next; at != (list); at = at->next)

#define list_entry(link, type, member) container_of(link, type, member)
