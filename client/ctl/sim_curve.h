/*
 * Curve - how the miss ratio falls as the capacity grows, one line for each policy.
 *
 * CU1  The text is ASCII, in 76 columns. A policy is a letter of its own; letters that belong into
 *      one place stand side by side.
 * CU2  The drawing is a whole SVG file under its name, or there is none, whenever it is looked at.
 */
#pragma once

#include <stdio.h>

#include "client/ctl/answer.h"
#include "client/ctl/sim_replay.h"

struct sim_curve {
	const char *title;
	const struct replay_row *rows; /* by capacity, which grows, and by policy */
	size_t n_points, n_policies;
	bool bytes; /* capacities are */
};

void curve_print(FILE *out, const struct sim_curve *curve);
void curve_draw(FILE *out, const struct sim_curve *curve);

/* Could there be a file of that name? What is wrong is said. */
enum answer curve_file_try(const char *path);
enum answer curve_file_write(const char *path, const struct sim_curve *curve);
