#include "client/ctl/sim_capacity.h"

#include <string.h>

#include "base/base.h"
#include "base/size.h"

#define PERCENT ((uint32_t)1000000)

/* "10%", "0.25%"; six digits behind the point. */
static bool share_parse(const char *text, uint32_t *ret)
{
	uint32_t whole = 0, unit = PERCENT / 10;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (whole <= 100)
			whole = whole * 10 + (uint32_t)(*at - '0');
	if (at == text || whole > 100)
		return false;
	whole *= PERCENT;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9' && unit; at++, unit /= 10)
			whole += unit * (uint32_t)(*at - '0');
		if (at[-1] == '.')
			return false;
	}
	*ret = whole;
	return *at == '%' && !at[1] && whole && whole <= 100 * PERCENT;
}

const char *capacity_parse(const char *text, bool bytes, struct sim_capacity *ret)
{
	struct sim_capacity capacity = {0};

	if (strchr(text, '%')) {
		if (!share_parse(text, &capacity.share))
			return "a share (10%, 0.5%) above 0 and up to 100%";
	} else if (!size_parse(text, &capacity.amount) || !capacity.amount ||
		   capacity.amount > CAPACITY_MAX) {
		return bytes ? "a size (64M, 2GiB) from 1 byte to 1 EiB, or a share (10%)"
			     : "a number of objects from 1 to 2^60, or a share (10%)";
	} else if (!bytes && text[strspn(text, "0123456789")]) {
		return "a number of objects; sizes go with --bytes";
	}
	*ret = capacity;
	return NULL;
}

uint64_t capacity_of(const struct sim_capacity *capacity, unsigned __int128 all)
{
	unsigned __int128 amount = all * capacity->share / (100 * (uint64_t)PERCENT);

	if (capacity->amount)
		return capacity->amount;
	return u64_max(amount < CAPACITY_MAX ? (uint64_t)amount : CAPACITY_MAX, 1);
}
