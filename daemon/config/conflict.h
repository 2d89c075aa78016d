/*
 * Conflict - values that cannot all be meant: each is within its range, together they make no
 * sense.
 *
 * X1  Only what somebody said can be wrong: a default gives way, and 0 where it stands for one.
 * X2  A conflict is said with both values, where each came from, why, and what would be right.
 */
#pragma once

struct settings;

/* Defaults give way first; each conflict that is left becomes an error among the remarks. */
void conflict_find(struct settings *settings);
