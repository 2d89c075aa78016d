/*
 * A cache against a naive one: seeded random verbs, honest and hostile; after every step the
 * cache's own walker, and a comparison of every object. Memory that comes back is nobody's, and all
 * that can come back does. Now and then it is recovered from copies of its files.
 *
 *   VARBOS_SEED    replay one seed (printed at the start and with every failure)
 *   VARBOS_STEPS   verbs for each seed
 */
#include "tests/model/naive_cache.h"

static void nothing(void)
{
}

static void recover_now(void)
{
	struct naive_image image;

	if (!one_in(6))
		return;
	naive_image_take(&image);
	naive_recover(&image, m.objects);
	naive_image_free(&image);
}

int main(void)
{
	return naive_run(4000, nothing, recover_now);
}
