/*
 * Numbers - which numbers of objects are free, and which belong together.
 *
 * NU1  A number is in one chain: that of its segment, whether its object lives or not, or that of
 *      the free ones; or it is in nobody's while a step of the cleaner has it, or it was never
 *      used and lies beyond `used`.
 * NU2  4 bytes a number: chains lead one way. A number leaves one from its front, or with all of
 *      it; so the number of an object that is gone stays until its segment goes, the cleaner passes,
 *      or numbers are short: then the chains with the most of them are sifted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NUMBER_NONE UINT32_MAX

struct chain {
	uint32_t front, back, count; /* front: NUMBER_NONE, if it is empty */
};

struct numbers {
	uint32_t *next;
	uint32_t room; /* numbers are below it */
	uint32_t used; /* those from here on never were anybody's */
	struct chain free;
};

void numbers_init(struct numbers *numbers);
void numbers_deinit(struct numbers *numbers);
/* -ENOMEM: nothing has changed. */
int numbers_grow(struct numbers *numbers, uint32_t room);

static inline void chain_init(struct chain *chain)
{
	*chain = (struct chain){.front = NUMBER_NONE, .back = NUMBER_NONE};
}

/* How many can be had. */
static inline uint32_t numbers_left(const struct numbers *numbers)
{
	return numbers->free.count + (numbers->room - numbers->used);
}

/* A free one, now in nobody's chain; NUMBER_NONE: there is none. */
uint32_t numbers_take(struct numbers *numbers);
/* The one that numbers_take() would give, most likely. */
static inline uint32_t numbers_peek(const struct numbers *numbers)
{
	return numbers->free.count ? numbers->free.front : numbers->used;
}

/* And the one behind it. */
static inline uint32_t numbers_behind(const struct numbers *numbers, uint32_t number)
{
	if (number >= numbers->used)
		return number + 1;
	number = numbers->next[number];
	return number == NUMBER_NONE ? numbers->used : number;
}

void numbers_push(struct numbers *numbers, struct chain *chain, uint32_t number);
uint32_t numbers_pop(struct numbers *numbers, struct chain *chain);
/* All of the chain come before those of the other; it is empty afterwards. */
void numbers_join(struct numbers *numbers, struct chain *to, struct chain *chain);
/* All of the chain are free; it is empty afterwards. */
void numbers_free(struct numbers *numbers, struct chain *chain);
