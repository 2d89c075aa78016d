#include "base/size.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

bool size_parse(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	unsigned shift = 0;
	const char *unit;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;

	if (*text) {
		unit = strchr(units, toupper((unsigned char)*text));
		if (unit) {
			shift = 10 * (unsigned)(unit - units + 1);
			text++;
			if (*text == 'i' && text[1] == 'B')
				text++;
		}
		if (*text == 'B')
			text++;
	}
	if (*text || (value << shift) >> shift != value)
		return false;

	*ret = value << shift;
	return true;
}

/* value / 2^shift, to the nearest. */
static uint64_t divide(unsigned __int128 value, unsigned shift)
{
	return (uint64_t)((value + ((unsigned __int128)1 << shift >> 1)) >> shift);
}

char *size_format(char *buf, size_t size, uint64_t bytes)
{
	unsigned shift = 0;
	uint64_t tenths;

	/* As what is printed: 1023.9 MiB are 1 GiB. */
	while (shift < 60 && divide(bytes, shift) >= 1024)
		shift += 10;
	if (!shift) {
		snprintf(buf, size, "%u B", (unsigned)bytes);
		return buf;
	}

	tenths = divide((unsigned __int128)bytes * 10, shift);
	if (tenths < 1000 && tenths % 10)
		snprintf(buf, size, "%u.%u %ciB", (unsigned)(tenths / 10),
			 (unsigned)(tenths % 10), units[shift / 10 - 1]);
	else
		snprintf(buf, size, "%u %ciB", (unsigned)divide(bytes, shift),
			 units[shift / 10 - 1]);
	return buf;
}
