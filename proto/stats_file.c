/*
 * The words of a copy are stored with release and loaded with acquire, one by one, instead of
 * plainly between two fences: the same machine code on x86, no data race by the letter, and
 * ThreadSanitizer, which knows nothing of fences, can check it.
 *
 *   writer                           reader
 *   turn = t + 1            (W1)     copy = copies[turn & 1]    (R1)
 *   fill copies[t & 1]      (W2)     copy its words             (R2)
 *   turn = t + 2            (W3)     turn still the same?       (R3)
 *
 * W3 after W2, partner R1 before R2: who sees the turn sees the copy it picks.
 * W2 after W1, partner R3 after R2: who read a word of the copy being refilled sees that the
 * turn has moved.
 */
#include "proto/stats_file.h"

#include "base/base.h"

#define WORD sizeof(uint64_t)

static_assert(sizeof(struct stats_node) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_space) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_client) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, nodes) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, spaces) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, clients) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_share) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, shares) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_cache) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, caches) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_pin) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, pins) % WORD == 0, "copied by words");
static_assert(sizeof(struct stats_hot) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_copy, hot) % WORD == 0, "copied by words");
static_assert(offsetof(struct stats_file, copies) % WORD == 0, "copied by words");

typedef void words_copy(void *to, const void *from, size_t size);

static void words_store(void *to, const void *from, size_t size)
{
	const uint64_t *source = from;
	uint64_t *target = to;

	for (size_t i = 0; i < size / WORD; i++)
		__atomic_store_n(&target[i], source[i], __ATOMIC_RELEASE);
}

static void words_load(void *to, const void *from, size_t size)
{
	const uint64_t *source = from;
	uint64_t *target = to;

	for (size_t i = 0; i < size / WORD; i++)
		target[i] = __atomic_load_n(&source[i], __ATOMIC_ACQUIRE);
}

static uint32_t at_most(uint32_t count, uint32_t max)
{
	return count < max ? count : max;
}

/* The rows that `counts` says are in use. */
static void rows_copy(words_copy *copy, struct stats_copy *to, const struct stats_copy *from,
		      const struct stats_copy *counts)
{
	copy(to->nodes, from->nodes,
	     at_most(counts->n_nodes, STATS_NODES_MAX) * sizeof(struct stats_node));
	copy(to->spaces, from->spaces,
	     at_most(counts->n_spaces, STATS_SPACES_MAX) * sizeof(struct stats_space));
	copy(to->clients, from->clients,
	     at_most(counts->n_clients, STATS_CLIENTS_MAX) * sizeof(struct stats_client));
	copy(to->shares, from->shares,
	     at_most(counts->n_shares, STATS_SHARES_MAX) * sizeof(struct stats_share));
	copy(to->caches, from->caches,
	     at_most(counts->n_caches, STATS_CACHES_MAX) * sizeof(struct stats_cache));
	copy(to->pins, from->pins,
	     at_most(counts->n_pins, STATS_PINS_MAX) * sizeof(struct stats_pin));
	copy(to->hot, from->hot,
	     at_most(counts->n_hot, STATS_HOT_MAX) * sizeof(struct stats_hot));
}

void stats_file_publish(struct stats_file *file, const struct stats_copy *next)
{
	uint64_t turn = atomic_load_explicit(&file->turn, memory_order_relaxed) + 1;
	struct stats_copy *copy = &file->copies[turn & 1];

	if (mutant(stats_turn_early))
		atomic_store_explicit(&file->turn, turn, memory_order_release);

	words_store(copy, next, offsetof(struct stats_copy, nodes));
	rows_copy(words_store, copy, next, next);

	atomic_store_explicit(&file->turn, turn, memory_order_release);
}

/* Counts and strings of a copy that the reader owns. */
static void copy_confine(struct stats_copy *copy)
{
	copy->n_nodes = at_most(copy->n_nodes, STATS_NODES_MAX);
	copy->n_spaces = at_most(copy->n_spaces, STATS_SPACES_MAX);
	copy->n_clients = at_most(copy->n_clients, STATS_CLIENTS_MAX);
	copy->n_shares = at_most(copy->n_shares, STATS_SHARES_MAX);
	copy->n_caches = at_most(copy->n_caches, STATS_CACHES_MAX);
	copy->n_pins = at_most(copy->n_pins, STATS_PINS_MAX);
	copy->n_hot = at_most(copy->n_hot, STATS_HOT_MAX);

	for (uint32_t i = 0; i < copy->n_spaces; i++) {
		copy->spaces[i].name[sizeof(copy->spaces[i].name) - 1] = '\0';
		copy->spaces[i].placement[sizeof(copy->spaces[i].placement) - 1] = '\0';
	}
	for (uint32_t i = 0; i < copy->n_clients; i++)
		copy->clients[i].name[sizeof(copy->clients[i].name) - 1] = '\0';
	for (uint32_t i = 0; i < copy->n_caches; i++) {
		copy->caches[i].name[sizeof(copy->caches[i].name) - 1] = '\0';
		copy->caches[i].policy[sizeof(copy->caches[i].policy) - 1] = '\0';
	}
	for (uint32_t i = 0; i < copy->n_pins; i++)
		copy->pins[i].name[sizeof(copy->pins[i].name) - 1] = '\0';
}

int stats_file_read(const struct stats_file *file, struct stats_copy *ret)
{
	const struct stats_copy *copy;
	uint64_t turn, again;

	for (unsigned i = 0; i < STATS_FILE_TRIES; i++) {
		turn = atomic_load_explicit(&file->turn, memory_order_acquire);
		again = turn;
		copy = &file->copies[turn & 1];

		words_load(ret, copy, offsetof(struct stats_copy, nodes));
		if (mutant(stats_recheck_early))
			again = atomic_load_explicit(&file->turn, memory_order_relaxed);
		rows_copy(words_load, ret, copy, ret);

		if (!mutant(stats_recheck_early) && !mutant(stats_recheck_never))
			again = atomic_load_explicit(&file->turn, memory_order_relaxed);
		if (again == turn) {
			copy_confine(ret);
			return 0;
		}
	}
	return STATS_FILE_E_BUSY;
}
