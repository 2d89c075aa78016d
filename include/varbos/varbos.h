/*
 * libvarbos - big shared memory for every process of the machine.
 *
 * A daemon, varbosd, owns the memory; this library connects to it, maps what it grants, and
 * hands out pointers. All calls are thread-safe, except that what is closed or disconnected
 * must not be in use elsewhere. Every call that can fail says so in its return value: an int is
 * 0 or a VARBOS_E_ code, a pointer is NULL on failure, a reference or size 0; varbos_error()
 * then tells the calling thread why, with numbers. Options that are zero, or NULL, mean the
 * defaults; a handle or a `ret` that is NULL is refused (VARBOS_E_INVALID), unless NULL is said
 * to be fine. Nothing here may be called by a signal handler; what a thread's exit calls (of
 * pthread_key_create(), say) may allocate and free.
 *
 * A call that needs the daemon waits 5 s at most, or as varbos_set_timeout() says, and then
 * fails with VARBOS_E_TIMEOUT. If the daemon ends, and is started again, the session goes on: such
 * calls wait, while it is away, 5 s more in all, or as varbos_set_reconnect() says, and then fail
 * with VARBOS_E_UNAVAILABLE (later ones look for it again); what they asked may be done all the same
 * when it is back. A daemon that no longer has the session (`which` is "session") has lost it for
 * good. Meanwhile, and even then, what is mapped can be read; what is in hand, allocated and
 * written.
 *
 * After fork() the child holds none of the parent's memory, and touching it is a fault. The
 * child's handles stay usable: the first call on one connects anew, as a process of its own,
 * and puts the space at the same addresses where they are free, so that a pointer to shared
 * memory that the parent had is good after, say, varbos_ref_get() of a reference to it. (The
 * library learns of fork() through pthread_atfork(): a raw clone() goes unnoticed.)
 *
 * Arenas, pools of objects and scopes are in <varbos/arena.h>, <varbos/pool.h>, <varbos/scope.h>,
 * copies of any size in <varbos/copy.h>.
 *
 * Environment: VARBOS_SOCKET (varbos_connect), VARBOS_DAEMON (varbos_connect_private),
 * VARBOS_QUIET (if set, nothing is ever written to standard error), VARBOS_DEBUG (if 1, private
 * memory is watched: writes past its end or after its free, second frees, and what is left when
 * the space closes or the program ends are said on standard error).
 */
#ifndef VARBOS_H
#define VARBOS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct varbos;       /* a connection to a daemon; one per process is enough */
struct varbos_space; /* an open space: a named tenant with memory of its own */

/* Names a piece of memory for another process: a tag that goes stale, above an offset. */
typedef uint64_t varbos_ref;

enum varbos_code {
	VARBOS_OK = 0,
	VARBOS_E_MEMORY = 1,       /* requested, available, largest */
	VARBOS_E_TOO_LARGE = 2,    /* requested, max: could never fit */
	VARBOS_E_BUDGET = 3,       /* requested, remaining, which, pinned */
	VARBOS_E_REFERENCE = 4,    /* which: stale, freed, interior, foreign or not-owner */
	VARBOS_E_SYSTEM = 5,       /* system_errno */
	VARBOS_E_INVALID = 6,      /* which argument or field */
	VARBOS_E_PROTOCOL = 7,     /* a message that breaks the protocol */
	VARBOS_E_METHOD = 8,       /* a method that the daemon does not know */
	VARBOS_E_VERSION = 9,      /* requested, max: no version in common */
	VARBOS_E_NOT_FOUND = 10,   /* none of that name, or key */
	VARBOS_E_EXISTS = 11,      /* one of that name, or key */
	VARBOS_E_PERMISSION = 12,  /* which right is missing */
	VARBOS_E_IN_USE = 13,      /* available: how many sessions have the space open */
	VARBOS_E_LIMIT = 14,       /* which limit of the daemon, max */
	VARBOS_E_UNAVAILABLE = 15, /* no daemon answers; system_errno, or which: session */
	VARBOS_E_TIMEOUT = 16,     /* the daemon did not answer in time */
	VARBOS_E_UNTRUSTED = 17, /* the daemon, or what it sent, is not to be believed: which */
	VARBOS_E_CLOSED = 18,    /* who would take or give is gone; which: closed or died */
	VARBOS_E_EXHAUSTED = 19, /* requested, max: a maximum that the program set; which */
	VARBOS_E_OBJECT = 20,    /* not an object in use of this pool; which: how it is not */
	VARBOS_E_PINS = 21,      /* max: this thread holds as many views as it may */
	VARBOS_E_CHANGED = 22,   /* a value is there, of another generation */
	VARBOS_E_LATE = 23, /* who computed a value took too long: it is another's to compute */
	VARBOS_E_FAILED = 24,   /* a value could not be computed; system_errno: why */
	VARBOS_E_DEADLOCK = 25, /* the thread computes what it would wait for */
};

/* Why a call failed. Numbers that do not belong to the code are 0; bytes, unless said. */
struct varbos_error {
	enum varbos_code code;
	int system_errno;
	uint64_t requested;
	uint64_t available;
	uint64_t largest; /* the longest free run */
	uint64_t max;
	uint64_t remaining;
	char which[32];    /* which budget, limit, argument, right, ... */
	char message[256]; /* one line for a person: "varbos_alloc: 128 MiB asked, ..." */
	uint64_t pinned;   /* of that budget, by views of values */
};

/*
 * The calling thread's last failure. Never NULL; the thread's next failing call overwrites it,
 * a successful one leaves it alone.
 */
const struct varbos_error *varbos_error(void);

/* "VARBOS_E_BUDGET" and its like; never NULL. */
const char *varbos_code_name(int code);

/*
 * Connect. `path` is the daemon's socket; NULL means $VARBOS_SOCKET, or, if that is not set,
 * the user's own daemon ($XDG_RUNTIME_DIR/varbos/varbos.sock), then the system's
 * (/run/varbos/varbos.sock). Who listens there must be root, the user `varbos` or the caller's
 * own user (else VARBOS_E_UNTRUSTED).
 */
int varbos_connect(struct varbos **ret, const char *path);

struct varbos_private_options {
	uint64_t size; /* of the daemon's region, a multiple of 2 MiB; 0: 256 MiB */
	/* Path of varbosd; NULL: $VARBOS_DAEMON, then $PATH, then where it was installed. */
	const char *daemon;
	const char *pages; /* "auto", "4K", "2M"; NULL: "auto" */
};

/*
 * Start a daemon for this process and its forked descendants, and connect to it. It ends when
 * the last of them has ended, disconnected or called exec. Its socket is in a fresh folder
 * below $XDG_RUNTIME_DIR or /tmp that goes with it. Other processes of the same user join by
 * varbos_connect() to varbos_socket(), as long as it lives.
 */
int varbos_connect_private(struct varbos **ret, const struct varbos_private_options *options);

/*
 * End the session: what this process allocated privately goes back, its spaces close (their
 * handles are void now) and their mappings vanish. A daemon that is away is waited for, as
 * varbos_set_reconnect() says. NULL is fine.
 */
void varbos_disconnect(struct varbos *vb);

/* The path of the socket this connection uses. */
const char *varbos_socket(const struct varbos *vb);

/*
 * How long calls on `vb` that need the daemon wait for it at most, in milliseconds; 0: 5 s.
 * With NULL for `vb`: calls on connections that this process, or a child of it, makes later,
 * their varbos_connect() included.
 */
int varbos_set_timeout(struct varbos *vb, uint32_t ms);

/*
 * How long such a call waits, besides, while the daemon is away, in milliseconds: 5000 if nothing is
 * said; 0: not at all. With NULL for `vb`: on connections that this process, or a child of it, makes
 * later. What has ended is connected to anew by whoever calls next, and when a thread waits.
 */
int varbos_set_reconnect(struct varbos *vb, uint32_t ms);

/* One round trip to the daemon; *ret_ns, unless NULL, is how long it took. */
int varbos_ping(struct varbos *vb, uint64_t *ret_ns);

/*
 * Where memory comes from on a machine of several NUMA nodes. An allocation lies on one node:
 * what is interleaved are allocations, not the pages of one.
 */
enum varbos_numa {
	VARBOS_NUMA_DEFAULT = 0, /* anywhere: where the most is free */
	VARBOS_NUMA_LOCAL = 1, /* the node of the calling thread, else the nearest with room */
	VARBOS_NUMA_BIND = 2,  /* `nodes`, or VARBOS_E_MEMORY with what each of them has */
	VARBOS_NUMA_INTERLEAVE =
		3, /* likewise, and kept level: each on the least used of them */
	VARBOS_NUMA_PREFERRED = 4, /* `nodes`, else the nearest to them with room */
};

enum varbos_space_flags {
	VARBOS_SPACE_READ_ONLY = 1 << 0, /* map without write access; do not create it */
	VARBOS_SPACE_EXISTING = 1 << 1,  /* do not create it */
	VARBOS_SPACE_NEW = 1 << 2,       /* it must not exist yet */
	VARBOS_SPACE_PREFAULT = 1 << 3, /* map what is allocated here at once: no fault later */
	VARBOS_SPACE_PACKED = 1 << 4,   /* this process's small blocks may share cache lines */
};

/*
 * All but `flags` and `windows` count at creation only. On pages of 4 KiB a space is cut into
 * windows of powers of two, and an allocation lies in one: the largest is the largest power of
 * two within the limit, at most 16 GiB (of a limit of 14 MiB: 8 MiB).
 */
struct varbos_space_options {
	uint64_t limit;        /* hard, bytes; 0: a power of two, up to 1/4 of what is left */
	uint64_t reserve;      /* guaranteed, bytes */
	uint64_t client_limit; /* of one client process; 0: 7/8 of the limit */
	uint32_t weight;       /* who gives way under pressure; 0: 100 */
	uint32_t mode;         /* like a file's, 0660 say; 0: 0600 */
	uint32_t flags;        /* enum varbos_space_flags */
	uint32_t windows;      /* address space to set aside, in 16 GiB; 0: 64, or what fits */
	enum varbos_numa numa;
	const char *placement; /* "bestfit" (NULL), "buddy", "tlsf" or "firstfit" */
	uint64_t nodes;        /* of bind, interleave, preferred: bit n is node n; else 0 */
};

/*
 * Open a space, creating it if it is missing (unless flags say otherwise). Its name is 1 to 63
 * of A-Z a-z 0-9 . _ -, not starting with . or -. Opening it again on the same connection, with
 * the same access, gives the same handle, to be closed as often.
 */
int varbos_space_open(struct varbos_space **ret, struct varbos *vb, const char *name,
		      const struct varbos_space_options *options);

/* With the last handle it is unmapped, and private memory in it goes back. NULL is fine. */
void varbos_space_close(struct varbos_space *space);

struct varbos_space_info {
	char name[64];
	char placement[16];
	uint32_t uid, gid, mode; /* of its owner; like a file's */
	uint32_t weight;
	uint32_t sessions; /* that have it open */
	uint32_t removed;  /* not 0: it goes with the last of them */
	uint64_t limit, reserve, client_limit;
	uint64_t used, committed; /* bytes in allocations; bytes of memory it holds */
};

/* *ret is an array of *ret_count rows (NULL if there are none) for the caller to free(). */
int varbos_space_list(struct varbos *vb, struct varbos_space_info **ret, size_t *ret_count);

/* Remove a space. One that is in use is refused, unless forced: then it goes with its last user. */
int varbos_space_remove(struct varbos *vb, const char *name, int force);

/*
 * Memory that dies with this process (or varbos_free). Its address is stable, its size rounded
 * up (varbos_usable_size), a size of 0 counts as 1. Up to 256 KiB it comes out of what this
 * process has leased already: then no daemon is asked and no other thread waited for. Others
 * may read and write it through a reference, as a loan. What it contains is undefined. NULL:
 * varbos_error() says why.
 */
void *varbos_alloc(struct varbos_space *space, size_t size);

/* As varbos_alloc() of n * size bytes, which are 0. VARBOS_E_TOO_LARGE if the product overflows. */
void *varbos_calloc(struct varbos_space *space, size_t n, size_t size);

/*
 * The address is a multiple of `align`, a power of two up to 1 GiB. (That of varbos_alloc() is
 * one of 64; of 16 in a space that was opened with VARBOS_SPACE_PACKED.)
 */
void *varbos_alloc_aligned(struct varbos_space *space, size_t align, size_t size);

/* Memory of NUMA node `node` (from 0), or VARBOS_E_MEMORY: that node has none left. */
void *varbos_alloc_on(struct varbos_space *space, size_t size, uint32_t node);

/*
 * `memory`, which varbos_alloc() or one of its kind gave this process, with room for `size`
 * bytes: where it was, or elsewhere with the same contents, as far as they fit; then the old
 * address is free. NULL for `memory` allocates. On failure nothing has changed. Shared memory
 * keeps its size (VARBOS_E_INVALID).
 */
void *varbos_realloc(struct varbos_space *space, void *memory, size_t size);

/*
 * Memory of any size that can be handed to another process: varbos_send(), or a channel
 * (varbos/channel.h). One process holds it at a time; at first this one. The holder alone may
 * free it, or send it on; what a process holds when it ends, or closes the space, is freed
 * then. So what must outlive its process is sent: to another, or to VARBOS_ANYONE.
 */
void *varbos_alloc_shared(struct varbos_space *space, size_t size);

struct varbos_alloc_options {
	uint64_t align;        /* a power of two up to 1 GiB; 0: 64 KiB */
	enum varbos_numa numa; /* default: as the space says */
	uint32_t shared;       /* not 0: as varbos_alloc_shared() */
	uint64_t nodes;        /* as in struct varbos_space_options */
};

/* As varbos_alloc(), with a wish or two. */
void *varbos_alloc_with(struct varbos_space *space, size_t size,
			const struct varbos_alloc_options *options);

/*
 * Free what varbos_alloc() gave this process, or the shared memory that it holds, whoever
 * allocated that (shared by a program that speaks the protocol and keeps no words: anyone's who
 * may write to the space). NULL is fine. Refused with VARBOS_E_REFERENCE, and nothing is changed:
 * "interior", not the start of an allocation; "freed", free already; "not-owner", another
 * process's private memory, or shared memory that another holds or that has been sent;
 * "foreign", not of this space.
 */
int varbos_free(struct varbos_space *space, void *memory);

/*
 * What varbos_free() gave back stays with this process for its next varbos_alloc(), within
 * bounds. Give all of that back to the space: of this thread and of threads that have ended at
 * once, of others when they next run short. It is done without asking before an allocation is
 * refused.
 */
int varbos_trim(struct varbos_space *space);

/* What this process has in a space, in bytes; shared memory above 256 KiB is not in it. */
struct varbos_usage {
	uint64_t leased; /* that is this process's to allocate from */
	uint64_t live;   /* of these, in use; of shared blocks, by anybody */
	uint64_t cached; /* the rest: free, or too small to be a block */
};

/*
 * What this thread has, and what threads that have ended left, is exact; of another thread's blocks
 * a few may be counted as live that are not, or not as live that are: up to 64 of a size, or 64 KiB
 * of larger ones, and what was freed by others than who allocated it. Brings what `varbosctl stats
 * --classes` shows of this process up to date.
 */
int varbos_space_usage(struct varbos_space *space, struct varbos_usage *ret);

/* A reference to any byte inside an allocation; 0 on failure. */
varbos_ref varbos_ref_of(struct varbos_space *space, const void *memory);

/*
 * The byte that a reference names, in this process: a loan. NULL: it is "stale" (its memory was
 * freed and given out again), "freed" or "foreign". It was live when this looked, and is for as
 * long as whoever has the memory keeps it.
 */
void *varbos_ref_get(struct varbos_space *space, varbos_ref ref);

/* An addressee: whoever comes first. */
#define VARBOS_ANYONE 0

/*
 * Who this process is in the space, to those who send to it: 1 to 1023; 0 on failure. It is
 * given at the first shared use of the space, and to others once this process has ended or
 * closed the space.
 */
uint32_t varbos_self(struct varbos_space *space);

/*
 * Let go of shared memory that this process holds, its start, in favour of the process whose
 * varbos_self() is `to`, or of VARBOS_ANYONE. It is nobody's to free until it is received. What
 * was sent stays, if this process ends; if its addressee does, it is freed. Returns the
 * reference that it is received by, which the program brings there; 0 on failure, and it is
 * held still: VARBOS_E_REFERENCE as varbos_free(); VARBOS_E_CLOSED ("died"), there is no such
 * process (any more).
 */
varbos_ref varbos_send(struct varbos_space *space, void *memory, uint32_t to);

/*
 * Become the holder of what was sent to this process, or to anyone, under that reference. NULL:
 * VARBOS_E_REFERENCE, "stale", "freed", "interior", "foreign", or "not-owner": it was sent to
 * another, is held, or has been received already.
 */
void *varbos_receive(struct varbos_space *space, varbos_ref ref);

/* How many bytes from `memory`, the start of an allocation, may be used; 0 on failure. */
size_t varbos_usable_size(struct varbos_space *space, const void *memory);

/*
 * How many frees the daemon refused since the connection began. A free is not waited for, so
 * that its refusal arrives later, during some other call; then a line on standard error names
 * the block, unless $VARBOS_QUIET is set. Where two threads freed one block at once, the second
 * free is found, counted and named here likewise.
 */
uint64_t varbos_frees_refused(struct varbos *vb);

/*
 * A block that is allocated right after one of its size was freed, and freed right after that,
 * is the same one: where a program is compiled by GCC with optimization it needs not call the
 * library for that. Both functions are there all the same, to be called without this (as by
 * clang's programs, or with VARBOS_NO_INLINE defined) or from elsewhere.
 */
#if defined(__GNUC__) && defined(__ELF__)

/*
 * What the two look at, no program does. Like all that is inline in these headers it is compiled
 * into programs: these structs, and what their fields mean, change with the library's soversion.
 */
struct varbos_latest_heap {
	void *last; /* freed last */
	/* Its class while it is free, else 0; and its class. */
	uint16_t free_class, last_class;
	void *reserved;
	uint16_t class_of[257]; /* by (size + 15) / 16 */
};

/* The calling thread's blocks of the space it used last. */
struct varbos_latest {
	uint64_t opening; /* which opening of a space: what a handle begins with */
	struct varbos_latest_heap *heap;
};

__extension__ extern __thread struct varbos_latest varbos_latest
	__attribute__((tls_model("initial-exec")));

#if defined(__OPTIMIZE__) && !defined(VARBOS_NO_INLINE)

void *library_varbos_alloc(struct varbos_space *space, size_t size) __asm__("varbos_alloc");
int library_varbos_free(struct varbos_space *space, void *memory) __asm__("varbos_free");

extern __inline__ __attribute__((gnu_inline, always_inline)) void *
varbos_alloc(struct varbos_space *space, size_t size)
{
	if (space && size <= 4096 &&
	    varbos_latest.opening ==
		    __atomic_load_n((uint64_t *)(void *)space, __ATOMIC_RELAXED)) {
		struct varbos_latest_heap *heap = varbos_latest.heap;

		if (heap->free_class == heap->class_of[(size + 15) / 16]) {
			heap->free_class = 0;
			return heap->last;
		}
	}
	return library_varbos_alloc(space, size);
}

extern __inline__ __attribute__((gnu_inline, always_inline)) int
varbos_free(struct varbos_space *space, void *memory)
{
	if (space && varbos_latest.opening ==
			     __atomic_load_n((uint64_t *)(void *)space, __ATOMIC_RELAXED)) {
		struct varbos_latest_heap *heap = varbos_latest.heap;

		if (memory == heap->last && !heap->free_class) {
			heap->free_class = heap->last_class;
			return 0;
		}
	}
	return library_varbos_free(space, memory);
}

#endif
#endif

#ifdef __cplusplus
}
#endif
#endif
