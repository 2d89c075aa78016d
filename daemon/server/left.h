/*
 * Left - the descriptors that this process was started with, by name.
 *
 * LF1  They are those of $LISTEN_FDS, if $LISTEN_PID is this process, or those that it had before it
 *      was executed in its own place, by $VARBOS_LEFT; nothing that it starts is passed them, nor told
 *      of them.
 */
#pragma once

#include <stdint.h>

/* Zeroed is empty. */
struct left {
	char **names; /* each its own, the array too */
	int *fds;     /* whoever takes one puts -1 */
	uint32_t n;
};

/* -errno after having said why. */
int left_take(struct left *ret);
/* Closes what nobody has taken. */
void left_deinit(struct left *left);

/* Lines "DESCRIPTOR NAME" in a file, for what this process executes; -1: none. */
void left_tell(int fd);
