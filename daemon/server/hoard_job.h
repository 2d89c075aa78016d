/*
 * Hoard's job - what a worker does for a hoard: makes files, lets them grow, drops what took long to
 * be freed.
 *
 * HD6  What a job holds is its own until it ends: then hoard_growth.h takes what it has made, and the
 *      rest goes. The hoard waits for all of them (hoard.jobs) before it goes itself.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "daemon/server/hoard_file.h"

struct cache;
struct hoard;
struct policy;
struct server;

enum { HOARD_SLOTS_FIRST = 8192 }; /* of objects: 24 bytes each */

enum hoard_job_kind { HOARD_JOB_MAKE, HOARD_JOB_OBJECTS, HOARD_JOB_INDEX, HOARD_JOB_DROP };

struct hoard_job {
	uv_work_t work;
	struct server *server;
	struct hoard *hoard;
	enum hoard_job_kind kind;
	int error;
	struct hoard_file objects; /* to be made or grown; or dropped */
	struct hoard_index index, next;
	struct index_config config;
	struct cache *cache;         /* to be dropped */
	uint64_t coming;             /* of the hoard's, by this job */
	const struct policy *policy; /* of the state, that is to be dropped */
	void *state;
};

/* Zeroed but for what it is of; NULL: no memory. Freed by free(), or once it has been queued. */
struct hoard_job *hoard_job_new(struct hoard *hoard, enum hoard_job_kind kind);
void hoard_job_queue(struct hoard_job *job);

/* By a worker; or here, slowly, rather than never, without memory for a job. */
void hoard_drop_later(struct hoard *hoard, struct hoard_file objects, struct hoard_index index);
void hoard_drop_here(struct hoard *hoard, struct hoard_file *objects,
		     struct hoard_index *index);
