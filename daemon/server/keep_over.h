/*
 * Keep's hand-over - all that is kept, for a program that is executed in this one's place.
 */
#pragma once

#include <stdbool.h>

struct keep;

/* Has the store been told everything? What it has not, or still has, the next program cannot know. */
bool keep_is_settled(struct keep *keep);

/*
 * All that is kept, and `listener` unless it is 0, stays open, and the environment says so (left.h).
 * Until it is taken back nothing is put or removed. -errno: it is taken back; -EBUSY: it is not settled.
 */
int keep_hand_over(struct keep *keep, int listener);
void keep_take_back(struct keep *keep, int listener);
