/*
 * Hoards' expiry - one timer for all caches of which objects outlive their time.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

struct hoard;
struct hoards;

struct hoard_expiry {
	uv_timer_t timer;
	uint64_t armed; /* for when, in ms of the machine's time; WHEEL_NEVER */
};

void hoard_expiry_init(struct hoard_expiry *expiry, uv_loop_t *loop);

/* One of its objects expires then, in ms of the machine's time. */
void hoard_expires(struct hoard *hoard, uint64_t expiry);
/* It is looked at when its next object does. */
void hoard_expiry_arm(struct hoard *hoard, uint64_t now);
/* A step of those that have: hoard.expiring, while there are others. */
void hoard_expire(struct hoard *hoard);
