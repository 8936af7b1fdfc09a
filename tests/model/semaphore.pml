/* semaphore */
#ifndef PERMITS
#define PERMITS 2
#endif
#ifndef MOST_SIGNALS
#ifdef TURNS
#define MOST_SIGNALS N
#else
#define MOST_SIGNALS PERMITS
#endif
#endif
#define is_writer(p) false
#include "family.pml"

#define is_certain(p) (holds[p] && good[p])
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
inline run_script(a, waited) {
  run_join(a, waited)
}
/* One signal for each free permit: a new entry takes one out, unless its BLPOP has taken one. */
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
#define taken (has(0) + has(1) + has(2) + has(3) + has(4) + has(5) + has(6) + has(7) + has(8) + has(9) + has(10) + has(11))
#define could_enter(p) (taken < PERMITS && !is_member(id[p]))
#include "family_processes.pml"

#define is_acquiring(p) (acquiring[p])
#define is_granted(p) (acquiring[p] && good[p])
ltl served { [] <> (!any_process(is_acquiring) || any_process(is_granted)) }
ltl acquirer { [] <> (!is_acquiring(N - 1) || is_granted(N - 1)) }
ltl no_wait_in_vain { [] !any_process(waits_in_vain) }
