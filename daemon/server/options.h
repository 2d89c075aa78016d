/*
 * Options - what varbosd was told on its command line.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct options {
	char socket[108]; /* as long as an address can be */
	bool socket_is_default;
	uint64_t size;
	uint32_t page_shift; /* 0: the largest that the machine has */
	int lifeline;        /* descriptor, or -1 */
};

enum {
	OPTIONS_DONE = 1, /* --help or --version: printed, exit 0 */
	OPTIONS_E_USAGE,  /* logged what is wrong, exit 2; ret->lifeline is written, if known */
};

int options_parse(struct options *ret, int argc, char **argv);
