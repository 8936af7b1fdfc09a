/* The part that shared_lock.pml and semaphore.pml have in common: a set of leases, and a line of waiters. Their first
 * comments explain it; family_processes.pml has the processes. A model defines, before this:
 *
 *   is_writer(p)             p writes under a SharedLock, so it takes the gate and is not in the set
 *
 * and behind this:
 *
 *   run_script(a, waited)    the script by which the process of connection a gets what it wants; waited: behind a BLPOP
 *   run_release(a, value)    the script by which it gives that back; sets `released`
 *   run_extend(value)        the script of a renewal; sets `extended`
 *   signal_arrival(waited)   the signals at the end of join
 *   signal_departure()       the signals at the end of leave
 *   check_entry()            the assertions about a process that enters
 *   could_enter(p)           there is room for process p, so it must not be blocked in the line
 */

#ifndef N
#define N 3 /* processes */
#endif
#ifndef IDS
#define IDS 1 /* ids of each process; more than one are needed if an old one may be left behind */
#endif
#ifndef SLICES
#define SLICES 2 /* a slice ends: 0 never, 1 when a lease has ended since its waiter asked, 2 at any time */
#endif
#ifndef CRASHES
#define CRASHES 0 /* how many processes may die */
#endif
#define ANY_NUMBER 255
#ifndef LOSSES
#define LOSSES 0 /* how often a connection may break, or ANY_NUMBER */
#endif
#ifndef ENDINGS
#define ENDINGS 0 /* with EXPIRY: how many leases of living processes may end, or ANY_NUMBER */
#endif
/* EXPIRY          Leases end: that of a process that died at any time, those of the others as ENDINGS says.
 * RENEWAL         Holders renew their leases. Without it a renewed lease is a longer lease.
 * STAYS           One holder stays for ever.
 * LATE            The server comes upon a broken connection at any time. Otherwise it knows at once.
 * SIGNAL_MAY_END  A signal may expire before a waiter that was told "busy" gets to its BLPOP. Otherwise
 *                 signal_expire is longer than that takes.
 * TURNS           As in lock.pml: between a BLPOP that ends and the rest of its pipeline others may come. */

#if N == 2
#define any_process(property) (property(0) || property(1))
#define pick_old(c, property) \
  if :: property(2) -> c = 2 :: property(3) -> c = 3 fi
#elif N == 3
#define any_process(property) (property(0) || property(1) || property(2))
#define pick_old(c, property) \
  if :: property(3) -> c = 3 :: property(4) -> c = 4 :: property(5) -> c = 5 fi
#else
#define any_process(property) (property(0) || property(1) || property(2) || property(3))
#define pick_old(c, property) \
  if :: property(4) -> c = 4 :: property(5) -> c = 5 :: property(6) -> c = 6 :: property(7) -> c = 7 fi
#endif

/* Each process has two connections: its own, on which it reads the replies, and an old one that broke. */
#define CONNECTIONS (2 * N)
#define OWN (_pid)
#define OLD (N + _pid)
#define process_of(c) ((c) % N)

/* An id tells its process, for the model's sake. The set is a number with one bit for each id. */
#define LAST_ID (N * IDS)
#define first_id(p) (IDS * (p) + 1)
#define process_of_id(value) (((value) - 1) / IDS)
#define bit(value) (1 << ((value) - 1))

mtype:Command = { none, attempt, wait, drain, release };
/* A command of an own connection is sent and run in one step, that of its process. So "sent" is for old ones only. */
mtype:Stage = { quiet, sent, blocked, woken, answered };

typedef Connection {
  mtype:Stage stage = quiet;
  mtype:Command command = none; /* that blocks it, or was sent on an old one */
  byte id;                      /* that it names, for old ones */
}
Connection connection[CONNECTIONS];

/* The server's side. */
short members;                          /* ids in the set */
short over;                             /* those of them whose lease has ended: a purge takes them out */
byte signals;                           /* the length of the signal list */
chan queue = [CONNECTIONS] of { byte }; /* connections that BLPOP blocks, in the order of their arrival */
#ifdef WRITERS
byte gate;                              /* the id of the writer that holds it; 0 if there is none */
byte drains;                            /* the length of the drained list */
chan entered_queue = [CONNECTIONS] of { byte }; /* connections of writers, blocked by BLPOP drained */
#else
#define gate 0
#endif

/* The processes' side. */
byte id[N];          /* of the present acquisition */
bool acquiring[N];   /* wants to hold */
bool granted[N];     /* the reply on its own connection says that it holds */
bool entered[N];     /* or that it has the gate, and readers are left */
bool good[N];        /* and the lease of a grant has not ended */
bool holds[N];       /* it has entered */
bool lease_ended[N]; /* a lease has ended since its waiter asked: so has the slice */
byte crashes_left = CRASHES;
byte losses_left = LOSSES;
byte endings_left = ENDINGS;
#ifdef OLD_LEASE_FOR_NEW
bool overrated[N];
#endif
#ifdef STAYS
byte stays_left = 1;
#endif

/* Used within one step only. */
hidden byte w, n, x;
hidden short room;
hidden byte found, released, extended;
hidden byte surely_owned, alone, permitted, honest;

/* ---- The server's commands ---- */

inline forget(a) {
  connection[a].stage = quiet;
  connection[a].command = none;
  connection[a].id = 0
}

#define id_on(a) ((a) < N -> id[(a) % N] : connection[a].id)
#define is_member(value) ((members & bit(value)) != 0)
#define is_over(value) ((over & bit(value)) != 0)

/* ZREMRANGEBYSCORE set -inf (now, as the first thing that a script of connection a does. */
inline purge(a) {
#ifdef CLIENT_CLOCK
  if
  :: process_of(a) == 0 -> over = members & ~bit(first_id(0)) /* whose clock is fast */
  :: else
  fi;
#endif
#ifdef COUNT_THE_DEAD
  skip
#else
  members = members & ~over;
  over = 0
#endif
}

/* Sets `room`: permits - ZCARD set. A reading always finds room. */
inline measure_room() {
#ifdef PERMITS
  room = PERMITS;
  n = 1;
  do
  :: n <= LAST_ID ->
     if
     :: is_member(n) -> room--
     :: else
     fi;
     n++
  :: else -> n = 0; break
  od
#else
  room = 1
#endif
}

/* join: the script of lock_shared and acquire. */
#ifdef NO_DOUBT
#define was_found(value) false
#else
#define was_found(value) is_member(value)
#endif
#ifdef IGNORE_GATE
#define gate_is_shut false
#else
#define gate_is_shut (gate != 0)
#endif
inline run_join(a, waited) {
  x = id_on(a);
  purge(a);
  found = was_found(x);
  measure_room();
  if
  :: found || (!gate_is_shut && room > 0) ->
     members = members | bit(x);
     over = over & ~bit(x);
     measure_room();
     signal_arrival(waited);
     answer(a, true, false)
  :: else -> answer(a, false, false)
  fi
}

/* The reply of a script. That of an old connection is not read. */
inline answer(a, is_granted, is_entered) {
  if
  :: a < N ->
     granted[a] = is_granted;
     entered[a] = is_entered;
     good[a] = is_granted;
#ifdef OLD_LEASE_FOR_NEW
     overrated[a] = is_granted && found;
#endif
     lease_ended[a] = false;
     connection[a].stage = answered;
     connection[a].command = none
  :: else -> forget(a)
  fi
}

/* leave: the script of unlock_shared and release. */
inline run_leave(a, value) {
#ifndef LEAVE_WITHOUT_PURGE
  purge(a);
#endif
  released = is_member(value);
  members = members & ~bit(value);
  over = over & ~bit(value);
  if
  :: released -> signal_departure()
  :: else
  fi
}

/* The BLPOP of a connection has ended, by a signal or by its timeout. */
inline unblock(a) {
#ifdef TURNS
  connection[a].stage = woken
#else
  run_script(a, true)
#endif
}

/* Blocked clients get what a script pushed when it has ended, the first one first; their scripts may push again. */
inline serve_waiters() {
  do
  :: signals > 0 && len(queue) > 0 -> signals--; queue ? w; unblock(w)
#ifdef WRITERS
  :: !(signals > 0 && len(queue) > 0) && drains > 0 && len(entered_queue) > 0 ->
     drains--;
     entered_queue ? w;
     unblock(w)
#endif
  :: else -> break
  od;
  w = 0
}

/* BLPOP signal, or drained if the process has entered. */
inline run_blpop(a, which) {
  connection[a].command = which;
  if
#ifdef WRITERS
  :: which == drain && drains > 0 -> drains--; unblock(a)
  :: which == drain && drains == 0 -> connection[a].stage = blocked; entered_queue ! a
#endif
  :: which == wait && signals > 0 -> signals--; unblock(a)
  :: which == wait && signals == 0 -> connection[a].stage = blocked; queue ! a
  fi;
  serve_waiters()
}

inline leave_queue(a) {
#ifdef WRITERS
  if
  :: connection[a].command == drain -> entered_queue ?? eval(a)
  :: else -> queue ?? eval(a)
  fi
#else
  queue ?? eval(a)
#endif
}

/* ---- The processes' view ---- */

#define is_acquiring(p) (acquiring[p])
#define is_granted(p) (acquiring[p] && good[p])
#define is_certain(p) (holds[p] && good[p])
