/*
 * Cached - a cache in the space of joined.h, what is put there and asked of it, in few words.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <varbos/cache.h>

extern struct varbos_cache *cache; /* "c" */
extern bool apart;                 /* without lanes */

/* A test's argument: "off" is without records in lanes, "none" without lanes. */
void lanes_by(int argc, char **argv);

/* With set_up() and tear_down(). */
void open_cache_of(size_t capacity);
void close_cache(void);

void must(int r);
/* It failed so, and says so. */
void refused(int r, enum varbos_code code, const char *which);

/* Of texts. */
int put(struct varbos_cache *to, const char *key, const char *value);
int get(struct varbos_cache *from, const char *key, struct varbos_view *ret);
bool shows(const struct varbos_view *view, const char *value);
bool is(struct varbos_cache *from, const char *key, const char *value);
bool is_missing(struct varbos_cache *from, const char *key);

bool exists(struct varbos_cache *in, const void *key, size_t key_size);

/* A value that tells its key, its size and itself from others. */
void fill(char *value, size_t size, uint64_t seed);
bool is_filled(const char *value, size_t size, uint64_t seed);

/* 10 ms. */
void nap(void);
