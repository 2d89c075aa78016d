/*
 * Keep's adoption - what an earlier daemon left, alone and in groups, as the store has it still.
 */
#pragma once

struct keep;
struct left;

/*
 * Takes what has a known name, leaving the rest; before there is a thread. -errno: what was taken
 * until then is the keep's.
 */
int keep_adopt(struct keep *keep, struct left *left);
