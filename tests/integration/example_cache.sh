#!/bin/sh
# examples/cache.c says what it should, and leaves nothing behind. Argument: the program.
set -eu
said=$("$1")
[ "$said" = "start: rendered
start: start, version 1
start: start, version 1
news: rendered
news: news, version 1
news: news, version 1
still there: news, version 1
news: news, version 2" ] || {
	echo "it said: $said" >&2
	exit 1
}
