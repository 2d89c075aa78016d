/*
 * Person - a process of another user: what it may not do is shown by its trying.
 *
 * An assertion that fails in it ends it, and is told by the test, which fails.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PERSON_GROUPS = 4 };

struct person {
	uid_t uid;
	gid_t gid;
	gid_t groups[PERSON_GROUPS]; /* supplementary */
	size_t n_groups;
};

struct other_person {
	pid_t pid; /* in it: 0 */
	int fd;    /* to it; in it: to the test */
	int notes; /* of libcheck, of what failed in it */
};

/* `live` in a child that is this person. */
void person_start(struct other_person *person, const struct person *who,
		  void (*live)(struct other_person *person));
/* A word to the other side, and from it: what it says first was done before. */
void person_say(const struct other_person *person, uint64_t word);
uint64_t person_hear(const struct other_person *person);
/* It has ended, well. */
void person_end(struct other_person *person);
