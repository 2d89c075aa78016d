/*
 * Membership - what a process that may not use a file lacks: the file's group.
 */
#pragma once

#include <stddef.h>

enum { MEMBERSHIP_TEXT_MAX = 192 };

/*
 * To follow "Permission denied": "; its group may: usermod -aG varbos-clients alice, and log in
 * again". Empty if the file's group has no rights that this process lacks. Returns buf.
 */
char *membership_hint(char *buf, size_t size, const char *path);
