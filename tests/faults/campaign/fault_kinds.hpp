#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

namespace redis_lock_test::campaign {

/// What the nemesis does, and what the library's promises are worth afterwards.
struct FaultKind {
  std::string_view name;
  bool frees = false;  ///< Redis may free a lock before its lease is over: two holders are excused
  bool wipes = false;  ///< fences and ledgers begin anew
  bool keeps_ledger = false;  ///< wipes, but the ledgers were read in the same instant
  bool noticed_only = false;  ///< not made by the nemesis
  bool forgets = false;       ///< frees, but what was done before it began is kept
};

inline constexpr std::array fault_kinds{
    FaultKind{"holder-stop"},                  // SIGSTOP, mostly past its lease
    FaultKind{"waiter-stop"},                  // SIGSTOP, mostly across its grant
    FaultKind{"holder-kill"},                  // SIGKILL
    FaultKind{"waiter-kill"},                  // SIGKILL
    FaultKind{"client-kill"},                  // CLIENT KILL of one connection
    FaultKind{"server-stop"},                  // SIGSTOP
    FaultKind{"server-kill"},                  // SIGKILL, and a restart with its data
    FaultKind{"server-empty", true, true},     // SIGKILL, and a restart without its data
    FaultKind{"server-forward", true},         // its wall clock jumps: leases end early
    FaultKind{"server-back"},                  // its wall clock jumps: leases end late
    FaultKind{"script-flush"},                 // SCRIPT FLUSH
    FaultKind{"flush-all", true, true, true},  // FLUSHALL
    FaultKind{"reset", true},                  // reset() by an operator
    FaultKind{"client-clock"},                 // wall clocks of workers jump by up to a day
    FaultKind{"link-delay"},                   // of a proxy: replies come late
    FaultKind{"link-stall"},                   // nothing moves
    FaultKind{"link-drop"},                    // its connections are closed
    FaultKind{"link-refuse"},                  // and new ones, too
    FaultKind{"link-cut"},                     // in the middle of a reply
    FaultKind{"link-lose-request"},  // a command does not arrive, the connection is closed
    FaultKind{"link-lose-reply"},    // a command runs, the connection is closed
    FaultKind{"link-swallow"},       // a command runs, no answer comes, nothing is closed
    FaultKind{"master-kill"},        // SIGKILL, and a restart without its data, as a replica
    FaultKind{"master-stop"},        // SIGSTOP, for less or more than it takes to be replaced
    FaultKind{"replica-kill"},       // SIGKILL, and a restart without its data
    FaultKind{"replica-stop"},       // SIGSTOP
    FaultKind{"sentinel-stop"},      // SIGSTOP of one
    FaultKind{"manual-failover"},    // SENTINEL FAILOVER, CLUSTER FAILOVER
    FaultKind{"migration"},          // of a slot of the cluster, key after key
    FaultKind{"node-kill"},          // of a quorum: SIGKILL, and a restart with its data
    FaultKind{"node-stop"},          // of a quorum: SIGSTOP
    FaultKind{
        "promotion", true, false, false, true,
        true},  // from what the new master had of the old one, until that is no master any more
    FaultKind{"handover", false, false, false,
              true},  // a promotion that the old master has waited for, so that nothing is lost
    FaultKind{"cluster-down", false, false, false,
              true},  // while a master was missing, the others served nobody, either
    FaultKind{"machine-stall", false, false, false,
              true},  // nobody ran for a while: a busy machine
};

[[nodiscard]] inline const FaultKind& fault_kind(std::string_view name) {
  for (const auto& kind : fault_kinds) {
    if (kind.name == name) return kind;
  }
  throw std::runtime_error("there is no fault \"" + std::string(name) + '"');
}

}  // namespace redis_lock_test::campaign
