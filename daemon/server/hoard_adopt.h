/*
 * Hoards' adoption - the caches' data planes as an earlier daemon left them.
 *
 * HA1  Before anything else is done with caches: the ledger says which there are, which memory they
 *      have, and which of their indexes was in use; the rest is in their files, wherever its stores
 *      ended (cache_recover()). Several caches are looked at at once, by threads of their own.
 * HA2  Memory that the ledger does not say is in use is in limbo, until a scan that begins after that
 *      has read all hazard words of all sessions.
 * HA3  A file that was not left, or is none of ours, is a loud loss. Without its objects' records a cache is empty, and
 *      its index says so to readers: they miss. Without an index nobody could tell its readers
 *      anything: sessions that have the cache open end, and its objects are in another index.
 * HA4  When objects expire is asked afterwards, in steps: until then they do for readers alone.
 */
#pragma once

#include <stdbool.h>

struct hoard;
struct server;

/* -ENOMEM, or as a system call has failed: there is no start. */
int hoards_adopt(struct server *server);

/* HA4: a step of it. False: all is told. */
bool hoard_tell(struct hoard *hoard);
