/*
 * Keeper - `varbosd --keep`: a service manager in small for one daemon, where there is no other. It
 * holds descriptors, and starts the daemon again with them.
 *
 * KP1  It takes words from its child alone, as the kernel says who sent them; and over a pair of
 *      sockets, so that nobody else can fill its queue, or pass it descriptors that take minutes
 *      to close.
 * KP2  A child that ends with status 0, or after the keeper was told to end, is the end; so is one
 *      that fails before any was ever READY, with its status. Else it is started again, later and
 *      later (5 s at most), with all that it and its predecessors have stored.
 * KP3  What a child has said before its end counts, whenever it is read.
 * KP4  It never looks into what it holds. Should it end first, its child starts another, which
 *      takes that child as it is.
 */
#pragma once

#include <stdbool.h>

struct store;

/* Is this the command line of one? --keep comes first. */
bool keeper_is_asked(int argc, char *const *argv);
/* An exit status. */
int keeper_run(int argc, char **argv);

/*
 * In the daemon: start one for this process, which is its child's in name only. *ret is where it is;
 * nothing is stored there yet. From any thread.
 */
int keeper_start(struct store *ret);
