/*
 * Reload - reading the configuration again while serving.
 *
 * D1  Files are read by a worker: the loop goes on.
 * D2  All or nothing: what has an error anywhere changes nothing.
 * D3  A key that cannot change while running keeps its value, and that is said.
 */
#pragma once

struct server;
struct settings;

/* Read all layers anew and apply them. While that is under way, once more after it. */
void reload_start(struct server *server);

/* What has been read takes effect, key by key, each with a line. Its remarks are logged before. */
void reload_apply(struct server *server, const struct settings *settings);
