/*
 * Strings of a message: bytes and a length, UTF-8 without control characters (W4).
 */
#include <string.h>

#include "base/base.h"
#include "proto/wire_private.h"

struct wire_str wire_str(const char *s)
{
	return (struct wire_str){.data = s, .size = s ? (uint32_t)strlen(s) : 0};
}

bool wire_str_is(struct wire_str a, const char *b)
{
	return a.size == strlen(b) && (!a.size || !memcmp(a.data, b, a.size));
}

static bool is_tail(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

char *wire_str_copy(char *buf, size_t size, struct wire_str from)
{
	size_t n = u64_min(from.size, size - 1);

	if (n < from.size)
		while (n && is_tail((uint8_t)from.data[n]))
			n--;
	if (n)
		memcpy(buf, from.data, n);
	buf[n] = '\0';
	return buf;
}

/*
 * The bounds of the second byte exclude what has a shorter encoding, the surrogates, what is
 * beyond U+10FFFF, and the controls of C1.
 */
size_t wire_str_character(struct wire_str s, size_t at)
{
	const uint8_t *p = (const uint8_t *)s.data + at;
	uint8_t low = 0x80, high = 0xbf;
	size_t size;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		size = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		size = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		size = 4;
	else
		return 0;

	if (p[0] == 0xc2 || p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;

	if (s.size - at < size || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < size; i++)
		if (!is_tail(p[i]))
			return 0;
	return size;
}

bool wire_str_is_clean(struct wire_str s)
{
	for (size_t at = 0, n; at < s.size; at += n) {
		n = wire_str_character(s, at);
		if (!n)
			return mutant(wire_str_any);
	}
	return true;
}
