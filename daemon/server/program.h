/*
 * Program - what this process was started as, so that it can be started again.
 *
 * PG1  Again is from the same place, with whatever lies there by then; if nothing does, it is the
 *      file that runs.
 */
#pragma once

#include <stdbool.h>

/* First thing in main(). `argv` stays; a keeper's first argument is left out. */
int program_remember(int argc, char **argv, bool is_keeper);
/* Where it is, absolute. */
const char *program_path(void);
/* argv[0] and what follows, NULL at the end; program_arguments()[1] is the first argument. */
char *const *program_arguments(void);
/* execv() of it, with $VARIABLES as they are: returns -errno. Async-signal-safe. */
int program_exec(char *const *argv);
