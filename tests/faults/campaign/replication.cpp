#include "replication.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace redis_lock_test::campaign {

namespace {

using std::chrono::steady_clock;

/// A field of an answer to INFO; empty if it is not there.
std::string field_of(const std::string& info, const std::string& field) {
  const auto at = info.find("\n" + field + ":");
  if (at == info.npos) return {};
  const auto begin = at + field.size() + 2;
  return info.substr(begin, info.find('\r', begin) - begin);
}

}  // namespace

Replication::Replication(std::vector<Member*> members)
    : members_(std::move(members)), states_(members_.size()) {
  for (Index i = 0; i < members_.size(); ++i) states_[i].is_master = members_[i]->is_master();
  (void)look();
}

std::vector<Replication::Promotion> Replication::look() {
  latest_look_ = steady_clock::now();
  // Masters first: what a replica has is compared with what its master had written before.
  for (const bool masters : {true, false}) {
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->is_running() && states_[i].asked < latest_look_ &&
          states_[i].is_master == masters) {
        ask(i);
      }
    }
  }
  std::vector<Promotion> over;
  const auto is_over = [&](Promotion& promotion) {
    const auto& old = states_[promotion.old_master];
    if (old.is_master || old.asked < latest_look_) return false;
    promotion.span.end = steady_clock::now();
    over.push_back(promotion);
    return true;
  };
  open_.erase(std::remove_if(open_.begin(), open_.end(), is_over), open_.end());
  return over;
}

void Replication::ask(Index index) try {
  const auto now = steady_clock::now();
  const auto info = members_[index]->redis().string("INFO", "replication").value_or("");
  auto& state = states_[index];
  const bool was_master = state.is_master;
  state.is_master = field_of(info, "role") == "master";
  state.asked = now;
  if (state.is_master) {
    if (!was_master) open_.push_back({state.master, index, {state.complete, {}}});
    state.offset = std::atoll(field_of(info, "master_repl_offset").c_str());
    state.complete = now;
    return;
  }
  state.master = member_at(field_of(info, "master_port"));
  state.offset = std::atoll(field_of(info, "slave_repl_offset").c_str());
  const auto& master = states_[state.master];
  const bool has_all = master.is_master && master.asked >= latest_look_ &&
                       field_of(info, "master_link_status") == "up" &&
                       state.offset >= master.offset;
  if (has_all) state.complete = master.asked;
} catch (const std::runtime_error&) {
  // Its connection was closed, as happens when a master is made a replica: the next time, then.
}

bool Replication::is_well() const {
  if (!open_.empty()) return false;
  for (Index i = 0; i < members_.size(); ++i) {
    const bool has_all = steady_clock::now() - states_[i].complete < 500ms;
    if (!members_[i]->is_running() || !has_all) return false;
  }
  return true;
}

std::optional<Index> Replication::successor_of(Index master) const {
  for (const auto& promotion : open_) {
    if (promotion.old_master == master) return promotion.new_master;
  }
  return std::nullopt;
}

std::vector<Index> Replication::replicas_of(Index master) const {
  std::vector<Index> replicas;
  for (Index i = 0; i < states_.size(); ++i) {
    if (!states_[i].is_master && states_[i].master == master) replicas.push_back(i);
  }
  return replicas;
}

Index Replication::member_at(const std::string& port) const {
  for (Index i = 0; i < members_.size(); ++i) {
    if (std::to_string(members_[i]->port()) == port) return i;
  }
  throw std::runtime_error("a replica of a stranger: port " + port);
}

}  // namespace redis_lock_test::campaign
