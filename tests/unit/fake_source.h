/*
 * Fake source - memory for arenas, pools and scopes without a daemon; it counts, and runs dry.
 *
 * What is taken is malloc's, so that a sanitizer sees each byte too far, and what is not given
 * back. It is put at 16 beyond a multiple of 32: no greater alignment comes by chance.
 */
#pragma once

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client/error.h"
#include "client/source.h"

struct fake_source {
	pthread_mutex_t mutex;
	uint64_t taken, given; /* how often */
	uint64_t held;         /* bytes */
	uint64_t limit;        /* of `held`; 0: none */
};

enum { FAKE_HEADER = 48 };

static inline int fake_take(const struct source *source, uint64_t size, void **ret)
{
	struct fake_source *fake = source->of;
	char *memory = NULL;
	int r = 0;

	pthread_mutex_lock(&fake->mutex);
	if (fake->limit && size > fake->limit - fake->held)
		r = error_set(VARBOS_E_BUDGET, "fake", "the fake source has run dry");
	else
		memory = aligned_alloc(32, (size + FAKE_HEADER + 31) & ~(uint64_t)31);
	if (memory) {
		memcpy(memory, &size, sizeof(size));
		memset(memory + FAKE_HEADER, 0xa5, size);
		fake->taken++;
		fake->held += size;
		*ret = memory + FAKE_HEADER;
	}
	pthread_mutex_unlock(&fake->mutex);
	return r;
}

static inline void fake_give(const struct source *source, void *memory)
{
	struct fake_source *fake = source->of;
	uint64_t size;

	pthread_mutex_lock(&fake->mutex);
	memcpy(&size, (char *)memory - FAKE_HEADER, sizeof(size));
	ck_assert_uint_le(size, fake->held);
	fake->held -= size;
	fake->given++;
	pthread_mutex_unlock(&fake->mutex);
	free((char *)memory - FAKE_HEADER);
}

static const struct source_ops fake_ops = {.take = fake_take, .give = fake_give};

static inline struct source fake_in(struct fake_source *fake)
{
	return (struct source){.ops = &fake_ops, .of = fake, .shared = true};
}

/* All is given back that was taken. */
static inline void fake_expect_empty(const struct fake_source *fake)
{
	ck_assert_uint_eq(fake->held, 0);
	ck_assert_uint_eq(fake->taken, fake->given);
}
