#include "client/channel.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/error.h"
#include "client/wait.h"
#include "client/words.h"

enum {
	BATCH = 64,          /* references at a time */
	SPIN_NS = 4000,      /* about what it costs to sleep and be woken */
	SPIN_LOOKS = 32,     /* between two looks at the clock */
	SPIN_TRIED_EACH = 32 /* waits, where spinning did not pay the last time */
};

/* ---- what the ring asks ---- */

static bool is_dead(void *userdata, uint32_t id)
{
	const struct varbos_channel *channel = userdata;

	return shared_is_dead(channel->space, id);
}

static int word_of(void *userdata, uint64_t ref, _Atomic uint32_t **ret)
{
	const struct varbos_channel *channel = userdata;
	struct words_block block;

	if (words_quick(channel->space, ref_offset(ref), &block)) {
		*ret = block.word;
		return 0;
	}
	switch (words_peek(channel->space, ref, &block)) {
	case 0:
		*ret = block.word;
		return 0;
	case WORDS_E_UNMAPPED:
		return RING_E_UNMAPPED;
	default:
		return RING_E_FOREIGN;
	}
}

static void wake(const struct varbos_channel *channel, uint32_t what)
{
	for (uint32_t i = 0; i < RING_WAKES; i++)
		if (what & 1U << i)
			wait_wake(ring_bell(channel->end.ring, 1U << i));
}

/* ---- opening ---- */

static int error_answer(const struct varbos_channel *channel, const char *which)
{
	return error_set(VARBOS_E_UNTRUSTED, which,
			 "the daemon's answer about channel %s cannot be (%s)", channel->name,
			 which);
}

static void send_close(struct varbos_space *space, uint32_t id, uint32_t roles)
{
	struct wire_channel_close note = {.space = space->handle, .id = id, .roles = roles};

	call_note(&space->vb->calls, WIRE_CHANNEL_CLOSE, &note);
}

/* Is its memory where the answer says, by the slice map? Then it is mapped. */
static int check_opened(const struct varbos_channel *channel,
			const struct wire_channel_opened *opened)
{
	struct varbos_space *space = channel->space;
	struct place place;
	int r;

	if (!opened->id || opened->id >= IDS_MAX)
		return error_answer(channel, "id");
	if (!opened->capacity || opened->capacity > RING_CAPACITY_MAX ||
	    (opened->capacity & (opened->capacity - 1)))
		return error_answer(channel, "capacity");
	if (opened->offset >> OFFSET_BITS || opened->offset % SLICE_BYTES)
		return error_answer(channel, "offset");
	r = place_at(space, opened->offset, &place);
	if (r == VARBOS_E_REFERENCE)
		return error_answer(channel, "offset");
	if (r)
		return r;
	if (place.info.kind != EXTENT_CHANNEL || !place.info.head ||
	    place.info.tag != opened->tag ||
	    opened->size != (uint64_t)place.info.count << SLICE_SHIFT ||
	    place.info.count > place.window->n_slices - place.slice ||
	    opened->size < ring_bytes((uint32_t)opened->capacity))
		return error_answer(channel, "slice-map");
	return 0;
}

/* An end of this process's: what of it is open already, stays. */
static int open_end(struct varbos_channel *channel, uint32_t flags)
{
	struct varbos_space *space = channel->space;
	struct wire_channel_open request = {
		.space = space->handle,
		.name = wire_str(channel->name),
		.roles = channel->roles,
		.capacity = channel->capacity,
		.existing = flags & VARBOS_CHANNEL_EXISTING,
		.exclusive = flags & VARBOS_CHANNEL_NEW,
	};
	struct wire_channel_opened opened;
	struct call *call;
	uint32_t self;
	int r;

	r = shared_id(space, &self);
	if (!r)
		r = call_begin(&call, &space->vb->calls, WIRE_CHANNEL_OPEN, &request, 0);
	if (r)
		return r;
	opened = call->message.body.channel_opened;
	call_end(call);
	r = check_opened(channel, &opened);
	if (r) {
		struct varbos_error why = *varbos_error();

		if (r != VARBOS_E_UNTRUSTED)
			send_close(space, (uint32_t)opened.id, channel->roles);
		return error_restore(&why);
	}
	channel->end = (struct ring_end){
		.ring = (struct ring *)(void *)(space->base + opened.offset),
		.capacity = (uint32_t)opened.capacity,
		.channel = (uint32_t)opened.id,
		.self = self,
		.is_dead = is_dead,
		.word_of = word_of,
		.userdata = channel,
	};
	return 0;
}

static int check_open(const char *name, uint32_t roles,
		      const struct varbos_channel_options *options)
{
	struct wire_str text = wire_str(name);

	if (!text.size || text.size > CHANNEL_NAME_MAX || !wire_str_is_clean(text))
		return error_set(VARBOS_E_INVALID, "name",
				 "the name of a channel is 1 to %d of A-Z a-z 0-9 . _ -, not "
				 "starting with . or -",
				 CHANNEL_NAME_MAX);
	if (!roles || roles & ~(uint32_t)(VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE))
		return error_set(VARBOS_E_INVALID, "roles",
				 "roles 0x%x: a channel is opened to send, to receive, or for "
				 "both",
				 roles);
	if (options->flags & ~(uint32_t)(VARBOS_CHANNEL_EXISTING | VARBOS_CHANNEL_NEW) ||
	    options->flags == (VARBOS_CHANNEL_EXISTING | VARBOS_CHANNEL_NEW))
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x make no sense",
				 options->flags);
	if (options->capacity > RING_CAPACITY_MAX)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = options->capacity,
								.max = RING_CAPACITY_MAX,
								.which = "capacity"},
					 "a channel of %u blocks: %d are the most",
					 options->capacity, RING_CAPACITY_MAX);
	return 0;
}

_public_ int varbos_channel_open(struct varbos_channel **ret, struct varbos_space *space,
				 const char *name, uint32_t roles,
				 const struct varbos_channel_options *options)
{
	static const struct varbos_channel_options defaults;
	_cleanup_(freep) struct varbos_channel *channel = NULL;
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	int r;

	error_enter("varbos_channel_open");
	if (!ret)
		return error_null("ret");
	if (!options)
		options = &defaults;
	r = check_open(name, roles, options);
	if (!r)
		r = block_enter(space);
	if (r)
		return r;
	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return error_system(ENOMEM, "a channel");
	channel->space = space;
	channel->roles = roles;
	channel->capacity = options->capacity;
	strcpy(channel->name, name);
	atomic_store_explicit(&channel->stamp, fork_count(), memory_order_relaxed);

	lock_acquire(&space->channels_lock);
	lock = &space->channels_lock;
	r = open_end(channel, options->flags);
	if (r)
		return r;
	space_use(space);
	channel->next = space->channels;
	space->channels = channel;
	*ret = TAKE_PTR(channel);
	return 0;
}

static int revive(struct varbos_channel *channel)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	int r;

	lock_acquire(&channel->space->channels_lock);
	lock = &channel->space->channels_lock;
	if (atomic_load_explicit(&channel->stamp, memory_order_relaxed) == fork_count())
		return 0;
	r = open_end(channel, 0);
	if (!r)
		atomic_store_explicit(&channel->stamp, fork_count(), memory_order_release);
	return r;
}

/* Before anything else of a call on a channel. */
static int enter(struct varbos_channel *channel, enum varbos_channel_roles role)
{
	int r;

	if (!channel)
		return error_null("channel");
	r = space_enter(channel->space);
	if (!r && atomic_load_explicit(&channel->stamp, memory_order_acquire) != fork_count())
		r = revive(channel);
	if (r || channel->roles & role)
		return r;
	return error_set(VARBOS_E_PERMISSION, role == VARBOS_CHANNEL_SEND ? "send" : "receive",
			 "channel %s was not opened to %s", channel->name,
			 role == VARBOS_CHANNEL_SEND ? "send" : "receive");
}

/* It is no longer listed: the roles that no other handle has are closed. */
static void end_free(struct varbos_channel *channel)
{
	uint32_t roles = channel->roles, now = fork_count();

	if (atomic_load_explicit(&channel->stamp, memory_order_relaxed) == now) {
		for (struct varbos_channel *other = channel->space->channels; other;
		     other = other->next)
			if (other->end.channel == channel->end.channel &&
			    atomic_load_explicit(&other->stamp, memory_order_relaxed) == now)
				roles &= ~other->roles;
		if (roles)
			send_close(channel->space, channel->end.channel, roles);
	}
	free(channel);
}

_public_ void varbos_channel_close(struct varbos_channel *channel)
{
	struct varbos_channel **at;
	struct varbos_space *space;

	if (!channel)
		return;
	error_enter("varbos_channel_close");
	space = channel->space;
	lock_acquire(&space->channels_lock);
	for (at = &space->channels; *at != channel; at = &(*at)->next)
		;
	*at = channel->next;
	end_free(channel);
	lock_release(&space->channels_lock);
	varbos_space_close(space);
}

void channels_free(struct varbos_space *space)
{
	struct varbos_channel *channel;

	while ((channel = space->channels)) {
		space->channels = channel->next;
		end_free(channel);
	}
}

/* ---- waiting ---- */

/* Who does not wait does not look at the clock: it begins with the first wait. */
struct patience {
	int timeout_ms;
	uint64_t deadline_ns; /* 0: not looked yet */
};

static bool is_alone(void)
{
	static _Atomic int processors;
	int n = atomic_load_explicit(&processors, memory_order_relaxed);
	cpu_set_t set;

	if (!n) {
		n = sched_getaffinity(0, sizeof(set), &set) ? 2 : CPU_COUNT(&set);
		atomic_store_explicit(&processors, n, memory_order_relaxed);
	}
	return n == 1;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Has what the call waits for come? Looked at without a lock, and without being woken. */
static bool has_come(const struct varbos_channel *channel, enum ring_wake what)
{
	const struct ring *ring = channel->end.ring;

	switch (what) {
	case RING_WAKE_ITEM:
		return ring_count(&channel->end);
	case RING_WAKE_ROOM:
		return ring_count(&channel->end) < channel->end.capacity;
	case RING_WAKE_SEND_LOCK:
		return !(atomic_load_explicit(&ring->send.lock, memory_order_relaxed) &
			 (BLOCK_IDS - 1));
	case RING_WAKE_RECEIVE_LOCK:
	default:
		return !(atomic_load_explicit(&ring->receive.lock, memory_order_relaxed) &
			 (BLOCK_IDS - 1));
	}
}

/*
 * A peer that runs on another processor is often done before the caller would be asleep; one
 * that does not run never is. So it is tried now and then, and kept up as long as it pays.
 */
static bool spin(struct varbos_channel *channel, enum ring_wake what)
{
	uint64_t end_ns;
	bool come = false;

	if (is_alone() || (!atomic_load_explicit(&channel->spins, memory_order_relaxed) &&
			   atomic_fetch_add_explicit(&channel->waits, 1, memory_order_relaxed) %
				   SPIN_TRIED_EACH))
		return false;
	end_ns = clock_ns() + SPIN_NS;
	do
		for (int i = 0; i < SPIN_LOOKS && !come; i++) {
			relax();
			come = has_come(channel, what);
		}
	while (!come && clock_ns() < end_ns);
	atomic_store_explicit(&channel->spins, come, memory_order_relaxed);
	return come;
}

static int error_timeout(const struct varbos_channel *channel, enum ring_wake what,
			 int timeout_ms)
{
	const char *which = what == RING_WAKE_ITEM   ? "empty"
			    : what == RING_WAKE_ROOM ? "full"
						     : "busy";

	return error_set(VARBOS_E_TIMEOUT, which, "channel %s has been %s for %d ms",
			 channel->name, which, timeout_ms);
}

/* Until `what` may have come, or the deadline: VARBOS_E_TIMEOUT. */
static int await(struct varbos_channel *channel, enum ring_wake what, uint32_t deaths,
		 struct patience *patience)
{
	struct wait_word died = {&channel->space->root->deaths, deaths};
	struct ring_sleep sleep;
	uint64_t now;

	if (!patience->timeout_ms)
		return error_timeout(channel, what, 0);
	if (patience->timeout_ms > 0) {
		now = clock_ns();
		if (!patience->deadline_ns)
			patience->deadline_ns = now + (uint64_t)patience->timeout_ms * 1000000;
		if (now >= patience->deadline_ns)
			return error_timeout(channel, what, patience->timeout_ms);
	}
	if (!spin(channel, what) && ring_sleep(&channel->end, what, &sleep))
		wait_either((struct wait_word){sleep.word, sleep.value}, died,
			    patience->deadline_ns);
	return 0;
}

static struct id_info look(const struct varbos_channel *channel)
{
	return id_word_unpack(atomic_load_explicit(
		&channel->space->root->ids[channel->end.channel], memory_order_acquire));
}

static int error_closed(const struct varbos_channel *channel, bool died, const char *whose)
{
	return error_set(VARBOS_E_CLOSED, died ? "died" : "closed",
			 "channel %s has no %s any more: the last one has %s", channel->name,
			 whose, died ? "died" : "closed it");
}

static int error_spoiled(const struct varbos_channel *channel)
{
	return error_set(VARBOS_E_UNTRUSTED, "channel",
			 "somebody has written into the memory of channel %s", channel->name);
}

/* A reference whose window, or words, are not mapped here yet. */
static int map_ref(struct varbos_channel *channel, uint64_t ref)
{
	return words_map(channel->space, ref_offset(ref));
}

/* ---- sending ---- */

/* It was held a moment ago: another thread was first, or it is in the batch twice. */
static int error_refused(const struct varbos_channel *channel, uint64_t ref, int why)
{
	bool sent = why == BLOCK_E_SENT || why == BLOCK_E_HELD;

	return error_set(VARBOS_E_REFERENCE, sent ? "not-owner" : "freed",
			 "the block at offset 0x%llx of space %s has just been %s",
			 (unsigned long long)ref_offset(ref), channel->space->name,
			 sent ? "sent" : "freed");
}

/* All of them, or as many as there is room for before the deadline: *ret_sent. */
static int send_refs(struct varbos_channel *channel, const uint64_t *refs, uint32_t n,
		     struct patience *patience, uint32_t *ret_sent)
{
	const _Atomic uint32_t *deaths = &channel->space->root->deaths;
	struct ring_result result;
	uint32_t sent = 0, seen;
	struct id_info info;
	int r = 0;

	while (sent < n && !r) {
		seen = atomic_load_explicit(deaths, memory_order_acquire);
		info = look(channel);
		if (info.had_receivers && !info.receivers) {
			r = error_closed(channel, info.died, "receivers");
			break;
		}
		r = ring_send(&channel->end, refs + sent, n - sent, &result);
		wake(channel, result.wake);
		sent += result.count;
		switch (r) {
		case 0:
			break;
		case RING_E_FULL:
			r = await(channel, RING_WAKE_ROOM, seen, patience);
			break;
		case RING_E_BUSY:
			r = await(channel, RING_WAKE_SEND_LOCK, seen, patience);
			break;
		case RING_E_UNMAPPED:
			r = map_ref(channel, result.unmapped);
			break;
		case RING_E_SPOILED:
			r = error_spoiled(channel);
			break;
		case RING_E_REFUSED:
		default:
			r = error_refused(channel, refs[sent], result.why);
		}
	}
	*ret_sent = sent;
	return r;
}

static int send_many(struct varbos_channel *channel, void *const *memory, size_t n,
		     int timeout_ms, size_t *ret_sent)
{
	struct patience patience = {.timeout_ms = timeout_ms};
	struct varbos_error why;
	_Atomic uint32_t *word;
	uint64_t refs[BATCH];
	uint32_t count, sent;
	bool wrong = false;
	int r;

	for (size_t done = 0; done < n && !wrong; done += count) {
		for (count = 0; count < BATCH && done + count < n; count++) {
			refs[count] = shared_held(channel->space, memory[done + count],
						  channel->end.self, &word);
			wrong = !refs[count];
			if (wrong) {
				why = *varbos_error(); /* once those before it are sent */
				break;
			}
		}
		r = send_refs(channel, refs, count, &patience, &sent);
		*ret_sent += sent;
		if (r)
			return r;
	}
	return wrong ? error_restore(&why) : 0;
}

_public_ int varbos_channel_send(struct varbos_channel *channel, void *memory, int timeout_ms)
{
	size_t sent = 0;
	int r;

	error_enter("varbos_channel_send");
	r = enter(channel, VARBOS_CHANNEL_SEND);
	return r ? r : send_many(channel, &memory, 1, timeout_ms, &sent);
}

_public_ int varbos_channel_send_many(struct varbos_channel *channel, void *const *memory,
				      size_t n, int timeout_ms, size_t *ret_sent)
{
	size_t sent = 0;
	int r;

	error_enter("varbos_channel_send_many");
	if (n && !memory)
		return error_null("memory");
	r = enter(channel, VARBOS_CHANNEL_SEND);
	if (!r)
		r = send_many(channel, memory, n, timeout_ms, &sent);
	if (ret_sent)
		*ret_sent = sent;
	return r;
}

/* ---- receiving ---- */

/*
 * Have all senders gone, with nothing left half sent? Whoever still has their lock has died in
 * it: once that is known, what it had sent is received.
 */
static bool senders_gone(const struct varbos_channel *channel, struct id_info *ret)
{
	*ret = look(channel);
	return ret->had_senders && !ret->senders && has_come(channel, RING_WAKE_SEND_LOCK);
}

static int receive_refs(struct varbos_channel *channel, uint64_t *refs, uint32_t n,
			int timeout_ms, uint32_t *ret_count)
{
	const _Atomic uint32_t *deaths = &channel->space->root->deaths;
	struct patience patience = {.timeout_ms = timeout_ms};
	struct ring_result result;
	struct id_info info;
	bool gone = false;
	uint32_t seen;
	int r;

	for (;;) {
		seen = atomic_load_explicit(deaths, memory_order_acquire);
		r = ring_receive(&channel->end, refs, n, &result);
		wake(channel, result.wake);
		switch (r) {
		case 0:
			*ret_count = result.count;
			return 0;
		case RING_E_EMPTY:
			/* The last one may have sent something between the two looks. */
			if (gone)
				return error_closed(channel, info.died, "senders");
			gone = senders_gone(channel, &info);
			if (gone)
				continue;
			break;
		case RING_E_BUSY:
			break;
		case RING_E_UNMAPPED:
			r = map_ref(channel, result.unmapped);
			if (r)
				return r;
			continue;
		default:
			return error_spoiled(channel);
		}
		r = await(channel, r == RING_E_EMPTY ? RING_WAKE_ITEM : RING_WAKE_RECEIVE_LOCK,
			  seen, &patience);
		if (r)
			return r;
	}
}

static uint32_t receive_some(struct varbos_channel *channel, void **memory, uint32_t n,
			     int timeout_ms)
{
	uint64_t refs[BATCH];
	uint32_t count = 0;

	if (receive_refs(channel, refs, n < BATCH ? n : BATCH, timeout_ms, &count))
		return 0;
	for (uint32_t i = 0; i < count; i++)
		memory[i] = channel->space->base + ref_offset(refs[i]);
	return count;
}

_public_ void *varbos_channel_receive(struct varbos_channel *channel, int timeout_ms)
{
	void *memory;

	error_enter("varbos_channel_receive");
	if (enter(channel, VARBOS_CHANNEL_RECEIVE) ||
	    !receive_some(channel, &memory, 1, timeout_ms))
		return NULL;
	return memory;
}

_public_ size_t varbos_channel_receive_many(struct varbos_channel *channel, void **memory,
					    size_t n, int timeout_ms)
{
	error_enter("varbos_channel_receive_many");
	if (!n || !memory) {
		error_null("memory");
		return 0;
	}
	if (enter(channel, VARBOS_CHANNEL_RECEIVE))
		return 0;
	return receive_some(channel, memory, n < BATCH ? (uint32_t)n : BATCH, timeout_ms);
}
