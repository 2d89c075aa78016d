#include "client/ctl/text.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

static char letter_of(char c)
{
	switch (c) {
	case '\t':
		return 't';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\\':
		return '\\';
	default:
		return 0;
	}
}

static bool is_plain(char c)
{
	return mutant(ctl_text_as_is) || (c >= 0x20 && c < 0x7f && c != '\\');
}

void text_print(FILE *out, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char letter = letter_of(data[i]);

		if (is_plain(data[i]))
			putc(data[i], out);
		else if (letter)
			fprintf(out, "\\%c", letter);
		else
			fprintf(out, "\\x%02x", (unsigned)(unsigned char)data[i]);
	}
}

size_t text_width(const char *data, size_t size)
{
	size_t width = 0;

	for (size_t i = 0; i < size; i++)
		width += is_plain(data[i]) ? 1 : letter_of(data[i]) ? 2 : 4;
	return width;
}

/* One code point; the return is how many bytes it takes, 0 if it is not UTF-8. */
static size_t utf8_read(const char *data, size_t size, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t first = (uint8_t)*data;
	size_t length;
	uint32_t point;

	if (first < 0x80) {
		*ret = first;
		return 1;
	}
	if (first >= 0xc2 && first < 0xe0)
		length = 2;
	else if (first >= 0xe0 && first < 0xf0)
		length = 3;
	else if (first >= 0xf0 && first < 0xf5)
		length = 4;
	else
		return 0;
	if (length > size)
		return 0;

	point = first & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if (((uint8_t)data[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | ((uint8_t)data[i] & 0x3f);
	}
	if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;

	*ret = point;
	return length;
}

void text_print_json(FILE *out, const char *data, size_t size)
{
	putc('"', out);
	while (size) {
		uint32_t point = 0xfffd;
		size_t length = utf8_read(data, size, &point);

		if (!length)
			length = 1;
		data += length;
		size -= length;

		if (point == '"' || point == '\\')
			fprintf(out, "\\%c", (char)point);
		else if (point >= 0x20 && point < 0x7f)
			putc((int)point, out);
		else if (point < 0x10000)
			fprintf(out, "\\u%04x", point);
		else
			fprintf(out, "\\u%04x\\u%04x", 0xd7c0 + (point >> 10),
				0xdc00 | (point & 0x3ff));
	}
	putc('"', out);
}
