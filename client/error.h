/*
 * Error - why the calling thread's last failing call failed.
 *
 * E1  A public function that fails has filled it: code, the numbers that belong to the code,
 *     and one line for a person that starts with the function's name.
 * E2  Every filler returns the code, so that failing is one line.
 */
#pragma once

#include <stdint.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "proto/wire.h"

/* At the start of every public function: whose failures the next ones are. */
void error_enter(const char *function);
const char *error_entered(void);

int error_set(enum varbos_code code, const char *which, const char *format, ...) _printf_(3, 4);

/* VARBOS_E_SYSTEM; `error` is an errno, of either sign. */
int error_system(int error, const char *format, ...) _printf_(2, 3);

/* A handle, or where to store a result: NULL, and must not be. VARBOS_E_INVALID. */
int error_null(const char *argument);

/* With numbers of its own, besides code and which. */
int error_set_numbers(const struct varbos_error *numbers, const char *format, ...)
	_printf_(2, 3);

/*
 * Of a failure that is no surprise: nothing but the code is noted now. The line is written when
 * somebody asks for it.
 */
int error_quick(enum varbos_code code, const char *function);

/* What the daemon answered. */
int error_fault(const struct wire_fault *fault);

/* Its code, numbers and `which`, as they came; its line as the message. */
void error_of_fault(struct varbos_error *ret, const struct wire_fault *fault);

/*
 * `function`, entered before, has called another public one, which failed: the line starts with
 * both names. Enters it again, and returns the code.
 */
int error_within(const char *function);

/* A handle that the parent made, in its child after fork(). VARBOS_E_INVALID. */
int error_parents(const char *what);

/* Put back what was copied from varbos_error(), after another call has failed meanwhile. */
int error_restore(const struct varbos_error *error);
