/*
 * Collect - what the heaps of shared slices (shared.h) write into words and notes, and find there.
 *
 * CO1 Words of a slice are FREE, and its notes say how it is cut, before a block of it is given
 *     out; before it goes back, its notes say that it is not cut.
 * CO2 What others free of these slices is collected where they hint, before another slice is
 *     cut: a few slices in turn, and all of them where none is leased to be cut. A hint is lost
 *     only with a process: when one has died, all words are read once, in the same turn.
 */
#pragma once

#include "client/heap.h"

extern const struct heap_watch collect_watch;
