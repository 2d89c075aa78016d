/*
 * Other - a second process with a connection of its own, that says and hears 64-bit words.
 *
 * What goes wrong in it is told on its standard error, and ends it with status 1.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include <varbos/varbos.h>

struct other {
	pid_t pid;
	int fd;
	/* In the child alone: */
	struct varbos *vb;
	struct varbos_space *space;
};

/* `run` is called in a forked child, which has connected anew and opened the space. */
void other_start(struct other *other, const char *socket, const char *space, uint32_t flags,
		 void (*run)(struct other *other));

void other_say(const struct other *other, uint64_t word);
/* The child ends where the test has ended; the test fails where the child has. */
uint64_t other_hear(const struct other *other);

/* It has ended by itself, well. */
void other_end(struct other *other);
/* SIGKILL. */
void other_kill(struct other *other);

#define OTHER_EXPECT(what)                                                                   \
	do {                                                                                 \
		if (!(what)) {                                                               \
			fprintf(stderr, "other process, line %d: %s: %s\n", __LINE__, #what, \
				varbos_error()->message);                                    \
			_exit(1);                                                            \
		}                                                                            \
	} while (0)
