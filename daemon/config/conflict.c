#include "daemon/config/conflict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "daemon/config/settings.h"
#include "daemon/config/shares.h"
#include "daemon/core/quota.h"

/* The value of a SIZE or a COUNT. */
static uint64_t number(const struct settings *settings, enum key_id key)
{
	uint64_t value;

	memcpy(&value, (const char *)&settings->config + keys[key].offset, sizeof(value));
	return value;
}

static bool is_said(const struct settings *settings, enum key_id key)
{
	return settings->origins[key].kind != ORIGIN_BUILT_IN && number(settings, key);
}

/* ---- too little for even one ---- */

static const struct least {
	enum key_id key;
	uint64_t least;
	const char *why;
} leasts[] = {
	{KEY_limits_descriptors, 3, "one session takes its connection, its process, its ring"},
	{KEY_limits_metadata, METADATA_SESSION, "one session takes that much"},
};

static void find_least(struct settings *settings, const struct least *least)
{
	char is[VALUE_TEXT_MAX];

	if (!is_said(settings, least->key) || number(settings, least->key) >= least->least)
		return;
	settings_remark(settings, true, &settings->origins[least->key],
			"%s = %s lets nobody in: %s; at least %" PRIu64
			" is wanted, or 0 for the default",
			keys[least->key].name,
			value_print(is, &keys[least->key], &settings->config), least->why,
			least->least);
}

/* ---- more of one than there can be with the other ---- */

static const struct bound {
	enum key_id part;
	uint64_t each; /* takes so much of the whole */
	enum key_id whole;
	const char *why;
} bounds[] = {
	{KEY_memory_small, 1, KEY_memory_size, "the smaller pages are part of it"},
	{KEY_limits_waiting, 1, KEY_limits_connections,
	 "whoever has not said hello is connected, too"},
	{KEY_limits_connections, 1, KEY_limits_descriptors, "each connection takes one"},
	{KEY_limits_sessions, 1, KEY_limits_descriptors, "each session takes one"},
	{KEY_limits_sessions, METADATA_SESSION, KEY_limits_metadata, "each session takes 8K"},
	{KEY_limits_spaces, METADATA_SPACE, KEY_limits_metadata, "each space takes 16K"},
	{KEY_limits_opens, METADATA_OPEN, KEY_limits_metadata, "each open space takes 256"},
	{KEY_limits_windows, METADATA_WINDOW, KEY_limits_metadata, "each window takes 8K"},
	{KEY_limits_leases, METADATA_LEASE, KEY_limits_metadata, "each extent takes 128"},
	{KEY_limits_channels, METADATA_END, KEY_limits_metadata, "each end takes 128"},
	{KEY_limits_caches, METADATA_CACHE, KEY_limits_metadata, "each cache takes 512"},
	{KEY_limits_rights, METADATA_RIGHT, KEY_limits_metadata, "each right takes 128"},
};

/* So that what is printed, where it counts as said, is free of conflicts as well. */
static void give_way(struct settings *settings, const struct key *key, uint64_t value)
{
	memcpy((char *)&settings->config + key->offset, &value, sizeof(value));
}

static void find_bound(struct settings *settings, const struct bound *bound)
{
	const struct key *part = &keys[bound->part], *whole = &keys[bound->whole];
	char is[VALUE_TEXT_MAX], there[VALUE_TEXT_MAX], origin[ORIGIN_TEXT_MAX];
	uint64_t most = number(settings, bound->whole) / bound->each;

	if (!is_said(settings, bound->whole) || number(settings, bound->part) <= most)
		return;
	if (!is_said(settings, bound->part)) {
		give_way(settings, part, most);
		return;
	}
	settings_remark(settings, true, &settings->origins[bound->part],
			"%s = %s contradicts %s = %s (%s): %s; at most %" PRIu64
			" is right, or more of the other",
			part->name, value_print(is, part, &settings->config), whole->name,
			value_print(there, whole, &settings->config),
			origin_print(origin, &settings->origins[bound->whole]), bound->why,
			most);
}

/* ---- the region's parts, and the region ---- */

static void find_shares(struct settings *settings)
{
	const struct key *key = &keys[KEY_memory_nodes], *size = &keys[KEY_memory_size];
	const struct origin *origin = &settings->origins[KEY_memory_nodes];
	char is[VALUE_TEXT_MAX], there[VALUE_TEXT_MAX], where[ORIGIN_TEXT_MAX];
	char sum[SIZE_TEXT_MAX];
	struct shares shares;
	const char *why;

	value_print(is, key, &settings->config);
	if (shares_parse(settings->config.memory.nodes, &shares, &why)) {
		settings_remark(settings, true, origin, "%s = %s: %s", key->name, is, why);
		return;
	}
	if (!shares.sized || shares.sum == number(settings, KEY_memory_size))
		return;
	size_format(sum, sizeof(sum), shares.sum);
	if (shares.sum > size->max)
		settings_remark(settings, true, origin,
				"%s = %s: %s together, at most 1 PiB is right", key->name, is,
				sum);
	else if (!is_said(settings, KEY_memory_size))
		give_way(settings, size, shares.sum);
	else
		settings_remark(settings, true, origin,
				"%s = %s contradicts %s = %s (%s): the nodes have %s together; "
				"leave the size out, or nodes without sizes",
				key->name, is, size->name,
				value_print(there, size, &settings->config),
				origin_print(where, &settings->origins[KEY_memory_size]), sum);
}

void conflict_find(struct settings *settings)
{
	for (size_t i = 0; i < ARRAY_SIZE(leasts); i++)
		find_least(settings, &leasts[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bounds); i++)
		find_bound(settings, &bounds[i]);
	find_shares(settings);
}
