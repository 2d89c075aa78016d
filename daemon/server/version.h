/*
 * Version - which varbosd this is: its number, what it was built from and how, what it speaks.
 */
#pragma once

#include <stdio.h>

void version_print(FILE *out);
