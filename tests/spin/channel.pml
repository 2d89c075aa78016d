/*
 * The words of blocks and the ring of a channel (proto/block_word.h, proto/ring.h), with death.
 *
 * Senders allocate, send, and sleep when they must; receivers receive, free, and sleep; a killer
 * ends any of them between any two accesses to shared memory; a daemon marks the dead, sweeps,
 * and lets somebody new have the id. Each statement that touches something shared touches one
 * word of it. When nothing can move, the walker asserts:
 *
 *   no block is lost: free, held by one who knows, or in a slot that will be looked at;
 *   nobody sleeps who has something to do;
 *   a quiet ring has no slot that is not published (R3).
 *
 * And whenever a block is received, that nobody else holds it.
 *
 * How many there are of each, and which order or rule is broken, comes from the environment, so
 * that this is compiled once: run.py.
 */
c_decl {
	\#include <stdlib.h>
	static int given(const char *name, int otherwise)
	{
		const char *text = getenv(name);

		return text ? atoi(text) : otherwise;
	}
}

/* What is broken: run.py reads this table. */
#define NOTHING 0
#define CLEARED_EARLY 1
#define COMPLETION_SKIPPED 2
#define DEATH_SILENT 3
#define HEAD_EARLY 4
#define LOCKS_UNSWEPT 5
#define PUBLISHED_EARLY 6
#define REUSED_EARLY 7
#define SLEEP_LATE 8
#define SLOT_KEPT 9
#define SLOT_LATE 10
#define SWEEP_ONE 12
#define TAKES_LIVING 13
#define TURN_KEPT 14
#define WAKE_EARLY 15

byte broken;

#define P 5         /* processes are 1 to 4, 0 is nobody */
#define B 4         /* blocks: two of each sender's slice */
#define CAP 2
#define CHANNEL 5
#define ORPHAN 6
#define LAPS 8      /* of head and tail: more than twice CAP */

#define FREE 0
#define HELD 1
#define SENT 2
#define FREED 3

#define AWAKE 0
#define ITEM 1
#define ROOM 2
#define SLOCK 3
#define RLOCK 4

typedef word_t { byte state; byte id; byte gen };
typedef lock_t { byte id; byte turn };

word_t w[B];
byte slot_ref[CAP];  /* a block + 1, or 0 */
byte slot_gen[CAP];
byte head, tail;
lock_t sl, rl;
byte bell[5];        /* odd: somebody sleeps, or is about to */
byte deaths;

bit takes[P];        /* part */
bit killed[P];       /* executes nothing more */
bit exited[P];       /* and the kernel says so */
bit dead[P];         /* by the root file */
bit swept[P];        /* by a sweep that began after */
byte asleep[P];      /* on what */
byte holds[P];       /* what a process knows to hold: block + 1 */
byte deaths_left, restarts_left, sends[P];

#define GONE(p) (dead[p])

inline wake(what)
{
	d_step {
		if :: asleep[1] == what -> asleep[1] = AWAKE :: else fi;
		if :: asleep[2] == what -> asleep[2] = AWAKE :: else fi;
		if :: asleep[3] == what -> asleep[3] = AWAKE :: else fi;
		if :: asleep[4] == what -> asleep[4] = AWAKE :: else fi
	}
}

/* The daemon's, after words of the root file. */
inline announce()
{
	d_step {
		if
		:: (broken == DEATH_SILENT)
		:: else ->
			deaths = (deaths + 1) % 8;
			asleep[1] = AWAKE; asleep[2] = AWAKE; asleep[3] = AWAKE; asleep[4] = AWAKE
		fi
	}
}

/* `ok` if the lock has been taken; `over`: from the dead. 255: from nobody. */
inline lock_take(l)
{
	d_step { ok = false; over = false; seen = l.id; turn = l.turn };
	if
	:: seen == 0 || seen == ORPHAN || broken == TAKES_LIVING
	:: else -> d_step { if :: GONE(seen) :: else -> seen = 255 fi }
	fi;
	d_step {
		if
		:: seen != 255 && l.id == seen && l.turn == turn ->
			over = (seen != 0);
			l.id = me;
			atomic { if :: broken == TURN_KEPT :: else -> l.turn = (l.turn + 1) % 4 fi };
			ok = true
		:: else
		fi;
		seen = 0; turn = 0
	}
}

/* Look at the bell; if somebody sleeps, count on, and wake. */
inline ring(what)
{
	d_step { rung = bell[what]; if :: rung % 2 == 0 -> rung = 0 :: else fi };
	if
	:: rung != 0 ->
		d_step {
			if
			:: bell[what] == rung -> bell[what] = (rung + 1) % 16
			:: else -> rung = 0
			fi
		};
		if
		:: rung != 0 -> wake(what)
		:: rung == 0
		fi;
		rung = 0
	:: rung == 0
	fi
}

/* The bell is odd from here on; 0: somebody was quicker. Then look, then doze(). */
inline lie_down(what)
{
	heard = bell[what];
	if
	:: heard % 2 == 0 ->
		d_step {
			if
			:: bell[what] == heard -> bell[what] = heard + 1; heard = heard + 1
			:: else -> heard = 0
			fi
		}
	:: else
	fi
}

/* With a dead sender's lock: publish what it sent, clear what it had not. */
inline complete()
{
	atomic { i = 0; n = 0; at = tail; room = CAP - (tail + LAPS - head) % LAPS };
	do
	:: i < room ->
		atomic { ref = slot_ref[(at + i) % CAP]; gen = slot_gen[(at + i) % CAP] };
		if
		:: ref == 0
		:: ref != 0 ->
			if
			:: w[ref - 1].state == SENT && w[ref - 1].id == CHANNEL &&
			   w[ref - 1].gen == gen -> n = i + 1
			:: else -> slot_ref[(at + i) % CAP] = 0
			fi
		fi;
		i++
	:: i >= room -> break
	od;
	if
	:: n > 0 -> tail = (at + n) % LAPS
	:: n == 0
	fi;
	d_step { i = 0; n = 0; at = 0; room = 0; ref = 0; gen = 0 }
}

/* FUTEX_WAIT on the bell and on deaths: both are looked at as it falls asleep. */
inline doze(what)
{
	atomic {
		if
		:: heard != 0 && bell[what] == heard && deaths == saw -> asleep[me] = what
		:: else
		fi;
		heard = 0
	};
	if :: asleep[me] == AWAKE fi
}

inline sleep_lock(l, what)
{
	lie_down(what);
	d_step { seen = l.id; turn = l.turn };
	if
	:: seen == 0 || seen == ORPHAN
	:: seen != 0 && seen != ORPHAN ->
		if
		:: GONE(seen)
		:: !GONE(seen) -> doze(what)
		fi
	fi;
	d_step { seen = 0; turn = 0; heard = 0 }
}

proctype sender(byte me)
{
	byte b, ref, gen, i, n, at, room, seen, turn, saw, rung, heard;
	bool ok, over;

	{
		do
		:: sends[me] > 0 && holds[me] == 0 ->
			/* Its slice: two blocks, free or returned. */
			atomic {
				sends[me]--;
				if
				:: w[2 * me - 2].state == FREE || w[2 * me - 2].state == FREED ->
					b = 2 * me - 2
				:: else -> b = 2 * me - 1
				fi
			};
			atomic {
				if
				:: w[b].state == FREE || w[b].state == FREED ->
					w[b].state = HELD; w[b].id = me;
					w[b].gen = w[b].gen % 3 + 1;
					holds[me] = b + 1; gen = w[b].gen
				:: else
				fi
			}
		:: holds[me] != 0 ->
			saw = deaths;
			lock_take(sl);
			if
			:: !ok -> sleep_lock(sl, SLOCK)
			:: ok ->
				if :: over && !(broken == COMPLETION_SKIPPED) -> complete() :: else fi;
				d_step { b = holds[me] - 1; gen = w[b].gen };
				if
				:: (tail + LAPS - head) % LAPS == CAP ->
					sl.id = 0;
					ring(ITEM); ring(SLOCK);
					lie_down(ROOM);
					at = head;
					if
					:: (tail + LAPS - at) % LAPS == CAP -> doze(ROOM)
					:: else
					fi;
					d_step { at = 0; heard = 0 }
				:: else ->
					atomic { if :: broken == WAKE_EARLY -> ring(ITEM) :: else fi };
					atomic { if :: (broken == PUBLISHED_EARLY) -> tail = (tail + 1) % LAPS; at = 1 :: else fi };
					d_step {
						if
						:: broken == SLOT_LATE
						:: else ->
							slot_ref[(tail + LAPS - at) % CAP] = b + 1;
							slot_gen[(tail + LAPS - at) % CAP] = gen
						fi
					};
					atomic {
						assert(w[b].state == HELD && w[b].id == me && w[b].gen == gen);
						w[b].state = SENT; w[b].id = CHANNEL;
						holds[me] = 0
					};
					atomic {
						if
						:: broken == SLOT_LATE ->
							slot_ref[tail % CAP] = b + 1;
							slot_gen[tail % CAP] = gen
						:: else
						fi
					};
				d_step { if :: at == 0 -> tail = (tail + 1) % LAPS :: else fi; at = 0 };
					sl.id = 0;
					if
					:: broken == WAKE_EARLY
					:: broken != WAKE_EARLY -> ring(ITEM)
					fi;
					ring(SLOCK)
				fi
			fi;
			d_step { ok = false; over = false; saw = 0; gen = 0; b = 0; n = 0; at = 0 }
		:: sends[me] == 0 && holds[me] == 0 -> break
		od;
	} unless { killed[me] -> exited[me] = 1 }
}

proctype receiver(byte me)
{
	byte b, ref, gen, i, n, at, room, seen, turn, saw, rung, heard;
	bool ok, over, skipped;

	{
end:
		do
		:: holds[me] != 0 ->
			/* Frees it, for the owner. */
			atomic {
				b = holds[me] - 1;
				assert(w[b].state == HELD && w[b].id == me);
				w[b].state = FREED; w[b].id = 0;
				holds[me] = 0; b = 0
			}
		:: holds[me] == 0 ->
			saw = deaths;
			lock_take(rl);
			if
			:: !ok -> sleep_lock(rl, RLOCK)
			:: ok ->
				skipped = false;
				if
				:: head == tail ->
					/* Did a sender die in the midst of it? */
					if
					:: sl.id == ORPHAN || (sl.id != 0 && GONE(sl.id)) ->
						lock_take(sl);
						if
						:: ok ->
							if :: over && !(broken == COMPLETION_SKIPPED) -> complete() :: else fi;
							sl.id = 0;
							ring(ITEM); ring(SLOCK)
						:: !ok
						fi
					:: else
					fi
				:: else
				fi;
				if
				:: head != tail ->
					atomic { if :: (broken == HEAD_EARLY) -> at = head; head = (head + 1) % LAPS :: else -> at = head fi };
					atomic { ref = slot_ref[at % CAP]; gen = slot_gen[at % CAP] };
					atomic { if :: (broken == CLEARED_EARLY) -> slot_ref[at % CAP] = 0 :: else fi };
					if
					:: ref != 0 ->
						atomic {
							if
							:: w[ref - 1].state == SENT && w[ref - 1].id == CHANNEL &&
							   w[ref - 1].gen == gen ->
								w[ref - 1].state = HELD; w[ref - 1].id = me;
								assert((holds[1] != ref || killed[1]) && (holds[2] != ref || killed[2]) &&
								       (holds[3] != ref || killed[3]) && (holds[4] != ref || killed[4]));
								holds[me] = ref
							:: else
							fi
						}
					:: ref == 0
					fi;
					atomic { if :: (broken == SLOT_KEPT) :: else -> slot_ref[at % CAP] = 0 fi };
					atomic { if :: (broken == HEAD_EARLY) :: else -> head = (at + 1) % LAPS fi };
					d_step { at = 0; ref = 0; gen = 0; skipped = true }
				:: else
				fi;
				rl.id = 0;
				ring(ROOM); ring(RLOCK);
				if
				:: skipped
				:: !skipped ->
					atomic { if :: broken == SLEEP_LATE :: else -> lie_down(ITEM) fi };
					at = tail;
					if
					:: at == head ->
						if
						:: sl.id == ORPHAN || (sl.id != 0 && GONE(sl.id))
						:: else ->
							atomic { if :: broken == SLEEP_LATE -> lie_down(ITEM) :: else fi };
							doze(ITEM)
						fi
					:: else
					fi;
					d_step { at = 0; heard = 0 }
				fi;
				skipped = false
			fi;
			d_step { ok = false; over = false; saw = 0; gen = 0; b = 0; n = 0; at = 0 }
		od
	} unless { killed[me] -> exited[me] = 1 }
}

proctype killer()
{
	do
	:: deaths_left > 0 ->
		atomic {
			if
			:: takes[1] && !killed[1] -> killed[1] = 1; asleep[1] = AWAKE
			:: takes[2] && !killed[2] -> killed[2] = 1; asleep[2] = AWAKE
			:: takes[3] && !killed[3] -> killed[3] = 1; asleep[3] = AWAKE
			:: takes[4] && !killed[4] -> killed[4] = 1; asleep[4] = AWAKE
			fi;
			deaths_left--
		}
	:: break
	od
}

inline rise(p)
{
	d_step {
		dead[p] = 0; swept[p] = 0; killed[p] = 0; exited[p] = 0; holds[p] = 0;
		sends[p] = 1; restarts_left--
	}
}

#define DUE(p) (dead[p] && !swept[p])
#define FREE_ID(p) (restarts_left > 0 && dead[p] && (swept[p] || (broken == REUSED_EARLY)))

inline sweep_lock(l)
{
	d_step {
		if
		:: l.id != 0 && l.id < P && set[l.id] && !(broken == LOCKS_UNSWEPT) -> l.id = ORPHAN
		:: else
		fi
	}
}

proctype daemon()
{
	byte b;
	bit set[P];

end:	do
	:: exited[1] && !dead[1] -> dead[1] = 1; announce()
	:: exited[2] && !dead[2] -> dead[2] = 1; announce()
	:: exited[3] && !dead[3] -> dead[3] = 1; announce()
	:: exited[4] && !dead[4] -> dead[4] = 1; announce()
	:: DUE(1) || DUE(2) || DUE(3) || DUE(4) ->
		d_step {
			set[1] = DUE(1); set[2] = DUE(2); set[3] = DUE(3); set[4] = DUE(4);
			if
			:: (broken == SWEEP_ONE) && set[1] -> set[2] = 0; set[3] = 0; set[4] = 0
			:: (broken == SWEEP_ONE) && !set[1] && set[2] -> set[3] = 0; set[4] = 0
			:: (broken == SWEEP_ONE) && !set[1] && !set[2] && set[3] -> set[4] = 0
			:: else
			fi
		};
		b = 0;
		do
		:: b < B ->
			d_step {
				if
				:: (w[b].state == HELD || w[b].state == SENT) &&
				   w[b].id < P && set[w[b].id] ->
					w[b].state = FREED; w[b].id = 0
				:: else
				fi;
				b++
			}
		:: b == B -> break
		od;
		sweep_lock(sl);
		sweep_lock(rl);
		d_step {
			b = 1;
			do
			:: b < P ->
				if
				:: set[b] || ((broken == SWEEP_ONE) && dead[b]) ->
					swept[b] = 1
				:: else
				fi;
				set[b] = 0;
				b++
			:: b == P -> break
			od;
			b = 0
		};
		announce()
	:: FREE_ID(1) -> atomic { rise(1); run sender(1) }
	:: FREE_ID(2) -> atomic { rise(2); run sender(2) }
	:: FREE_ID(3) -> atomic { rise(3); run receiver(3) }
	:: FREE_ID(4) -> atomic { rise(4); run receiver(4) }
	od
}

#define KNOWN(b, p) (w[b].id == p && holds[p] == b + 1 && !killed[p])
#define IN_SLOT(b, i) (slot_ref[i] == b + 1 && slot_gen[i] == w[b].gen)
#define PUBLISHED(i) ((i + CAP - head % CAP) % CAP < (tail + LAPS - head) % LAPS)

inline walk_block(b)
{
	assert(w[b].state != HELD || KNOWN(b, 1) || KNOWN(b, 2) || KNOWN(b, 3) || KNOWN(b, 4));
	assert(w[b].state != SENT ||
	       (IN_SLOT(b, 0) && (PUBLISHED(0) || sl.id == ORPHAN)) ||
	       (IN_SLOT(b, 1) && (PUBLISHED(1) || sl.id == ORPHAN)))
}

/* A holder of a lock is awake: so there is none when nothing moves. */
inline walk_sleeper(p)
{
	assert(asleep[p] != ITEM || (head == tail && sl.id == 0));
	assert(asleep[p] != ROOM || (tail + LAPS - head) % LAPS == CAP);
	assert(asleep[p] != SLOCK && asleep[p] != RLOCK)
}

init {
	atomic {
		c_code {
			now.broken = given("BROKEN", 0);
			now.takes[1] = given("SENDERS", 1) > 0;
			now.takes[2] = given("SENDERS", 1) > 1;
			now.takes[3] = given("RECEIVERS", 1) > 0;
			now.takes[4] = given("RECEIVERS", 1) > 1;
			now.sends[1] = now.sends[2] = given("SENDS", 1);
			now.deaths_left = given("DEATHS", 1);
			now.restarts_left = given("RESTARTS", 0);
		};
		head = LAPS - 1; tail = LAPS - 1;
		if :: takes[1] -> run sender(1) :: else fi;
		if :: takes[2] -> run sender(2) :: else fi;
		if :: takes[3] -> run receiver(3) :: else fi;
		if :: takes[4] -> run receiver(4) :: else fi;
		run daemon();
		run killer()
	};
	timeout;
	d_step {
		walk_block(0); walk_block(1); walk_block(2); walk_block(3);
		walk_sleeper(1); walk_sleeper(2); walk_sleeper(3); walk_sleeper(4);
		assert(sl.id != 0 || PUBLISHED(0) || slot_ref[0] == 0);
		assert(sl.id != 0 || PUBLISHED(1) || slot_ref[1] == 0)
	}
}
