/*
 * Steps - acts on shared memory, that memory looked at after every machine instruction as if who acts
 * had died there.
 *
 * A process that dies loses no store that it made: what it leaves is the shared memory as it stands. So a
 * child acts, instruction by instruction, and each state of the memory that there ever is goes to
 * the program's `look`, which makes of it what the next process would. What that knows are facts:
 *
 * ST1  What was so before an act, and is so after it, is so all the time; what neither has never is.
 * ST2  What acts come to is known from a child that nobody interrupts. Acts give the same each time.
 * ST3  No state is passed over: the memory is compared after each instruction.
 * ST4  Who comes next may die, too: what he does to the memory is gone through likewise, from each state
 *      that is left, and each state of that is looked at.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FACTS_MAX = 256, FACT_TEXT = 96 };

struct facts {
	uint32_t n;
	char text[FACTS_MAX][FACT_TEXT];
};

void fact(struct facts *facts, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The one that begins like this; NULL. */
const char *fact_find(const struct facts *facts, const char *begins);

struct step_act {
	const char *name;
	void (*run)(void);
};

/* A mutant, and the act in which it has to be found. */
struct step_defect {
	const char *name, *act;
};

struct steps {
	const struct step_act *acts;
	uint32_t n_acts;
	size_t size;                  /* of the memory */
	void (*begin)(void *memory);  /* zeroed, 64-byte aligned; in the child */
	void (*tell)(struct facts *); /* what who acts knows */
	bool (*look)(const void *memory);
	void (*recover)(void *memory); /* what the next one does first; in a child of its own */
	const struct step_defect *defects; /* in the build with them */
	uint32_t n_defects;
};

/* [MUTANTS]: the same program with the defects compiled in; each is looked for in its act. */
int steps_main(const struct steps *steps, int argc, char **argv);

/* ---- for acts ---- */

_Noreturn void steps_give_up(const char *what, int r);

/* ---- for who looks ---- */

bool steps_wrong(const char *format, ...) __attribute__((format(printf, 1, 2))); /* false */
/* ST1. */
bool steps_acknowledged(const struct facts *now);
/* The memory as it was when this act began. */
const void *steps_begun(void);
/* Is what is looked at left by one who has died while he recovered? */
bool steps_again(void);
/* What was so before this act, and what is so after it. */
const struct facts *steps_was(void);
const struct facts *steps_will(void);
