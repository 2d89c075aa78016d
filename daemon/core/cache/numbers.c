#include "daemon/core/cache/numbers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void numbers_init(struct numbers *numbers)
{
	*numbers = (struct numbers){};
	chain_init(&numbers->free);
}

void numbers_deinit(struct numbers *numbers)
{
	free(numbers->next);
}

int numbers_grow(struct numbers *numbers, uint32_t room)
{
	uint32_t *next;

	if (room <= numbers->room)
		return 0;
	next = realloc(numbers->next, room * sizeof(*next));
	if (!next)
		return -ENOMEM;
	numbers->next = next;
	numbers->room = room;
	return 0;
}

uint32_t numbers_take(struct numbers *numbers)
{
	if (numbers->free.count)
		return numbers_pop(numbers, &numbers->free);
	return numbers->used < numbers->room ? numbers->used++ : NUMBER_NONE;
}

void numbers_push(struct numbers *numbers, struct chain *chain, uint32_t number)
{
	assert(number < numbers->used);
	numbers->next[number] = chain->front;
	chain->front = number;
	if (!chain->count++)
		chain->back = number;
}

uint32_t numbers_pop(struct numbers *numbers, struct chain *chain)
{
	uint32_t number = chain->front;

	assert(chain->count);
	chain->front = numbers->next[number];
	if (!--chain->count)
		chain_init(chain);
	return number;
}

void numbers_join(struct numbers *numbers, struct chain *to, struct chain *chain)
{
	if (!chain->count)
		return;
	numbers->next[chain->back] = to->front;
	if (!to->count)
		to->back = chain->back;
	to->front = chain->front;
	to->count += chain->count;
	chain_init(chain);
}

void numbers_free(struct numbers *numbers, struct chain *chain)
{
	numbers_join(numbers, &numbers->free, chain);
}
