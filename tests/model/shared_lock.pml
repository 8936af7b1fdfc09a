/* shared */
#ifndef WRITERS
#define WRITERS 1
#endif
#define is_writer(p) ((p) < WRITERS)
#include "family.pml"

#define is_certain(p) (holds[p] && good[p])
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

#ifdef IGNORE_READERS
#define readers_are_gone true
#else
#define readers_are_gone (members == 0)
#endif
/* enter: the script of lock. */
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

inline signal_arrival(waited) {
  if
#ifndef NO_CHAIN
  :: waited -> push_signal() /* the next in line may enter too */
#endif
  :: else
  fi
}

inline signal_departure() {
  if
  :: gate != 0 && members == 0 -> push_drained()
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

#define is_acquiring(p) (acquiring[p])
#define is_granted(p) (acquiring[p] && good[p])
ltl served { [] <> (!any_process(is_acquiring) || any_process(is_granted)) }
ltl writer { [] <> (!is_acquiring(0) || is_granted(0)) }
ltl reader { [] <> (!is_acquiring(N - 1) || is_granted(N - 1)) }
ltl no_wait_in_vain { [] !any_process(waits_in_vain) }
