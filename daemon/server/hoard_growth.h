/*
 * Hoard's growth - which files a hoard has, and which larger ones are on their way.
 *
 * HD5  Files, and what stands in memory beside them, are metadata of who owns the space, before they
 *      are made. Where he may have no more, an index does with the room that it has, at the cost of
 *      values that crowd, and one more object is refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct core_fault;
struct hoard;
struct hoard_job;

/* The first ones, with which it begins: a job, unless something is lacking (hoard.error, .bound). */
void hoard_grow_first(struct hoard *hoard);
/* A larger objects file, another index, if it wants one: a job, now or when one can be had. */
void hoard_grow_objects(struct hoard *hoard);
void hoard_grow_index(struct hoard *hoard);
/* A step to the next index. True: not all has moved. */
bool hoard_index_move(struct hoard *hoard);

/* Of the mapping of objects that take `size` bytes by now. */
uint64_t hoard_objects_span(uint64_t size);
/* What it has, an earlier daemon had: it is charged, whatever the limit is by now. */
void hoard_files_had(struct hoard *hoard);

/* What a job has made is the hoard's. */
void hoard_job_install(struct hoard_job *job);

/* Why it grows no more: CORE_E_LIMIT's; NULL: it may. */
const struct core_fault *hoard_limit(const struct hoard *hoard);
/* Will a job of its end, after which it may be able to do more? One is begun, if need be. */
bool hoard_grows(struct hoard *hoard);
/* The same, of its index: false: there is no room in it, and no other is to be had now. */
bool hoard_index_comes(struct hoard *hoard);
