/*
 * Table - rows described once and shown three ways.
 *
 * TERMINAL: aligned columns under a header, sizes and times for people. PLAIN, for pipes: fields
 * between tabs under the same header, numbers in full. JSON: one object a page, all on one line,
 * with every column; of a page of lines, one object a row, each on a line.
 *
 * A page holds tables (a row a line; an array of objects in JSON) and records (a field a line;
 * an object in JSON), in the order in which they were added.
 *
 * TB1 Strings of any bytes leave a page as text.h promises.
 * TB2 A table or record without rows still shows its header, and [] in JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum table_form { TABLE_TERMINAL, TABLE_PLAIN, TABLE_JSON };

/* How a column's value is to be read; what it is stored as follows from its type. */
enum table_show {
	SHOW_TEXT,
	SHOW_COUNT,
	SHOW_BYTES,  /* "41 MiB"; 42991616 in plain and JSON */
	SHOW_NS,     /* "12.3 us"; 12345 in plain and JSON */
	SHOW_MS,     /* "2 d 03:04:05"; in plain and JSON the milliseconds */
	SHOW_MODE,   /* 0640; "0640" in JSON */
	SHOW_USER,   /* a name; the number in JSON */
	SHOW_GROUP,  /* likewise */
	SHOW_YES_NO, /* true and false in JSON */
	SHOW_RATIO,  /* "0.6085"; 0.608530439 in plain and JSON */
};

enum table_store { STORE_CHARS, STORE_U32, STORE_U64, STORE_BOOL, STORE_DOUBLE };

struct table_column {
	const char *title; /* NULL: in JSON only */
	const char *key;   /* of the JSON object */
	uint32_t offset;   /* in the row */
	uint32_t size;
	enum table_store store;
	enum table_show show;
};

/* STORE_CHARS is an array of char in the row; a terminator ends it early. */
/* clang-format off */
#define TABLE_COLUMN(type, field, column_title, column_key, column_show) \
	{                                                                \
		.title = (column_title),                                 \
		.key = (column_key),                                     \
		.offset = offsetof(type, field),                         \
		.size = sizeof(((type *)0)->field),                      \
		.store = _Generic((((type *)0)->field),                  \
			uint64_t: STORE_U64,                             \
			uint32_t: STORE_U32,                             \
			double: STORE_DOUBLE,                            \
			bool: STORE_BOOL,                                \
			char *: STORE_CHARS),                            \
		.show = (column_show),                                   \
	}
/* clang-format on */

struct table_page {
	FILE *out;
	enum table_form form;
	bool bold;  /* headers; of TABLE_TERMINAL */
	bool begun; /* something stands on the page */
	bool lines; /* and it is lines */
};

void table_page_begin(struct table_page *page, FILE *out, enum table_form form, bool bold);

/* `name` is the key of the array in JSON. */
void table_rows(struct table_page *page, const char *name, const struct table_column *columns,
		size_t n_columns, const void *rows, size_t n_rows, size_t row_size);

/* The only thing on its page; in JSON an object a line, for a program to take one by one; there others may follow. */
void table_lines(struct table_page *page, const struct table_column *columns, size_t n_columns,
		 const void *rows, size_t n_rows, size_t row_size);

/* In JSON the object of key `name`, or, if that is NULL, members of the page's own object. */
void table_record(struct table_page *page, const char *name, const struct table_column *columns,
		  size_t n_columns, const void *row);

void table_page_end(struct table_page *page);
