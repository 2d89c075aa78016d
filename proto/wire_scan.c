/*
 * The scan of W1: what a datagram announces is held against what it holds, before any byte of
 * it makes msgpack-c allocate. Told to expect 2^32 elements, that reserves gigabytes; told to
 * nest deeper than its stack, it gives up as if out of memory.
 */
#include <string.h>

#include "base/base.h"
#include "proto/wire_private.h"

/* The first bytes of one value: how many they are, and how many values follow inside it. */
struct item {
	uint64_t bytes;
	uint64_t children;
	bool container;
};

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static uint64_t number(const uint8_t *p, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | p[i];
	return value;
}

/* False if the bytes end before its length does, or it is no value at all (0xc1). */
static bool item_read(const uint8_t *p, size_t left, struct item *ret)
{
	/* Beyond 0xc3: bytes of a length that follow, then bytes of payload apart from it. */
	static const struct {
		uint8_t length, payload;
	} forms[] = {
		{1, 0}, {2, 0}, {4, 0},                  /* c4: bin */
		{1, 1}, {2, 1}, {4, 1},                  /* c7: ext */
		{0, 4}, {0, 8},                          /* ca: float */
		{0, 1}, {0, 2}, {0, 4}, {0, 8},          /* cc: unsigned */
		{0, 1}, {0, 2}, {0, 4}, {0, 8},          /* d0: signed */
		{0, 2}, {0, 3}, {0, 5}, {0, 9}, {0, 17}, /* d4: ext of fixed length */
		{1, 0}, {2, 0}, {4, 0},                  /* d9: str */
		{2, 0}, {4, 0},                          /* dc: array */
		{2, 0}, {4, 0},                          /* de: map */
	};
	static_assert(ARRAY_SIZE(forms) == 0xdf - 0xc4 + 1, "every type byte from c4 to df");
	uint8_t type = p[0];
	uint64_t length;
	size_t header;

	if (type == 0xc1)
		return false;
	if (type <= 0x7f || type >= 0xe0 || (type >= 0xc0 && type <= 0xc3)) {
		*ret = (struct item){.bytes = 1};
	} else if (type <= 0x8f) {
		*ret = (struct item){
			.bytes = 1, .children = 2 * (type & 15), .container = true};
	} else if (type <= 0x9f) {
		*ret = (struct item){.bytes = 1, .children = type & 15, .container = true};
	} else if (type <= 0xbf) {
		*ret = (struct item){.bytes = 1 + (type & 31)};
	} else {
		header = 1 + (size_t)forms[type - 0xc4].length;
		if (left < header)
			return false;
		length = number(p + 1, header - 1);
		if (type >= 0xde)
			*ret = (struct item){
				.bytes = header, .children = 2 * length, .container = true};
		else if (type >= 0xdc)
			*ret = (struct item){
				.bytes = header, .children = length, .container = true};
		else
			*ret = (struct item){.bytes = header + forms[type - 0xc4].payload +
						      length};
	}
	return true;
}

/* The id of [0, id, ... even where the rest is broken: its sender shall hear what is wrong. */
static void peek_id(const uint8_t *p, size_t size, struct wire_trouble *trouble)
{
	size_t bytes;

	if (size < 3 || (p[0] & 0xf0) != 0x90 || p[1] != WIRE_REQUEST)
		return;
	if (p[2] <= 0x7f) {
		trouble->id = p[2];
	} else if (p[2] >= 0xcc && p[2] <= 0xcf) {
		bytes = (size_t)1 << (p[2] - 0xcc);
		if (size < 3 + bytes)
			return;
		trouble->id = number(p + 3, bytes);
	} else {
		return;
	}
	trouble->has_id = true;
}

static int refuse(const uint8_t *p, size_t size, const char *text, struct wire_trouble *trouble)
{
	trouble->has_id = false;
	trouble->id = 0;
	peek_id(p, size, trouble);
	wire_trouble_set(trouble, (struct wire_str){}, "%s", text);
	return WIRE_E_PROTOCOL;
}

int wire_scan(const void *data, size_t size, struct wire_trouble *trouble)
{
	uint64_t left[WIRE_DEPTH_MAX]; /* values still to come in each open container */
	const uint8_t *p = data;
	uint64_t owed = 1; /* values still to come in all; each takes a byte at least */
	unsigned depth = 0;
	struct item item;
	size_t at = 0;

	if (!size)
		return refuse(p, size, "an empty datagram", trouble);
	if (size > WIRE_MESSAGE_MAX)
		return refuse(p, size, "a message of more than 64 KiB", trouble);

	do {
		if (!item_read(p + at, size - at, &item))
			return refuse(p, size, "not MessagePack, or cut short", trouble);
		if (item.bytes > size - at)
			return refuse(p, size, "a value is longer than its message", trouble);
		at += item.bytes;
		owed += item.children - 1;
		if (owed > size - at) {
			if (mutant(wire_scan_count))
				return 0;
			return refuse(p, size, "more elements are announced than there are",
				      trouble);
		}
		if (item.container && depth == WIRE_DEPTH_MAX) {
			if (mutant(wire_scan_depth))
				return 0;
			return refuse(p, size, "containers are nested too deeply", trouble);
		}
		if (item.children)
			left[depth++] = item.children;
		else
			while (depth && !--left[depth - 1])
				depth--;
	} while (owed);

	if (at != size)
		return refuse(p, size, "bytes follow the message", trouble);
	return 0;
}
