#!/bin/sh
# examples/arena.c says what it should, and leaves nothing behind. Argument: the program.
set -eu
said=$("$1")
[ "$said" = "session 1, request 1: not 1 or 1 be 2 to 2
session 1, request 2: is 1 rose 2 a 2" ] || {
	echo "it said: $said" >&2
	exit 1
}
