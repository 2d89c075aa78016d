/*
 * Records of lanes, the bell, and who sleeps over what (proto/lane.h).
 *
 * Clients put records, ring if the daemon says that it sleeps, and wait for their records, or not;
 * the daemon takes what it happens to look at, puts records off until a job has ended, says that it
 * sleeps, looks at all heads once more, and sleeps. A processor keeps what it has stored to itself
 * for as long as it likes (`buffer`, which a fence empties), for what is to be shown is that there are
 * enough of those. When nothing can move, all that was put has been taken, and nobody waits.
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
#define BELL_BEFORE_HEAD 1
#define BELL_UNFENCED 2
#define BYTE_DROPPED 3
#define DUE_EXACTLY 4
#define HEAD_BEFORE_RECORD 5
#define HEAD_UNFENCED 6
#define JOB_SILENT 7
#define LOOKED_BEFORE 8
#define NUMBER_KEPT 9
#define TAKEN_UNFENCED 10
#define WAITER_BEFORE_TAKEN 11

byte broken;

#define C 2           /* clients are 0 and 1 */
#define DAEMON 2      /* its buffer */

/* Memory. */
byte record[C];       /* so many are whole */
byte head[C];
byte taken[C];
byte waiting[C];
byte sleeping;        /* the bell */

#define RECORD 0
#define HEAD 2
#define TAKEN 4
#define WAITING 6
#define SLEEPING 8

chan buffer[3] = [2] of { byte, byte };

byte bytes;           /* on the sockets */
bit asleep[C];        /* on `taken` */
bit over[C];
byte put[C], to_put[C];
byte woken[C];        /* what `sleeping` was when it rang */
byte seen[C];
byte jobs_left;

#define EMPTY(who) (len(buffer[who]) == 0)

inline land(who)
{
	atomic {
		buffer[who]?what, value;
		if
		:: what < HEAD -> record[what - RECORD] = value
		:: what >= HEAD && what < TAKEN -> head[what - HEAD] = value
		:: what >= TAKEN && what < WAITING -> taken[what - TAKEN] = value
		:: what >= WAITING && what < SLEEPING -> waiting[what - WAITING] = value
		:: what == SLEEPING -> sleeping = value
		fi;
		what = 0; value = 0
	}
}

proctype memory()
{
	byte what, value;

end:	do
	:: !EMPTY(0) -> land(0)
	:: !EMPTY(1) -> land(1)
	:: !EMPTY(DAEMON) -> land(DAEMON)
	od
}

inline fence(who)
{
	EMPTY(who)
}

inline look_at_bell()
{
	seen[me] = sleeping;
	d_step {
		if
		:: seen[me] != 0 && seen[me] != woken[me] -> woken[me] = seen[me]; bytes++
		:: else
		fi;
		seen[me] = 0
	}
}

/*
 * Until `until` are taken. FUTEX_WAIT looks at the word behind a lock: what was stored before can be
 * seen then.
 */
inline await()
{
	do
	:: taken[me] >= until -> break
	:: else ->
		buffer[me]!WAITING + me, until;
		fence(me);
		was = taken[me];
		if
		:: was < until ->
			atomic { if :: taken[me] == was -> asleep[me] = 1 :: else fi };
			!asleep[me]
		:: else
		fi;
		buffer[me]!WAITING + me, 0;
		was = 0
	od;
	until = 0
}

proctype client(byte me)
{
	byte was, until;

	do
	:: put[me] < to_put[me] ->
		put[me]++;
		if
		:: broken == HEAD_BEFORE_RECORD ->
			buffer[me]!HEAD + me, put[me];
			buffer[me]!RECORD + me, put[me]
		:: broken == BELL_BEFORE_HEAD ->
			buffer[me]!RECORD + me, put[me];
			look_at_bell();
			buffer[me]!HEAD + me, put[me]
		:: else ->
			buffer[me]!RECORD + me, put[me];
			buffer[me]!HEAD + me, put[me]
		fi;
		if
		:: broken == HEAD_UNFENCED
		:: else -> fence(me)
		fi;
		if
		:: broken == BELL_BEFORE_HEAD
		:: else -> look_at_bell()
		fi;
		/* For all of them, or for room. */
		if
		:: until = put[me]; await()
		:: put[me] > 1 -> until = put[me] - 1; await()
		:: true
		fi
	:: else -> break
	od;
	until = put[me];
	await();
	over[me] = 1
}

/* `n` of its records, which is no more than there are. */
inline take(c)
{
	assert(record[c] >= took[c] + n);
	took[c] = took[c] + n;
	if
	:: broken == WAITER_BEFORE_TAKEN -> waiter = waiting[c]
	:: else
	fi;
	buffer[DAEMON]!TAKEN + c, took[c];
	if
	:: broken == TAKEN_UNFENCED
	:: else -> fence(DAEMON)
	fi;
	if
	:: broken == WAITER_BEFORE_TAKEN
	:: else -> waiter = waiting[c]
	fi;
	d_step {
		if
		:: waiter != 0 && (took[c] == waiter || (took[c] > waiter && broken != DUE_EXACTLY)) ->
			asleep[c] = 0
		:: else
		fi;
		waiter = 0; n = 0
	}
}

/* One of them, or all; and the next one may have to wait. */
inline take_some(c)
{
	atomic {
		n = head[c] - took[c];
		if
		:: n > 1 -> n = 1
		:: true
		fi
	};
	take(c);
	atomic {
		if
		:: jobs_left > 0 -> jobs_left--; waits[c] = 1
		:: true
		fi
	}
}

#define READY(c) (head[c] != took[c] && !waits[c])
#define IS_OF_USE(c, k) (woken[c] != k && seen[c] != k)

/* Another number than whatever anybody remembers: as many times as it takes. */
inline say_it_sleeps()
{
	d_step {
		number = 1;
		do
		:: number != sleeping && IS_OF_USE(0, number) && IS_OF_USE(1, number) -> break
		:: broken == NUMBER_KEPT -> number = 1; break
		:: else -> number++
		od
	};
	buffer[DAEMON]!SLEEPING, number;
	number = 0;
	if
	:: broken == BELL_UNFENCED
	:: else -> fence(DAEMON)
	fi
}

inline say_it_wakes()
{
	buffer[DAEMON]!SLEEPING, 0;
	fence(DAEMON)
}

inline look_again()
{
	found = READY(0);
	if
	:: !found -> found = READY(1)
	:: else
	fi
}

proctype daemon()
{
	byte took[C], n, waiter, number;
	bit waits[C], found;

end:	if
	:: bytes > 0 -> bytes--
	:: waits[0] || waits[1] ->
		waits[0] = 0; waits[1] = 0;
		if
		:: broken == JOB_SILENT -> goto end
		:: else
		fi
	fi;
	say_it_wakes();
polls:	do
	:: READY(0) -> take_some(0)
	:: READY(1) -> take_some(1)
	:: bytes > 0 -> bytes--
	:: waits[0] || waits[1] -> waits[0] = 0; waits[1] = 0
	:: true -> break /* it has looked for long enough, here and there */
	od;
	if
	:: broken == LOOKED_BEFORE ->
		look_again();
		say_it_sleeps()
	:: else ->
		say_it_sleeps();
		look_again()
	fi;
	if
	:: broken == BYTE_DROPPED -> bytes = 0
	:: else
	fi;
	if
	:: found ->
		found = 0;
		say_it_wakes();
		goto polls
	:: else -> goto end
	fi
}

init {
	atomic {
		c_code {
			now.broken = given("BROKEN", 0);
			now.to_put[0] = given("ONE_PUTS", 2);
			now.to_put[1] = given("OTHER_PUTS", 1);
			now.jobs_left = given("JOBS", 0);
		};
		sleeping = 1;
		run memory();
		run client(0);
		run client(1);
		run daemon()
	};
	timeout;
	assert(over[0] && over[1]);
	assert(taken[0] == to_put[0] && taken[1] == to_put[1])
}
