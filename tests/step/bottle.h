/*
 * Bottle - a process that runs one function, instruction by instruction, from any state that it
 * has been in before.
 *
 * It writes nothing but its stack, the private memory it was given, and shared memory: so its
 * registers and those bytes are its whole state, and can be put back. The tracer maps all of it
 * at the same addresses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

enum {
	BOTTLE_STACK = 16384,
	BOTTLE_XSTATE = 16384, /* of the widest registers there are */
	BOTTLE_PRIVATE = 4096,
};

enum bottle_is {
	BOTTLE_RUNS,
	BOTTLE_ENDED,   /* the function has returned */
	BOTTLE_FAULTS,  /* the next instruction touches what it may not; `fault` says where */
	BOTTLE_CRASHED, /* any other signal */
	BOTTLE_HANGS,
};

struct bottle {
	pid_t pid;
	uint8_t *memory; /* private, then the stack */
	void *fault;
};

struct bottle_state {
	struct user_regs_struct registers;
	uint8_t xstate[BOTTLE_XSTATE];
	size_t xstate_size;
	uint8_t private[BOTTLE_PRIVATE];
	uint8_t stack[BOTTLE_STACK]; /* its upper end */
	size_t stack_used;
};

typedef void bottle_f(void *private);

/* The private memory is at bottle->memory. */
void bottle_open(struct bottle *bottle);
/* Kills it, wherever it is. */
void bottle_close(struct bottle *bottle);

void bottle_start(struct bottle *bottle, bottle_f *f);
enum bottle_is bottle_step(struct bottle *bottle);
/* To the end; HANGS after some seconds. */
enum bottle_is bottle_finish(struct bottle *bottle);

void bottle_save(struct bottle *bottle, struct bottle_state *ret);
void bottle_restore(struct bottle *bottle, const struct bottle_state *state);

/* mprotect() in it, between two of its instructions. */
void bottle_protect(struct bottle *bottle, void *memory, size_t size, int protection);
