/* The wire protocol of redis_lock::SharedLock, for the model checker SPIN: every order of steps of two to four
 * processes that read or write under one name. lock.pml is the model of Lock; read it first, as much is the same.
 *
 *   tests/model/check.sh shared-<name>   one of the tests below
 *   ctest -L model                       all tests of all models, except the longest
 *
 * WHAT IS MODELLED
 *
 * Server        A script is one step. A BLPOP that finds no element puts its connection at the end of a queue, and
 *               the script behind it in the pipeline is held back until the BLPOP ends. There are two lists with a
 *               queue each: `signal`, where readers and writers stand in one line, and `drained`.
 * Readers       A set of ids, each with the end of its lease. Each script purges the set first. An id that joins
 *               after a wait signals, so that the next in line may enter too. An id that is in the set joins again.
 * Gate          The id of a writer, with a lease. A writer that has closed the gate, and finds readers, waits for
 *               `drained`, which the last reader signals when it leaves. Then it runs its script again, which also
 *               renews the gate. The script that closes the gate deletes the signal.
 * Process       It reads or writes, as its number says, in one acquisition after another, until it stops for good,
 *               if ever. It tries first without a wait, then waits, holds, renews, releases. It may give up; a writer
 *               that has closed the gate opens it then, with a signal. A frozen process makes no step for a while.
 * Lease         Redis ends it at any time, without a signal. The holder counted it from before its request was
 *               sent, so for the holder it is over no later: the hold is certain until then.
 * Lost replies  A connection breaks before or after the server has run what was sent last. The process runs its
 *               script again under the same id on a new connection, or gives up and releases the id. On the old
 *               connection the server runs the rest at any time later, or never.
 * Crash         The process makes no step any more. Its entry or its gate ends with the lease.
 *
 * WHAT IS LEFT OUT
 *
 * Durations, as in lock.pml: so a wait that is too long, but ends, is none of the errors. Also: fencing; reset();
 * min_hold, which is a longer hold; deferred releases; failover. Renewals are not sent on connections that break.
 * An id that has ended may be used again when it is in no key and on no connection.
 *
 * WHAT IS CHECKED
 *
 * assert(surely_owned)  No process enters on a lease that is over.
 * assert(alone)         No process enters to write while another's hold is certain, nor to read while a writer's is.
 * assert(honest)        No release reports success though the lease was over.
 * assert(signals <= 1)  The signal list has at most one element; the drained list too (drains <= 1).
 * No deadlock           Where there is no next step, each process has stopped or crashed.
 * ltl writer            Process 0, a writer, is granted the lock again and again while it wants it.
 * ltl reader            The last process, a reader, too.
 * ltl served            While any process wants the lock, one of them is granted it, again and again.
 * ltl no_wait_in_vain   No process is blocked in the line while the gate is open.
 * All of ltl under weak fairness: what could be done all the time is done in the end.
 *
 * TESTS THAT HOLD. Three processes, one of which writes; "-writers": two of which write. A process may stop before
 * it begins.
 *
 * shared-signals           2 writers, 2 readers, no faults, and no slice ever ends: the signals are enough.
 * shared-turns             The same on a server that works in turns (see lock.pml).
 * shared-slices            No faults, and slices end at any time: the writer gets in though readers come and go.
 * shared-expiry            2 writers, 2 readers, that freeze and renew, and leases that end at any time: safety.
 * shared-expiry-served     The same with 3 processes: progress.
 * shared-crash, -writers, -4  One dies. A slice in the line ends behind the end of a lease. -4: 2 writers, 2 readers.
 * shared-frozen, -writers  Two leases of living processes end; else the same.
 * shared-frozen-crash      Both.
 * shared-doubt, -writers   2 replies are lost, no expiry; the server knows at once that a connection is closed.
 * shared-doubt-late        1 reply is lost, no expiry, and the server comes upon old connections late.
 * shared-late, -writers    The same with leases that end if they were left behind.
 * shared-late-2            2 processes, one dies, 3 replies are lost, slices end at any time.
 * shared-late-safe, -writers  1 reply is lost, and leases end at any time: safety.
 * shared-late-safe-2       2 processes that renew, one dies, 2 replies are lost; else the same.
 *
 * MUTATIONS. Each fails, and the test passes if it fails with the error in brackets.
 *
 * shared-no-signal            opening the gate pushes no signal [deadlock]
 * shared-no-chain             a woken reader does not pass the signal on [deadlock]
 * shared-no-drained           the last reader does not wake the writer behind the gate [deadlock]
 * shared-stale-signal         a writer that closes the gate leaves an old signal: a reader's BLPOP takes it at once,
 *                             in vain, and so never stands in the line while the writer comes and goes [reader]
 * shared-ignore-gate          a reader does not look at the gate [alone]
 * shared-ignore-readers       a writer does not look at the readers [alone]
 * shared-gate-not-kept        the gate is open while the writer waits for readers [writer]
 * shared-gate-not-renewed     the writer behind the gate waits longer than its lease [writer]
 * shared-count-the-dead       no script purges: a reader that died counts for ever [writer]
 * shared-client-clock         process 0 purges by its own clock, which is fast [alone]
 * shared-one-end-for-all      the set has one end in place of one for each id: a short lease cuts the others [alone]
 * shared-leave-without-purge  a release does not purge, and takes an entry that is over for a good one [honest]
 * shared-try-enters           try_lock() closes the gate though it does not wait [deadlock]
 * shared-keep-on-giving-up    a writer that gives up leaves the gate closed [deadlock]
 * shared-give-up-silently     or opens it without a signal [deadlock]
 * shared-no-doubt             a reader does not look for its own id: after a lost reply it waits at the gate for a
 *                             writer that waits for it [served]
 * shared-lease-from-reply     a lease is counted from the reply [alone]
 * shared-old-lease-for-new    an entry or gate that is found is not renewed, but counts as a whole lease [alone]
 * shared-late-renewal         a renewal counts though its reply came behind the end of the lease. A late duplicate of
 *                             the writer's script may have closed the gate again in between [alone]
 * shared-believe-expired      a grant is believed though its lease is over [surely_owned]
 * shared-reused-id            a process has one id for all acquisitions: a late release ends a later one [alone]
 * shared-same-id-after-return an acquisition goes on under the same id after it gave back a grant that was over, and got
 *                             no reply to that [alone]
 * shared-signals-pile-up      the old signal is not deleted before a new one [signals <= 1]
 * shared-drains-pile-up       nor the old element of `drained` [drains <= 1]
 *
 * LIMITS: what the protocol does not give. Each fails, too.
 *
 * shared-limit-slices         a slice ends again and again just before its waiter's turn: a waiter goes to the end of
 *                             the line then, so another may overtake it each time [reader]
 * shared-limit-turns          a newcomer whose script is read in the turn of a release overtakes the woken waiter; again
 *                             and again, in theory [reader]
 * shared-limit-late-signal    a waiter's BLPOP comes longer behind its script than signal_expire [deadlock]
 * shared-limit-dead-holder    a holder dies, and no slice ends [deadlock]
 */

#ifndef WRITERS
#define WRITERS 1 /* processes that write: the first ones. The others read. */
#endif
#define is_writer(p) ((p) < WRITERS)
#include "family.pml"

#define is_certain_writer(p) (is_writer(p) && is_certain(p))
inline check_entry() {
  surely_owned = good[_pid];
  if
  :: is_writer(_pid) -> alone = !any_process(is_certain)
  :: else -> alone = !any_process(is_certain_writer)
  fi;
  assert(surely_owned);
  assert(alone)
}

/* ---- The scripts ---- */

#ifdef IGNORE_READERS
#define readers_are_gone true
#else
#define readers_are_gone (members == 0)
#endif

/* enter: the script of lock(). */
inline run_enter(a) {
  x = id_on(a);
  purge(a);
  if
  :: gate == 0 || gate == x ->
     found = (gate == x);
     if
     :: readers_are_gone -> gate = x; answer(a, true, false)
     :: else ->
#ifndef GATE_NOT_KEPT
        gate = x;
#endif
        answer(a, false, true)
     fi;
#ifndef STALE_SIGNAL
     signals = 0
#endif
  :: else -> answer(a, false, false)
  fi
}

inline run_script(a, waited) {
  if
  :: is_writer(process_of(a)) -> run_enter(a)
  :: else -> run_join(a, waited)
  fi
}

inline push_signal() {
#ifndef SIGNALS_PILE_UP
  signals = 0;
#endif
#ifndef NO_SIGNAL
  signals++;
#endif
  assert(signals <= 1)
}

/* What join does behind its entry. */
inline signal_arrival(waited) {
  if
#ifndef NO_CHAIN
  :: waited -> push_signal() /* the next in line may enter too */
#endif
  :: else
  fi
}

inline push_drained() {
#ifndef DRAINS_PILE_UP
  drains = 0;
#endif
#ifndef NO_DRAINED
  drains++;
#endif
  assert(drains <= 1)
}

/* What leave does when its entry is gone. */
inline signal_departure() {
  if
  :: gate != 0 && members == 0 -> push_drained()
  :: else
  fi
}

/* unlock(). */
inline run_unlock(value) {
  released = (gate == value);
  if
  :: released -> push_signal(); gate = 0
  :: else
  fi
}

inline run_release(a, value) {
  if
  :: is_writer(process_of(a)) -> run_unlock(value)
  :: else -> run_leave(a, value)
  fi
}

inline run_extend(value) {
  if
  :: is_writer(_pid) -> extended = (gate == value)
  :: else -> extended = (is_member(value) && !is_over(value))
  fi
}

#define could_enter(p) (gate == 0)
#include "family_processes.pml"

ltl served { [] <> (!any_process(is_acquiring) || any_process(is_granted)) }
ltl writer { [] <> (!is_acquiring(0) || is_granted(0)) }
ltl reader { [] <> (!is_acquiring(N - 1) || is_granted(N - 1)) }
ltl no_wait_in_vain { [] !any_process(waits_in_vain) }
