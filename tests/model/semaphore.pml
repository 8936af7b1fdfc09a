/* The wire protocol of redis_lock::Semaphore, for the model checker SPIN: every order of steps of two to four
 * processes that contend for one permit or several. shared_lock.pml explains what is modelled: server, processes,
 * leases, lost replies and crashes are the same. What differs:
 *
 *   tests/model/check.sh semaphore-<name>   one of the tests below
 *
 * Permits  A set of ids, each with the end of its lease, and at most PERMITS of them.
 * Signal   There is one list, in which each free permit has a signal. A release adds one. A new entry takes one
 *          out: by its BLPOP, or by its script if it has not waited. An id that is found takes no permit, so it
 *          gives the signal back that its BLPOP took. The entry that takes the last permit deletes all signals.
 *          A permit that comes free by the end of a lease has none: slices end for that.
 *
 * WHAT IS LEFT OUT: see shared_lock.pml. Holders with different numbers of permits, too.
 *
 * WHAT IS CHECKED
 *
 * assert(surely_owned)  No process enters on a lease that is over.
 * assert(permitted)     No process enters while the certain holds are as many as the permits.
 * assert(honest)        No release reports success though the lease was over.
 * assert(signals <= MOST_SIGNALS)  There are no more signals than free permits may have: see MOST_SIGNALS.
 * No deadlock           Where there is no next step, each process has stopped or crashed. With STAYS one holder
 *                       stays for ever: so a waiter must not depend on the release of a permit while another is free.
 * ltl acquirer          The last process is granted a permit again and again while it wants one.
 * ltl served            While any process wants a permit, one of them is granted one, again and again.
 * ltl no_wait_in_vain   No process is blocked in the line while a permit is free, except one that is in the set
 *                       already and does not know it: its slice ends.
 *
 * TESTS THAT HOLD. Three processes and two permits, where nothing else is said.
 *
 * semaphore-signals, -3     4 processes, one holder stays; no faults, and no slice ever ends. -3: 3 permits.
 * semaphore-turns           4 processes, one holder stays, on a server that works in turns (see lock.pml).
 * semaphore-expiry          4 processes that freeze and renew, and leases that end at any time: safety.
 * semaphore-expiry-served   The same with 3 processes: progress.
 * semaphore-crash           4 processes, one dies. A slice ends behind the end of a lease.
 * semaphore-frozen, -4      Two leases of living processes end; else the same. -4: 4 processes.
 * semaphore-doubt           2 replies are lost, no expiry; the server knows at once that a connection is closed.
 * semaphore-doubt-late      4 processes, 1 reply is lost, no expiry, and the server comes upon old connections late.
 * semaphore-late            One dies, 1 reply is lost, the server comes upon old connections late.
 * semaphore-late-served     The same on a server that works in turns, and slices that end at any time.
 * semaphore-late-safe       1 reply is lost, and leases end at any time: safety.
 * semaphore-late-safe-2     2 processes that renew, 1 permit, one dies, 2 replies are lost; else the same.
 *
 * MUTATIONS. Each fails, and the test passes if it fails with the error in brackets.
 *
 * semaphore-no-signal            a release pushes no signal [deadlock]
 * semaphore-one-signal           a release deletes the signal of another, and no waiter passes its own on: of two
 *                                releases one wakes no waiter though its permit is free [deadlock]
 * semaphore-signals-pile-up      entries take no signal out [signals <= 2]
 * semaphore-found-takes-signal   the script that finds its id takes a signal out [no_wait_in_vain]
 * semaphore-found-keeps-signal   or does not give back the signal of its BLPOP [no_wait_in_vain]
 * semaphore-count-the-dead       no script purges: holders that died count for ever [served]
 * semaphore-client-clock         process 0 purges by its own clock, which is fast [permitted]
 * semaphore-one-end-for-all      the set has one end in place of one for each id [permitted]
 * semaphore-leave-without-purge  a release takes an entry that is over for a good one [honest]
 * semaphore-keep-on-giving-up    an acquisition that is given up in doubt does not release its id [served]
 * semaphore-no-doubt             an acquisition does not look for its own id after a lost reply [served]
 * semaphore-lease-from-reply     a lease is counted from the reply [permitted]
 * semaphore-old-lease-for-new    an entry that is found is not renewed, but counts as a whole lease [permitted]
 * semaphore-believe-expired      a grant is believed though its lease is over [surely_owned]
 * semaphore-reused-id            a process has one id for all acquisitions: a late release ends a later one [permitted]
 * semaphore-same-id-after-return an acquisition goes on under the same id after it gave back a grant that was over, and
 *                                got no reply to that [permitted]
 *
 * LIMITS, as in shared_lock.pml: semaphore-limit-slices, semaphore-limit-turns [acquirer], semaphore-limit-late-signal,
 * semaphore-limit-dead-holder [deadlock].
 */

#ifndef PERMITS
#define PERMITS 2
#endif
#define is_writer(p) false
#include "family.pml"

/* How many signals there may be: one for each free permit. A waiter whose slice ends in the turn of a release
 * leaves the signal of that release over, so with TURNS there may be one for each connection. */
#ifndef TURNS
#define MOST_SIGNALS PERMITS
#elif LOSSES
#define MOST_SIGNALS CONNECTIONS
#else
#define MOST_SIGNALS N
#endif

#if N == 4
#define certain_holders (is_certain(0) + is_certain(1) + is_certain(2) + is_certain(3))
#elif N == 3
#define certain_holders (is_certain(0) + is_certain(1) + is_certain(2))
#else
#define certain_holders (is_certain(0) + is_certain(1))
#endif
inline check_entry() {
  surely_owned = good[_pid];
  permitted = (certain_holders < PERMITS);
  assert(surely_owned);
  assert(permitted)
}

/* ---- The scripts ---- */

inline run_script(a, waited) {
  run_join(a, waited)
}

/* What join does behind its entry. */
inline signal_arrival(waited) {
  if
#ifndef SIGNALS_PILE_UP
  :: room == 0 -> signals = 0
#ifdef FOUND_TAKES_SIGNAL
  :: room > 0 && !waited && signals > 0 -> signals--
#else
  :: room > 0 && !waited && signals > 0 && !found -> signals--
#endif
#endif
#ifndef FOUND_KEEPS_SIGNAL
  :: room > 0 && waited && found -> signals++
#endif
  :: else
  fi;
  assert(signals <= MOST_SIGNALS)
}

/* What leave does when its entry is gone. */
inline signal_departure() {
#ifdef ONE_SIGNAL
  signals = 1;
#elif !defined(NO_SIGNAL)
  signals++;
#endif
  assert(signals <= MOST_SIGNALS)
}

inline run_release(a, value) {
  run_leave(a, value)
}

inline run_extend(value) {
  extended = (is_member(value) && !is_over(value))
}

#define has(value) ((members >> (value)) & 1)
#define taken \
  (has(0) + has(1) + has(2) + has(3) + has(4) + has(5) + has(6) + has(7) + has(8) + has(9) + has(10) + has(11))
#define could_enter(p) (taken < PERMITS && !is_member(id[p]))
#include "family_processes.pml"

ltl served { [] <> (!any_process(is_acquiring) || any_process(is_granted)) }
ltl acquirer { [] <> (!is_acquiring(N - 1) || is_granted(N - 1)) }
ltl no_wait_in_vain { [] !any_process(waits_in_vain) }
