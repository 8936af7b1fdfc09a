/* The part that shared_lock.pml and semaphore.pml have in common: the processes, and what the server does by itself. */

/* ---- A process ---- */

/* Names the next acquisition. */
#define in_use(value) (gate == value || is_member(value) || connection[OLD].id == value)
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

inline forget_reply() {
  forget(OWN);
  granted[_pid] = false;
  entered[_pid] = false;
  good[_pid] = false
}

/* An acquisition goes on after it has given a grant back whose lease was over. */
inline go_on() {
  forget_reply();
  lease_ended[_pid] = true /* it was told nothing of another's lease, so its slice is short */
}

/* If the reply to that release was lost, the server may come upon it later: its id is spent. */
inline go_on_renamed() {
  go_on();
#ifndef SAME_ID_AFTER_RETURN
  take_id()
#endif
}

/* Puts the old connection where the own one stands in a queue. */
inline stand_in(line) {
  n = len(line);
  do
  :: n > 0 ->
     line ? x;
     if
     :: x == OWN -> line ! OLD
     :: else -> line ! x
     fi;
     n--
  :: else -> break
  od
}

/* Its own connection breaks. What the server has not run of what was sent last may be run later. */
#define is_within_blpop (connection[OWN].stage == blocked || connection[OWN].stage == woken)
#define has_no_old_connection (connection[OLD].stage == quiet)
#define blpop_of_own (entered[_pid] -> drain : wait)
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
     stand_in(queue);
#ifdef WRITERS
     stand_in(entered_queue)
#endif
  fi;
  forget_reply()
}

/* The server knows that an old connection broke: it drops what it has not run. */
inline drop(a) {
  if
  :: connection[a].stage == blocked -> leave_queue(a)
  :: else
  fi;
  forget(a)
}

inline lose_connection(sent_last) {
#if LOSSES != ANY_NUMBER
  losses_left--;
#endif
  leave_connection(sent_last);
#ifndef LATE
  drop(OLD);
#endif
  skip
}
#define may_lose (losses_left > 0 && has_no_old_connection)

inline end_acquisition() {
  acquiring[_pid] = false;
  lease_ended[_pid] = false;
  id[_pid] = 0;
  forget_reply()
}

inline crash(sent_last) {
  crashes_left--;
  leave_connection(sent_last);
  end_acquisition();
  holds[_pid] = false
}
#define may_crash (crashes_left > 0 && has_no_old_connection)

inline enter() {
  check_entry();
  holds[_pid] = true;
  acquiring[_pid] = false;
  forget(OWN)
}

#define is_on_its_way(p) (connection[p].stage == answered && !granted[p])
/* The slices of a writer behind its gate are at most a third of its lease: they end at any time. */
#define slice_may_end(a) \
  (connection[a].stage == blocked && \
   (SLICES == 2 || connection[a].command == drain || lease_ended[process_of(a)]))

active [N] proctype Client() {
newcomer:
  if
  :: d_step { take_id(); acquiring[_pid] = true }
  :: goto stopped
  fi;

first_attempt: /* also the first one on a new connection: it does not wait */
  if
  :: d_step { run_script(OWN, false); serve_waiters() }
#ifdef TRY_ENTERS
  :: d_step { is_writer(_pid) -> run_script(OWN, false); serve_waiters() }
     if
     :: d_step { !granted[_pid] -> end_acquisition() } goto newcomer
     :: granted[_pid]
     fi
#endif
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
#if ENDINGS
  :: granted[_pid] && good[_pid] -> goto return_grant /* its lease is over, though Redis has not noticed yet */
#endif
#endif
  :: !granted[_pid] -> goto waiter
  :: d_step { !granted[_pid] && !entered[_pid] -> end_acquisition() } goto newcomer /* the caller's deadline */
  :: entered[_pid] -> goto give_up
  :: d_step { may_lose -> lose_connection(none) } goto lost
  :: d_step { may_crash -> crash(none) } goto stopped
  fi;

waiter:
  if
  :: d_step { run_blpop(OWN, blpop_of_own) }
  :: d_step { may_lose -> lose_connection(blpop_of_own) } goto lost
  :: d_step { may_crash -> crash(blpop_of_own) } goto stopped
  fi;

waiting:
  if
  :: connection[OWN].stage == answered -> goto reply
  :: d_step { connection[OWN].stage == woken -> run_script(OWN, true); serve_waiters() } goto reply
#if SLICES
  :: d_step { slice_may_end(OWN) -> leave_queue(OWN); unblock(OWN); serve_waiters() } goto waiting
#endif
  :: d_step { is_within_blpop && may_lose -> lose_connection(blpop_of_own) } goto lost
  :: d_step { is_within_blpop && may_crash -> crash(blpop_of_own) } goto stopped
  fi;

lost:
  if
  :: goto first_attempt
  :: goto give_up
  fi;

return_grant:
  if
  :: d_step { run_release(OWN, id[_pid]); serve_waiters(); go_on() } goto waiter
  :: d_step { run_release(OWN, id[_pid]); serve_waiters(); end_acquisition() } goto newcomer
  :: d_step {
       may_lose ->
       run_release(OWN, id[_pid]);
       serve_waiters();
       lose_connection(none);
       go_on_renamed()
     } goto first_attempt
  :: d_step { may_lose -> lose_connection(release); go_on_renamed() } goto first_attempt
  :: d_step { may_crash -> crash(release) } goto stopped
  fi;

holder:
  if
  :: d_step { holds[_pid] = false } goto release_hold
#ifdef RENEWAL
  :: good[_pid] -> goto renewal
#endif
#ifdef STAYS
  :: d_step { stays_left > 0 -> stays_left-- } goto stopped
#endif
  :: d_step { may_crash -> crash(none) } goto stopped
  fi;

#ifdef RENEWAL
renewal: /* sent while the lease was good; the server may run it later */
  if
  :: d_step {
       run_extend(id[_pid]);
#ifdef LATE_RENEWAL
       good[_pid] = extended;
#else
       good[_pid] = good[_pid] && extended; /* a reply that comes behind the end of the lease is none */
#endif
       if
       :: good[_pid] -> holds[_pid] = false; check_entry(); holds[_pid] = true
       :: else
       fi
     } goto holder
  fi;
#endif

give_up: /* an acquisition that may have been granted, or that has the gate: it is released */
#if defined(KEEP_ON_GIVING_UP)
  if
  :: d_step { end_acquisition() } goto newcomer
  fi;
#elif defined(GIVE_UP_SILENTLY)
  if
  :: d_step { gate == id[_pid] -> gate = 0; end_acquisition() } goto newcomer
  :: gate != id[_pid] -> goto release_hold
  fi;
#endif

release_hold:
  if
  :: d_step {
       run_release(OWN, id[_pid]);
#if LOSSES == 0
       honest = !(granted[_pid] && released && !good[_pid]);
       assert(honest);
#endif
       serve_waiters();
       end_acquisition()
     } goto newcomer
  /* Without a reply it is repeated: "not mine" is success then. */
  :: d_step { may_lose -> run_release(OWN, id[_pid]); serve_waiters(); lose_connection(none) } goto release_hold
  :: d_step { may_lose -> lose_connection(release) } goto release_hold
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
#define is_blocked(a) (connection[a].stage == blocked)
#define is_open(a) (connection[a].stage != quiet)
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
         :: connection[c].command == attempt -> run_script(c, false); serve_waiters()
         :: connection[c].command == release ->
            run_release(c, connection[c].id);
            forget(c);
            serve_waiters()
         :: else -> run_blpop(c, connection[c].command)
         fi;
         c = 0
       }
     }
  :: atomic { pick_old(c, is_open); d_step { drop(c); c = 0 } }
#ifdef TURNS
  :: atomic { pick_old(c, is_woken); d_step { run_script(c, true); serve_waiters(); c = 0 } }
#endif
#if SLICES
  :: atomic { pick_old(c, is_blocked); d_step { leave_queue(c); unblock(c); serve_waiters(); c = 0 } }
#endif
#endif
  :: d_step { signals > 0 && signal_may_end -> signals = 0 }
#ifdef WRITERS
  :: d_step { drains > 0 && signal_may_end -> drains = 0 }
#endif
  od
}

#define waits_in_vain(p) (connection[p].stage == blocked && connection[p].command == wait && could_enter(p))

#ifdef EXPIRY
#define is_leased(value) (gate == value || (is_member(value) && !is_over(value)))
#define is_left_behind(value) (id[process_of_id(value)] != value)
#ifdef GATE_NOT_RENEWED
#define is_not_renewed(value) (!good[process_of_id(value)])
#else
#define is_not_renewed(value) (!good[process_of_id(value)] && !entered[process_of_id(value)])
#endif
#if defined(LEASE_FROM_REPLY)
#define is_taken_for_longer(p) (!holds[p])
#elif defined(OLD_LEASE_FOR_NEW)
#define is_taken_for_longer(p) (overrated[p])
#else
#define is_taken_for_longer(p) false
#endif
#define lease_may_end(value) \
  ((value) <= LAST_ID && is_leased(value) && (is_left_behind(value) || is_not_renewed(value) || endings_left > 0))

#define pick_lease(v) \
  if :: lease_may_end(1) -> v = 1 :: lease_may_end(2) -> v = 2 :: lease_may_end(3) -> v = 3 \
     :: lease_may_end(4) -> v = 4 :: lease_may_end(5) -> v = 5 :: lease_may_end(6) -> v = 6 \
     :: lease_may_end(7) -> v = 7 :: lease_may_end(8) -> v = 8 :: lease_may_end(9) -> v = 9 \
     :: lease_may_end(10) -> v = 10 :: lease_may_end(11) -> v = 11 :: lease_may_end(12) -> v = 12 fi

active proctype Lease() {
  byte v;
end:
  do
  :: atomic {
       pick_lease(v);
       d_step {
         n = process_of_id(v);
#if ENDINGS != ANY_NUMBER
         if
         :: !is_left_behind(v) && !is_not_renewed(v) -> endings_left--
         :: else
         fi;
#endif
         if
         :: v == id[n] && !is_taken_for_longer(n) -> good[n] = false
         :: else
         fi;
#ifdef WRITERS
         if
         :: gate == v -> gate = 0
         :: else -> over = over | bit(v)
         fi;
#else
         over = over | bit(v);
#endif
#ifdef ONE_END_FOR_ALL
         if
         :: gate == 0 || gate != v -> over = members
         :: else
         fi;
#endif
#if SLICES == 1
         n = 0;
         do
         :: n < N -> lease_ended[n] = acquiring[n]; n++
         :: else -> break
         od;
#endif
         n = 0;
         v = 0
       }
     }
  od
}
#endif
