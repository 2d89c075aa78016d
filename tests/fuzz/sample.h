/*
 * Sample - messages made up from the schema's tables, for tests, seeds and fuzzing.
 */
#pragma once

#include "proto/wire.h"

/* What samples point into: strings and rows. Zeroed is empty. */
struct sample_memory {
	size_t used;
	_Alignas(8) char bytes[32768];
};

/* Fill a shape's struct with values from *seed (moved on); OPTIONAL fields too if `all`. */
void sample_fill(const struct wire_shape *shape, void *ret, struct sample_memory *memory,
		 uint64_t *seed, bool all);

bool sample_equal(const struct wire_shape *shape, const void *a, const void *b);

/* Encode what was decoded, by its kind; the size, or -EMSGSIZE. */
int sample_encode(void *buf, size_t size, const struct wire_message *message);

/* Two decoded messages say the same. */
bool sample_same(const struct wire_message *a, const struct wire_message *b);

/* A method_of for wire_decode_answer(): ids of samples say the method. */
enum wire_method sample_method_of(void *userdata, uint64_t id);

uint64_t sample_random(uint64_t *seed);
