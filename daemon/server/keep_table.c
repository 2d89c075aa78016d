#include "daemon/server/keep_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/server/keep_private.h"

static uint32_t hash(const char *name)
{
	uint32_t h = 2166136261;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619;
	return h;
}

static struct keep_entry **bucket(const struct keep *keep, const char *name)
{
	return &keep->buckets[hash(name) & (keep->n_buckets - 1)];
}

struct keep_entry *keep_find(const struct keep *keep, const char *name)
{
	struct keep_entry *at = *bucket(keep, name);

	while (at && (at->state == KEEP_LEAVING || strcmp(at->name, name)))
		at = at->next;
	return at;
}

/* Without memory chains grow longer. */
static void grow(struct keep *keep)
{
	struct keep_entry **former = keep->buckets, **buckets;
	uint32_t n = keep->n_buckets;

	if (keep->n < n || keep->tells_all)
		return;
	buckets = calloc((size_t)n * 2, sizeof(struct keep_entry *));
	if (!buckets)
		return;
	keep->buckets = buckets;
	keep->n_buckets = n * 2;
	for (uint32_t i = 0; i < n; i++)
		for (struct keep_entry *at = former[i], *next; at; at = next) {
			struct keep_entry **to = bucket(keep, at->name);

			next = at->next;
			at->next = *to;
			*to = at;
		}
	free(former);
}

void keep_insert(struct keep *keep, struct keep_entry *entry)
{
	struct keep_entry **at;

	grow(keep);
	at = bucket(keep, entry->name);
	entry->next = *at;
	*at = entry;
	keep->n++;
}

void keep_forget(struct keep *keep, struct keep_entry *entry)
{
	struct keep_entry **at = bucket(keep, entry->name);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	free(entry);
}

struct keep_entry *keep_entry_new(const char *name, int fd, enum keep_state state)
{
	struct keep_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	assert(strlen(name) < sizeof(entry->name));
	strcpy(entry->name, name);
	entry->fd = fd;
	entry->state = state;
	return entry;
}
