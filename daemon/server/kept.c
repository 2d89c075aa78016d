#include "daemon/server/kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

static const struct {
	const char *text;
	unsigned n;
} kinds[KEPT_KINDS] = {
#define KEPT(kind, text, n) {text, n},
#include "daemon/server/kept.def"
#undef KEPT
};

const char *kept_name(char ret[KEPT_NAME_MAX], enum kept_kind kind, uint64_t a, uint64_t b,
		      uint64_t c)
{
	const uint64_t numbers[KEPT_NUMBERS_MAX] = {a, b, c};
	int n = snprintf(ret, KEPT_NAME_MAX, "%s", kinds[kind].text);

	for (unsigned i = 0; i < kinds[kind].n; i++)
		n += snprintf(ret + n, (size_t)(KEPT_NAME_MAX - n), "-%" PRIu64, numbers[i]);
	return ret;
}

/* "-N", as printed: nothing that two texts would be the same number by. */
static bool take_number(const char **text, uint64_t *ret)
{
	uint64_t value = 0;
	const char *at = *text;

	if (*at++ != '-' || *at < '0' || *at > '9' ||
	    (*at == '0' && at[1] >= '0' && at[1] <= '9'))
		return false;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    !u64_add(value, (uint64_t)(*at - '0'), &value))
			return false;
	*text = at;
	*ret = value;
	return true;
}

bool kept_parse(const char *name, enum kept_kind *ret_kind, uint64_t ret[KEPT_NUMBERS_MAX])
{
	for (unsigned kind = 0; kind < KEPT_KINDS; kind++) {
		size_t length = strlen(kinds[kind].text);
		uint64_t numbers[KEPT_NUMBERS_MAX] = {};
		const char *at = name + length;
		bool is_whole = !strncmp(name, kinds[kind].text, length);

		for (unsigned i = 0; is_whole && i < kinds[kind].n; i++)
			is_whole = take_number(&at, &numbers[i]);
		if (!is_whole || *at)
			continue;
		*ret_kind = (enum kept_kind)kind;
		memcpy(ret, numbers, sizeof(numbers));
		return true;
	}
	return false;
}
