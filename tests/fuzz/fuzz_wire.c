/*
 * Any bytes, taken as what a client sent and as what a daemon sent: refused with a reason, or
 * printed, encoded again and decoded to the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/wire.h"
#include "tests/fuzz/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int decode(struct wire_message *ret, const void *data, size_t size, bool answer,
		  struct wire_trouble *trouble)
{
	return answer ? wire_decode_answer(ret, data, size, sample_method_of, NULL, trouble)
		      : wire_decode_call(ret, data, size, trouble);
}

static void check_trouble(const struct wire_trouble *trouble)
{
	assert(memchr(trouble->which, 0, sizeof(trouble->which)));
	assert(memchr(trouble->text, 0, sizeof(trouble->text)));
	assert(trouble->text[0]);
	for (const char *p = trouble->which; *p; p++)
		assert(*p >= ' ' && *p <= '~');
}

static void check_print(const struct wire_message *message)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert(out);
	wire_print(out, message);
	fclose(out);
	/* One line, whatever was in it. */
	assert(size && memchr(text, '\n', size) == text + size - 1);
	free(text);
}

static void check(const void *data, size_t size, bool answer, bool scanned)
{
	static char first[WIRE_MESSAGE_MAX], second[WIRE_MESSAGE_MAX];
	struct wire_message message, again;
	struct wire_trouble trouble;
	int r, n;

	r = decode(&message, data, size, answer, &trouble);
	assert(r >= 0);
	assert(scanned || r == WIRE_E_PROTOCOL);
	if (r) {
		check_trouble(&trouble);
		wire_message_deinit(&message);
		return;
	}

	check_print(&message);
	/* Not longer than it was: encoding takes the shortest form. */
	n = sample_encode(first, size, &message);
	assert(n > 0);
	assert(!decode(&again, first, (size_t)n, answer, &trouble));
	assert(sample_same(&message, &again));
	assert(sample_encode(second, sizeof(second), &again) == n);
	assert(!memcmp(first, second, (size_t)n));
	wire_message_deinit(&message);
	wire_message_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_trouble trouble;
	bool scanned = !wire_scan(data, size, &trouble);

	if (!scanned)
		check_trouble(&trouble);
	check(data, size, false, scanned);
	check(data, size, true, scanned);
	return 0;
}
