/*
 * Fault - a refusal, with the numbers that explain it and a line for a person.
 */
#pragma once

#include "base/base.h"
#include "daemon/core/core.h"
#include "daemon/server/request.h"
#include "daemon/sys/sys.h"

enum fault_code {
#define ERROR(NAME, number, status, text) FAULT_##NAME = number,
#include "proto/errors.def"
#undef ERROR
};

/* Each writes request->fault and returns REQUEST_FAULT. */
int fault_set(struct request *request, enum fault_code code, const char *which,
	      const char *format, ...) _printf_(4, 5);
/* A positive return of the core; CORE_E_BUSY and CORE_MORE are not faults. */
int fault_from_core(struct request *request, int code, const struct core_fault *fault);
/* A job that failed. `asked`: bytes that the request was about. */
int fault_from_system(struct request *request, int error, const struct sys_shortage *shortage);
int fault_from_wire(struct request *request, int code, const struct wire_trouble *trouble);
