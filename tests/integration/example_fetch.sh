#!/bin/sh
# examples/fetch.c: of several processes one computes, and all have it. Argument: the program.
set -eu
said=$("$1" | sort)
[ "$said" = "today: 42 visitors
today: 42 visitors
today: 42 visitors
today: 42 visitors
today: computed" ] || {
	echo "it said: $said" >&2
	exit 1
}
