/*
 * Squeeze - what a cache gives back before it takes more memory.
 *
 * SQ1  A cache holds little more than its capacity (a quarter, and some segments), as long as what
 *      died there can be had back: who fills it waits for that. He waits for nothing that does not
 *      come, nor for long: what is pinned, or others fill, stops nobody. Others' turn is not behind
 *      his (request.h: apart).
 * SQ2  A segment is a small part of the capacity, but for the smallest ones.
 * SQ3  For a large object, slices in a row are chosen first, and what lives there goes then
 *      (range.h); if there are none, nothing goes. It is looked for in steps.
 * SQ4  Nobody is refused memory for what his views kept before he asked: a scan that begins then says
 *      what they keep.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hoard;
struct request;

/* SQ2: that large at most. */
uint64_t squeeze_segment_most(const struct hoard *hoard);
/* SQ1: before so many bytes more are taken. True: they would be too many. */
bool squeeze_is_over(const struct hoard *hoard, uint64_t size);
/* The same of who waits until they are not. True: not yet. */
bool squeeze_holds_back(struct request *request, struct hoard *hoard, uint64_t size);
/* Before memory is refused to who fills it: may what is under way, or begins now, give some? */
bool squeeze_gives(struct hoard *hoard);
/* SQ3: the same, of memory for one object. */
bool squeeze_gives_range(struct hoard *hoard, uint64_t size);
/*
 * SQ4: before memory is refused to whose limit bears what his views keep. True: a scan is to come, and
 * may find that they keep less.
 */
bool squeeze_unpins(struct request *request, uint32_t space);
