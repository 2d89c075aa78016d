/*
 * A cache whose daemon dies before or after any of its stores: of each random step some of the
 * states that its stores pass are recovered, with the index as it stood there, or spoiled. What was
 * there all the time is there; what was asked for last is done, or not.
 *
 *   VARBOS_SEED, VARBOS_STEPS   as of model_cache
 */
#include "tests/model/naive_cache.h"
#include "tests/sanitized.h"

enum { IMAGES = 4 };

static struct naive_object before[NUMBERS];
static struct naive_image images[IMAGES];
static uint32_t n_images;
static uint64_t states; /* of this step */

/* Some of the states, each as likely as any other. */
void object_record_trace(const struct object_records *records)
{
	uint64_t at = n_images < IMAGES ? n_images : below(states + 1);

	if ((const void *)records != m.objects_file)
		return;
	++states;
	if (at >= IMAGES)
		return;
	if (at < n_images)
		naive_image_free(&images[at]);
	else
		++n_images;
	naive_image_take(&images[at]);
}

static void step_begins(void)
{
	memcpy(before, m.objects, sizeof(before));
}

static void recover_all(void)
{
	for (uint32_t i = 0; i < n_images; ++i) {
		naive_recover(&images[i], before);
		naive_image_free(&images[i]);
	}
	n_images = 0;
	states = 0;
}

int main(void)
{
	return naive_run(UNDER_ASAN ? 500 : 1500, step_begins, recover_all);
}
