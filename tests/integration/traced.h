/*
 * Traced - a child that asked to be traced, let go on from stop to stop.
 */
#pragma once

#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/types.h>

/* Until it stops again. False: it has ended by itself, and well; any other end fails the test. */
bool traced_go_on(pid_t pid, enum __ptrace_request how);
