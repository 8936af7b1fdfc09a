/* semaphore */
#ifndef PERMITS
#define PERMITS 2
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
inline signal_departure() {
  push_signal()
}
inline run_release(a, value) {
  run_leave(a, value)
}
inline run_extend(value) {
#ifdef RENEWAL_REVIVES
  members = members | bit(value);
  over = over & ~bit(value);
  extended = true
#else
  extended = (is_member(value) && !is_over(value))
#endif
}

#include "family_processes.pml"

#define is_acquiring(p) (acquiring[p])
#define is_granted(p) (acquiring[p] && good[p])
ltl served { [] <> (!any_process(is_acquiring) || any_process(is_granted)) }
ltl acquirer { [] <> (!is_acquiring(N - 1) || is_granted(N - 1)) }
