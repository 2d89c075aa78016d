/*
 * Orphan - a lock in a channel's ring (proto/ring.h) whose holder has ended.
 *
 * O1  Ring memory is the space's, written by its members: D1 to D3 of words.h hold here, too. What
 *     is wrong there is the members' loss.
 */
#pragma once

#include <stdint.h>

#include "proto/block_word.h"

/*
 * Make the locks that the `dead` hold in the ring at `position` of a window RING_ORPHAN, so that
 * their ids can be given again. -errno: the file could not be read or mapped.
 */
int orphan_locks(int fd, uint32_t page_shift, uint64_t position, const struct block_ids *dead);
