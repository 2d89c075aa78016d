/*
 * Wire - one control-plane message: datagram to struct and back.
 *
 * W1  Nothing is believed: counts, depth and lengths are scanned before msgpack-c sees a byte.
 * W2  Everything that can be said is in schema.def; nothing here knows a message by name.
 * W3  Decoded strings and lists live as long as the buffer and the wire_message they came from.
 * W4  A decoded string is UTF-8 without control characters: what one client says can break
 *     neither another's decoder nor anyone's terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <msgpack.h>

enum {
	WIRE_PROTOCOL = 1,        /* this version of the protocol */
	WIRE_MESSAGE_MAX = 65536, /* bytes of a datagram */
	WIRE_DEPTH_MAX = 8,       /* containers within containers */
	WIRE_INFLIGHT_MAX = 16,   /* unanswered requests of one session */
	WIRE_FDS_MAX = 2,         /* descriptors with one message */
};

enum wire_kind { WIRE_REQUEST = 0, WIRE_RESPONSE = 1, WIRE_NOTE = 2 };

/* A string inside the datagram (or the caller's memory, when encoding); not terminated. */
struct wire_str {
	const char *data;
	uint32_t size;
};

struct wire_list {
	void *rows; /* an array of the shape's struct */
	uint32_t count;
};

#define WIRE_C_U64 uint64_t
#define WIRE_C_BOOL bool
#define WIRE_C_STR struct wire_str

/* struct wire_hello, struct wire_fault, ... one for each SHAPE */
#define SHAPE(shape) struct wire_##shape {
#define FIELD(shape, type, name, need, text) WIRE_C_##type name;
#define LIST(shape, row, name, text) struct wire_list name;
#define SHAPE_END(shape) \
	}                \
	;
#define METHOD(NAME, name, params, result, from, text)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* the empty struct */
#include "schema.def"
#pragma GCC diagnostic pop

/* WIRE_HELLO, ... one for each METHOD */
enum wire_method {
#define SHAPE(shape)
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, name, params, result, from, text) WIRE_##NAME,
#include "schema.def"
	WIRE_METHODS_N
};

/* WIRE_SHAPE_hello, ... one for each SHAPE */
enum wire_shape_id {
#define SHAPE(shape) WIRE_SHAPE_##shape,
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, name, params, result, from, text)
#include "schema.def"
	WIRE_SHAPES_N
};

enum wire_from { WIRE_FROM_CLIENT, WIRE_FROM_CLIENT_OR_NOTE, WIRE_FROM_DAEMON };

enum wire_type { WIRE_U64, WIRE_BOOL, WIRE_STR, WIRE_LIST };

/* The schema as data. */
struct wire_field {
	const char *name;
	const char *text;
	const struct wire_shape *list; /* of WIRE_LIST */
	uint32_t name_size;
	uint32_t offset; /* in the shape's struct */
	enum wire_type type;
	bool required;
};

struct wire_shape {
	const char *name;
	const struct wire_field *fields;
	uint32_t n_fields;
	uint32_t size; /* of the struct */
};

struct wire_method_info {
	const char *name;
	const char *text;
	const struct wire_shape *params;
	const struct wire_shape *result;
	uint32_t name_size;
	enum wire_from from;
};

extern const struct wire_method_info wire_methods[WIRE_METHODS_N];
extern const struct wire_shape wire_shapes[WIRE_SHAPES_N];
#define wire_shape_fault wire_shapes[WIRE_SHAPE_fault]

/* One decoded message. Zeroed is empty. */
struct wire_message {
	enum wire_kind kind;
	enum wire_method method; /* of a request or note; for a response, what it answers */
	uint64_t id;             /* of a request or response */
	bool failed;             /* a response with an error: fault is set, body is not */
	struct wire_fault fault;
	union wire_body {
#define SHAPE(shape) struct wire_##shape shape;
#define FIELD(shape, type, name, need, text)
#define LIST(shape, row, name, text)
#define SHAPE_END(shape)
#define METHOD(NAME, name, params, result, from, text)
#include "schema.def"
	} body;
	msgpack_zone zone; /* what lists and msgpack-c allocate */
	bool has_zone;
};

void wire_message_deinit(struct wire_message *message);

/* What decoding found wrong, for the fault that answers it. */
struct wire_trouble {
	uint64_t id;    /* of the request, where it could be read */
	bool has_id;    /* else there is nothing to answer */
	char which[32]; /* method or field */
	char text[160];
};

enum {
	WIRE_E_PROTOCOL = 1, /* not a message: trouble says why */
	WIRE_E_METHOD, /* a method that is not in the schema, or not the sender's to call */
	WIRE_E_FIELD,  /* a field unknown, missing, doubled or of the wrong type */
};

/*
 * Decode what a client sent: unknown fields are refused. `trouble` is written on a positive
 * return. ret needs wire_message_deinit() in any case.
 */
int wire_decode_call(struct wire_message *ret, const void *data, size_t size,
		     struct wire_trouble *trouble);

/*
 * Decode what a daemon sent: unknown fields are skipped (a newer daemon adds some). The shape
 * of a response depends on its request: method_of(userdata, id) says which method that was,
 * WIRE_METHODS_N if there is none.
 */
int wire_decode_answer(struct wire_message *ret, const void *data, size_t size,
		       enum wire_method (*method_of)(void *userdata, uint64_t id),
		       void *userdata, struct wire_trouble *trouble);

/*
 * Encode into buf; the return is the size, or -EMSGSIZE if it does not fit. OPTIONAL fields
 * that are empty are left out. `params` and `result` point at the method's struct.
 */
int wire_encode_request(void *buf, size_t size, uint64_t id, enum wire_method method,
			const void *params);
int wire_encode_note(void *buf, size_t size, enum wire_method method, const void *params);
int wire_encode_result(void *buf, size_t size, uint64_t id, enum wire_method method,
		       const void *result);
int wire_encode_fault(void *buf, size_t size, uint64_t id, const struct wire_fault *fault);

/* One line for a person: "-> 7 extent.alloc {space: 1, size: 1048576}". */
void wire_print(FILE *out, const struct wire_message *message);

/* W1 alone: 0 if the datagram is one well-formed value within the limits. */
int wire_scan(const void *data, size_t size, struct wire_trouble *trouble);

/* "BUDGET" and its like: the name of a code of errors.def, or NULL. */
const char *wire_error_name(uint64_t code);

/* wire_str of a C string (NULL is empty), and comparison with one. */
struct wire_str wire_str(const char *s);
bool wire_str_is(struct wire_str a, const char *b);

/*
 * As a C string in buf, cut between characters if it must be: what was valid by W4 stays so.
 * Returns buf.
 */
char *wire_str_copy(char *buf, size_t size, struct wire_str from);

/* W4 of a string. The encoder replaces what is not clean by question marks. */
bool wire_str_is_clean(struct wire_str s);
