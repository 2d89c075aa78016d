/*
 * Memfd - the files that the daemon shares.
 *
 * F1  Mode 0600 before anything is in it: a memfd is born 0777, and a descriptor reopened
 *     through /proc would be writable for everyone.
 * F2  A window's size is sealed for good, and no more seals can be added: a client could else
 *     shrink it under another's feet, or bar writes.
 * F3  A file that the daemon alone writes is exactly as large as it is committed, so it has no
 *     hole to touch; it cannot shrink, and may grow. One that a client writes is sealed as a
 *     window is.
 * F4  A client gets a description of its own (flags and position are per description), with
 *     only the access that it may have.
 */
#pragma once

#include <stdint.h>

#include "daemon/sys/sys.h"

int memfd_window(const char *name, uint64_t size, uint32_t page_shift, int *ret_fd);
int memfd_file(const char *name, uint64_t size, enum sys_access clients, int *ret_fd);
/*
 * Is it what the former two make? Of a file, whatever its size. -EBADFD: no; also of one that was
 * opened otherwise than we open it.
 */
int memfd_check_window(int fd, uint64_t size, uint32_t page_shift);
int memfd_check_file(int fd, enum sys_access clients, uint64_t *ret_size);
/* Empty and unsealed, for daemon/sys/reserve.h. */
int memfd_reserve(uint32_t page_shift, int *ret_fd);
int memfd_check_reserve(int fd, uint32_t page_shift, uint64_t *ret_size);
int memfd_reopen(int fd, enum sys_access access, int *ret_fd);
/* It is `size` bytes from now on, and committed. */
int memfd_grow(int fd, uint64_t size);
/* A window's data, as sys.h says. */
int memfd_map_data(int fd, uint64_t size, void **ret);
int memfd_blocks(int fd, uint64_t *ret);
/* Where the last data in [from, to) ends, in whole pages; `from`: there is none. */
int memfd_data_end(int fd, uint64_t from, uint64_t to, uint64_t *ret);
