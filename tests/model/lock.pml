/* The wire protocol of redis_lock, for the model checker SPIN (https://spinroot.com): every order of steps of
 * two or three processes that contend for one lock.
 *
 *   tests/model/check.sh <name>     one of the tests below, in 1 to 10 seconds
 *   ctest -L model                  all of them
 *
 * WHAT IS MODELLED
 *
 * Server        A command or script is one step. A BLPOP that finds no signal puts its connection at the end of
 *               a queue, and the rest of its pipeline (SET NX PX, PTTL and, in doubt, GET) is held back. It runs
 *               when the BLPOP ends: by a signal, which goes to the first of the queue, or with the slice.
 * Process       One acquisition after another, until it stops for good, if ever: it barges in with a first attempt,
 *               then waits, holds, releases; or gives up, when it is told that the lock is held (deadline). One that
 *               is frozen is one that makes no step for a while.
 * Lease         Redis ends it at any time, without a signal. It was counted from before the SET was sent, so its
 *               holder takes it for over no later: at that moment, or earlier, before it has entered.
 * Lost replies  A connection breaks before or after the server has run what was sent last. The process goes on
 *               with a new one and asks for the holder's id, or gives up and releases its own. On the old connection
 *               the server runs the rest at any time later, or never: a release, a SET, or a BLPOP, which takes its
 *               turn in the queue, and a signal; until the server notices that the connection is closed.
 * Crash         The same, and the process makes no step any more: as holder, as waiter, or as a waiter
 *               that has just been granted the lock.
 *
 * WHAT IS LEFT OUT
 *
 * Durations: a lease, a slice and a signal end at any time, within the order that the design fixes. So nothing is
 * said of how long a wait takes, of fairness, or of clocks that run at different rates. Also: threads and their
 * gate; renewal and extend() (to the model, they are longer leases); reset(); fencing; a server's failover,
 * restart or eviction; servers that block for whole seconds. A deferred release is a release like others. A
 * process has one broken connection at a time, and three ids: a fresh one is in no key and on no connection.
 *
 * WHAT IS CHECKED
 *
 * assert(surely_owned)  Nobody enters on a lease that is over.
 * assert(alone)         Nobody enters while another holds it on a good lease: mutual exclusion.
 * assert(signals <= 1)  The signal list has at most one element.
 * No deadlock           Where there is no next step, each process has stopped or crashed.
 * ltl served            While somebody waits, somebody alive gets the lock, again and again: no wake-up is lost,
 *                       and a lock that is free, or held by the dead, is taken in the end. (Under weak fairness:
 *                       what could be done all the time is done in the end.)
 *
 * TESTS THAT HOLD. A process may stop before it begins: so three processes cover two.
 *
 * signals       3 processes, no faults, no expiry, and no slice ever ends: the signal is enough.
 * expiry        3 processes that freeze, and leases that end, at any time.
 * crash         3 processes, one dies. A slice ends behind the end of a lease and at no other time: enough,
 *               if the server runs the rest of a pipeline at once.
 * crash-turns   The same on a server that works in turns (TURNS below), and slices that also end otherwise.
 * doubt         3 processes, no expiry, 2 replies are lost; the server knows at once that a connection is closed.
 * late          3 processes, one dies, one reply is lost, and the server comes upon old connections late.
 * late-2        2 processes, one dies, 3 replies are lost; else as late. (late-safe-2 looks for deadlock.)
 * late-safe     3 processes, 2 replies are lost; else as late. Mutual exclusion and deadlock only.
 * late-safe-2   2 processes, one dies, any number of replies is lost. Mutual exclusion and deadlock only.
 *
 * MUTATIONS. Each fails, and the test passes if it fails with the error in brackets.
 *
 * no-signal            release pushes no signal [deadlock]
 * not-pipelined        SET is sent when BLPOP was answered; one who got the signal dies before [served]
 * reused-id            a process has one id for all of its acquisitions: a late release frees a later one [alone]
 * same-id-after-return an acquisition gives a grant back whose lease is over, gets no reply to that, and goes on
 *                      under the same id: that release, if it comes late, frees the next grant [alone]
 * lease-from-reply     a lease is counted from the reply [alone]
 * full-lease-in-doubt  GET == id is taken for a whole lease, though it may have begun long ago [alone]
 * believe-expired      a grant is believed though its lease is over [surely_owned]
 * release-any-id       release does not compare the id [alone]
 * signals-pile-up      release does not delete the old signal [signals <= 1]
 * no-doubt             after a lost reply nobody asks whether the lock is ours already [served]
 * keep-on-giving-up    an acquisition that is given up in doubt does not release its id [served]
 *
 * LIMITS: what needs the slices. Without them each fails, too.
 *
 * limit-late-signal    a waiter's BLPOP comes longer behind its SET than signal_expire [deadlock]
 * limit-turns          a waiter's connection closes in the turn of the server in which it gets the signal [served]
 * limit-dead-holder    a holder dies [deadlock]
 */

#ifndef N
#define N 3 /* processes */
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
/* EXPIRY          Leases end.
 * LATE            The server comes upon a broken connection at any time. Otherwise it knows at once.
 * SIGNAL_MAY_END  The signal may expire before a waiter that was told "busy" gets to its BLPOP. Otherwise
 *                 signal_expire is longer than that takes.
 * TURNS           Redis reads all connections that have sent something, one after the other, and only then runs
 *                 the rest of pipelines whose BLPOP has ended. So others may come between, and the rest is dropped
 *                 if its connection turns out to be closed in that turn. Otherwise the rest runs at once. */

#if N == 2
#define any_process(property) (property(0) || property(1))
#define pick(c, property) \
  if :: property(0) -> c = 0 :: property(1) -> c = 1 :: property(2) -> c = 2 :: property(3) -> c = 3 fi
#define pick_old(c, property) \
  if :: property(2) -> c = 2 :: property(3) -> c = 3 fi
#else
#define any_process(property) (property(0) || property(1) || property(2))
#define pick(c, property) \
  if :: property(0) -> c = 0 :: property(1) -> c = 1 :: property(2) -> c = 2 \
     :: property(3) -> c = 3 :: property(4) -> c = 4 :: property(5) -> c = 5 fi
#define pick_old(c, property) \
  if :: property(3) -> c = 3 :: property(4) -> c = 4 :: property(5) -> c = 5 fi
#endif

/* Each process has two connections: its own, on which it reads the replies, and an old one that broke. */
#define CONNECTIONS (2 * N)
#define OWN (_pid)
#define OLD (N + _pid)
#define process_of(c) ((c) % N)

/* An id tells its process, for the model's sake. */
#define first_id(p) (3 * (p) + 1)
#define process_of_id(value) (((value) - 1) / 3)

mtype:Command = { none, attempt, wait, release };
/* A command of an own connection is sent and run in one step, that of its process. So "sent" is for old ones only. */
mtype:Stage = { quiet, sent, blocked, woken, answered };

typedef Connection {
  mtype:Stage stage = quiet;
  mtype:Command command = none; /* which was sent */
  byte id;                      /* that it names */
}
Connection connection[CONNECTIONS];

/* The server's side. */
byte lock;                              /* the id of the holder; 0 if there is none */
byte signals;                           /* the length of the signal list */
chan queue = [CONNECTIONS] of { byte }; /* connections that BLPOP blocks, in the order of their arrival */

/* The processes' side. */
byte id[N];          /* of the present acquisition */
bool acquiring[N];   /* wants the lock */
bool in_doubt[N];    /* a SET whose reply was lost may have run, or may run yet */
bool granted[N];     /* the reply on its own connection says that the lock is its */
bool good[N];        /* and the lease of that has not ended */
bool holds[N];       /* it has entered */
bool lease_ended[N]; /* the lease that it was told of is over: so is the slice which it chose by that */
byte crashes_left = CRASHES;
byte losses_left = LOSSES;
#ifdef FULL_LEASE_IN_DOUBT
bool overrated[N];
#endif

/* Used within one step only. */
hidden byte w, n, x;
hidden byte surely_owned, alone;

/* ---- The server's commands ---- */

inline forget(a) {
  connection[a].stage = quiet;
  connection[a].command = none;
  connection[a].id = 0
}

/* SET lock id NX PX, PTTL lock, and in doubt GET lock. */
inline run_set(a) {
  if
  :: a < N ->
     granted[a] = (lock == 0 || (in_doubt[a] && lock == connection[a].id));
     good[a] = granted[a];
     lease_ended[a] = false;
#ifdef FULL_LEASE_IN_DOUBT
     overrated[a] = (lock != 0 && granted[a]);
#endif
     connection[a].stage = answered
  :: else
  fi;
  if
  :: lock == 0 -> lock = connection[a].id
  :: else
  fi;
  if
  :: a >= N -> forget(a) /* nobody reads the answer */
  :: else
  fi
}

/* The BLPOP of a connection has ended, by the signal or by its timeout. */
inline unblock(a) {
#if defined(NOT_PIPELINED)
  if
  :: a < N -> connection[a].stage = answered
  :: else -> forget(a)
  fi
#elif defined(TURNS)
  connection[a].stage = woken
#else
  run_set(a)
#endif
}

inline run_blpop(a) {
  if
  :: signals > 0 -> signals--; unblock(a)
  :: else -> connection[a].stage = blocked; queue ! a
  fi
}

/* Blocked clients get what a script pushes when it has ended, the first one first. */
inline run_release(released) {
  if
#ifdef RELEASE_ANY_ID
  :: lock != 0 ->
#else
  :: lock == released ->
#endif
#ifndef SIGNALS_PILE_UP
     signals = 0;
#endif
#ifndef NO_SIGNAL
     signals++;
#endif
     assert(signals <= 1);
     lock = 0;
     if
     :: signals > 0 && len(queue) > 0 -> signals--; queue ? w; unblock(w)
     :: else
     fi
  :: else
  fi
}

/* ---- A process ---- */

/* Names the next acquisition. */
#define in_use(value) (lock == value || connection[OLD].id == value)
inline take_id() {
  id[_pid] = first_id(_pid);
#ifndef REUSED_ID
  do
  :: in_use(id[_pid]) -> id[_pid]++
  :: else -> break
  od;
  assert(process_of_id(id[_pid]) == _pid)
#endif
}

/* An acquisition goes on after it has given a grant back whose lease was over. */
inline go_on() {
  forget(OWN);
  granted[_pid] = false;
  good[_pid] = false;
  lease_ended[_pid] = true /* it was told nothing of another's lease, so its slice is short */
}

/* If the reply to that release was lost, the server may come upon it later: its id is spent. */
inline go_on_renamed() {
  go_on();
#ifndef SAME_ID_AFTER_RETURN
  in_doubt[_pid] = false;
  take_id()
#endif
}

/* Its own connection breaks. What the server has not run of what was sent last may be run later. */
#define is_within_blpop (connection[OWN].stage == blocked || connection[OWN].stage == woken)
#define has_no_old_connection (connection[OLD].stage == quiet)
inline leave_connection(sent_last) {
  if
  :: sent_last == none
  :: else ->
     connection[OLD].id = id[_pid];
     connection[OLD].command = sent_last;
     if
     :: is_within_blpop -> connection[OLD].stage = connection[OWN].stage
     :: else -> connection[OLD].stage = sent
     fi;
     n = len(queue);
     do
     :: n > 0 ->
        queue ? x;
        if
        :: x == OWN -> queue ! OLD
        :: else -> queue ! x
        fi;
        n--
     :: else -> break
     od
  fi;
  forget(OWN);
  granted[_pid] = false;
  good[_pid] = false
}

/* The server knows that an old connection broke: it drops what it has not run. */
inline drop(a) {
  if
  :: connection[a].stage == blocked -> queue ?? eval(a)
  :: else
  fi;
  forget(a)
}

inline lose_connection(sent_last) {
#if LOSSES != ANY_NUMBER
  losses_left--;
#endif
  leave_connection(sent_last);
#ifndef NO_DOUBT
  in_doubt[_pid] = true;
#endif
#ifndef LATE
  drop(OLD);
#endif
  skip
}
#define may_lose (losses_left > 0 && has_no_old_connection)

inline end_acquisition() {
  acquiring[_pid] = false;
  in_doubt[_pid] = false;
  lease_ended[_pid] = false;
  id[_pid] = 0;
  granted[_pid] = false;
  good[_pid] = false;
  forget(OWN)
}

inline crash(sent_last) {
  crashes_left--;
  leave_connection(sent_last);
  end_acquisition();
  holds[_pid] = false
}
#define may_crash (crashes_left > 0 && has_no_old_connection)

#define has_a_good_lease(p) (holds[p] && good[p])
inline enter() {
  surely_owned = good[_pid];
  alone = !any_process(has_a_good_lease);
  assert(surely_owned);
  assert(alone);
  holds[_pid] = true;
  acquiring[_pid] = false;
  in_doubt[_pid] = false;
  forget(OWN)
}

active [N] proctype Client() {
newcomer:
  if
  :: d_step { take_id(); connection[OWN].id = id[_pid]; acquiring[_pid] = true }
  :: goto stopped
  fi;

first_attempt: /* also the first one on a new connection: it does not wait */
  if
  :: d_step { connection[OWN].id = id[_pid]; run_set(OWN) }
  :: d_step { may_lose -> lose_connection(attempt) } goto lost
  :: d_step { may_crash -> crash(attempt) } goto stopped
  fi;

reply:
  if
#ifdef BELIEVE_EXPIRED
  :: d_step { granted[_pid] -> enter() } goto holder
#else
  :: d_step { granted[_pid] && good[_pid] -> enter() } goto holder
  :: granted[_pid] && !good[_pid] -> goto return_grant
#ifdef EXPIRY
  :: granted[_pid] && good[_pid] -> goto return_grant /* its lease is over, though Redis has not noticed yet */
#endif
#endif
  :: !granted[_pid] -> goto waiter
  :: d_step { !granted[_pid] -> end_acquisition() } goto newcomer /* the caller's deadline */
  :: d_step { may_lose -> lose_connection(none) } goto lost
  :: d_step { may_crash -> crash(none) } goto stopped
  fi;

waiter:
  if
  :: d_step { connection[OWN].id = id[_pid]; run_blpop(OWN) }
  :: d_step { may_lose -> lose_connection(wait) } goto lost
  :: d_step { may_crash -> crash(wait) } goto stopped
  fi;

  if
#ifdef NOT_PIPELINED
  :: connection[OWN].stage == answered -> goto first_attempt
#else
  :: connection[OWN].stage == answered -> goto reply
#endif
  :: d_step { connection[OWN].stage == woken -> run_set(OWN) } goto reply
  :: d_step { is_within_blpop && may_lose -> lose_connection(wait) } goto lost
  :: d_step { is_within_blpop && may_crash -> crash(wait) } goto stopped
  fi;

lost:
  if
  :: goto first_attempt
#ifdef KEEP_ON_GIVING_UP
  :: d_step { end_acquisition() } goto newcomer
#else
  :: goto release_lock
#endif
  fi;

return_grant:
  if
  :: d_step { run_release(id[_pid]); go_on() } goto waiter
  :: d_step { run_release(id[_pid]); end_acquisition() } goto newcomer
  :: d_step { may_lose -> run_release(id[_pid]); lose_connection(none); go_on_renamed() } goto first_attempt
  :: d_step { may_lose -> lose_connection(release); go_on_renamed() } goto first_attempt
  :: d_step { may_crash -> crash(release) } goto stopped
  fi;

holder:
  if
  :: d_step { holds[_pid] = false; granted[_pid] = false; good[_pid] = false } goto release_lock
  :: d_step { may_crash -> crash(none) } goto stopped
  fi;

release_lock: /* that it holds, or may hold for all it knows */
  if
  :: d_step { run_release(id[_pid]); end_acquisition() } goto newcomer
  /* Without a reply it is repeated: "not mine" is success then. */
  :: d_step { may_lose -> run_release(id[_pid]); lose_connection(none) } goto release_lock
  :: d_step { may_lose -> lose_connection(release) } goto release_lock
#ifdef EXPIRY
  :: d_step { may_lose -> lose_connection(release); end_acquisition() } goto newcomer /* or left to the lease */
#endif
  :: d_step { may_crash -> crash(release) } goto stopped
  fi;

stopped:
  skip
}

/* ---- What the server does by itself, and on connections that their process has left ---- */

#define is_sent(a) (connection[a].stage == sent)
#define is_woken(a) (connection[a].stage == woken)
#define is_open(a) (connection[a].stage != quiet)
#if SLICES == 1
#define slice_is_over(a) (connection[a].stage == blocked && lease_ended[process_of(a)])
#else
#define slice_is_over(a) (connection[a].stage == blocked)
#endif
#define is_on_its_way(p) (connection[p].stage == answered && !granted[p])
#ifdef SIGNAL_MAY_END
#define signal_may_end true
#else
#define signal_may_end (!any_process(is_on_its_way))
#endif

active proctype Server() {
  byte c;
end:
  do
#if LOSSES || CRASHES
  :: atomic {
       pick_old(c, is_sent);
       d_step {
         if
         :: connection[c].command == attempt -> run_set(c)
         :: connection[c].command == wait -> run_blpop(c)
         :: connection[c].command == release -> run_release(connection[c].id); forget(c)
         fi;
         c = 0
       }
     }
  :: atomic { pick_old(c, is_open); d_step { drop(c); c = 0 } }
#ifdef TURNS
  :: atomic { pick_old(c, is_woken); d_step { run_set(c); c = 0 } }
#endif
#endif
#if SLICES
  :: atomic { pick(c, slice_is_over); d_step { queue ?? eval(c); unblock(c); c = 0 } }
#endif
  :: d_step { signals > 0 && signal_may_end -> signals = 0 }
  od
}

#ifdef EXPIRY
active proctype Lease() {
end:
  do
  :: d_step {
       lock != 0 ->
       n = process_of_id(lock);
       if
#if defined(LEASE_FROM_REPLY)
       :: false
#elif defined(FULL_LEASE_IN_DOUBT)
       :: lock == id[n] && !overrated[n] -> good[n] = false
#else
       :: lock == id[n] -> good[n] = false
#endif
       :: else
       fi;
       lock = 0;
#if SLICES == 1
       n = 0;
       do
       :: n < N -> lease_ended[n] = acquiring[n]; n++
       :: else -> break
       od
#endif
     }
  od
}
#endif

#define is_acquiring(p) (acquiring[p])
#define is_good(p) (good[p])
ltl served { [] <> (!any_process(is_acquiring) || any_process(is_good)) }
