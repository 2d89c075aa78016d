/*
 * Fake daemon - a thread that speaks the protocol as varbosd does, but for one lie.
 *
 * It has one space, "s", with one window of 2 MiB; whatever is asked of it is answered at once
 * and from one thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum lie {
	LIE_NONE,
	/* of messages */
	LIE_SILENT,       /* no answer */
	LIE_LATE,         /* the answer comes with the next request's, before it */
	LIE_WRONG_ID,     /* an answer to what was not asked */
	LIE_CLOSE,        /* the connection, in the middle of a request */
	LIE_GARBAGE,      /* bytes that are no message */
	LIE_HUGE_HEADER,  /* five bytes that announce 2^32 elements */
	LIE_EMPTY,        /* a datagram without bytes */
	LIE_REQUEST,      /* a daemon that asks */
	LIE_OTHER_SHAPE,  /* an answer that lacks its fields */
	LIE_CODE,         /* a fault with a code that nobody knows */
	LIE_NEW_NOTE,     /* a note that only a newer daemon knows: no lie at all */
	LIE_REFUSED_NOTE, /* refuses a free that nobody made */
	LIE_OTHER_TOKEN,  /* of a ping */
	LIE_ENDLESS_LIST, /* pages that go round */
	/* of the welcome */
	LIE_PROTOCOL,
	LIE_LAYOUT,
	LIE_SESSION_ZERO,
	LIE_SESSION_WIDE,
	LIE_INFLIGHT_ZERO,
	/* of the welcome to a session that comes back */
	LIE_SESSION_GONE,    /* it is refused */
	LIE_SESSION_NEW,     /* the daemon knows of no coming back, and opens another */
	LIE_SESSION_UNHEARD, /* the same, and refuses what it does not know */
	LIE_SESSION_OTHER,   /* it is said to be the one, under another number */
	LIE_SESSION_LAYOUT,
	LIE_SESSION_FDS,
	LIE_SESSION_BUSY, /* refused; a later try may not be */
	/* of descriptors */
	LIE_FDS_SURPLUS,
	LIE_FDS_UNASKED,
	LIE_FDS_MISSING,
	LIE_FDS_WITH_FAULT,
	LIE_FDS_WITH_NOTE,
	/* of the root file */
	LIE_ROOT_UNSEALED,
	LIE_ROOT_SHORT,
	LIE_ROOT_MAGIC,
	LIE_ROOT_LAYOUT,
	LIE_ROOT_SPACE,
	/* of the window */
	LIE_DATA_PIPE,
	LIE_DATA_SHRINKS,
	LIE_DATA_GROWS,
	LIE_DATA_SMALL,
	LIE_DATA_LARGE,
	LIE_MAP_UNSEALED,
	LIE_MAP_SHORT,
	LIE_WINDOW_UNGRANTED,
	LIE_WINDOW_TINY,
	LIE_WINDOW_VAST,
	LIE_WINDOW_ODD,
	LIE_WINDOW_GENERATION,
	LIE_WINDOW_PAGE,
	/* of an extent */
	LIE_OFFSET_BEYOND,    /* the window; a slice map that is too large agrees */
	LIE_OFFSET_STRADDLES, /* begins in the window, ends beyond */
	LIE_OFFSET_WIDE,      /* more than 44 bits */
	LIE_OFFSET_ODD,       /* not a slice's */
	LIE_OFFSET_NOWHERE,   /* in a window that is not there */
	LIE_SIZE_LESS,
	LIE_SIZE_ODD,
	LIE_TAG_ZERO,
	LIE_TAG_WIDE,
	LIE_TAG_OTHER, /* than the slice map's */
	LIE_OWNER,     /* the slice map says another session's */
	LIE_COUNT,     /* the slice map says fewer slices */
	/* of shared blocks */
	LIE_ID_ZERO,
	LIE_ID_WIDE,
	LIE_ID_NOBODY, /* the root file has no such process */
	LIE_WORDS_UNSEALED,
	LIE_WORDS_SHORT,
	/* of a channel */
	LIE_CHANNEL_ID,
	LIE_CHANNEL_CAPACITY, /* no power of two */
	LIE_CHANNEL_LARGE,    /* more than its memory holds */
	LIE_CHANNEL_OFFSET,
	LIE_CHANNEL_KIND, /* the slice map says that it is somebody's memory */
	LIE_CHANNEL_TAG,
	LIES
};

/* How it dies: all that it has of connections ends, and nobody listens. */
enum death {
	DEATH_NONE,
	DEATH_UNREAD, /* before it has read the request */
	DEATH_READ,   /* before it has done it */
	DEATH_DONE,   /* before it has answered */
	DEATH_ANSWERED,
};

enum { FAKE_CONNECTIONS = 128, FAKE_HEARD = 512, FAKE_BYTES = 128 };

/* A request or note, as it came. */
struct heard {
	int method;
	uint64_t id; /* 0: a note */
	int size;
	char bytes[FAKE_BYTES];
};

struct fake_daemon {
	char folder[64];
	char socket[96];
	_Atomic enum lie lie;      /* may be changed between calls */
	_Atomic bool ignore_frees; /* as if the daemon had not got round to them */
	_Atomic uint32_t requests, frees, hellos, closes;
	_Atomic uint32_t wakes;      /* by one byte, of who has lanes */
	_Atomic uint32_t unanswered; /* by LIE_SILENT */
	_Atomic uint32_t gather;     /* answer only once this many are asked, last first, */
	bool slowly;                 /* or in order, and a moment apart */

	enum death dying;
	_Atomic enum death death; /* at the next request of that method */
	_Atomic int death_of;     /* WIRE_METHODS_N: of any but HELLO */
	_Atomic bool deadly;      /* and at each later one */
	_Atomic uint32_t deaths;
	_Atomic bool absent; /* after a death it stays so until this is false */
	_Atomic uint32_t n_heard;
	struct heard heard[FAKE_HEARD];
	char said
		[512]; /* instead of dying: what is asked again is answered so, and not done again */
	uint64_t said_id;
	int said_size;

	int listener, stop[2];
	int connections[FAKE_CONNECTIONS];
	pthread_t thread;
	int root, data, map, words_file;
	struct root_file *root_file;
	_Atomic uint64_t *words;
	uint32_t tag_next;
	char late[4096], held[16][256];
	_Atomic int late_size;
	int held_size[16];
	uint32_t n_held;
};

void fake_daemon_start(struct fake_daemon *fake, enum lie lie);
void fake_daemon_stop(struct fake_daemon *fake);

/* Descriptors that this process has open. */
unsigned fds_open(void);
