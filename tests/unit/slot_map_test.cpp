#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/protocol/slot_map.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::Address;
using redis_lock::Reply;
using redis_lock::detail::Failure;
using redis_lock::detail::hash_tag;
using redis_lock::detail::redirection_of;
using redis_lock::detail::slot_of;
using redis_lock::detail::SlotMap;
using ::testing::ElementsAre;

const Address asked{"asked", 7000};

Reply string(std::string text) {
  Reply reply;
  reply.kind = Reply::Kind::string;
  reply.text = std::move(text);
  return reply;
}

Reply error(std::string text) {
  auto reply = string(std::move(text));
  reply.kind = Reply::Kind::error;
  return reply;
}

Reply integer(long long value) {
  Reply reply;
  reply.kind = Reply::Kind::integer;
  reply.integer = value;
  return reply;
}

Reply array(std::vector<Reply> elements) {
  Reply reply;
  reply.kind = Reply::Kind::array;
  reply.elements = std::move(elements);
  return reply;
}

Reply server(Reply host, long long port) {
  return array({std::move(host), integer(port), string("id")});
}
Reply server(const char* host, long long port) { return server(string(host), port); }

TEST(Slot, IsThatOfTheSpecification) {
  // From the specification, and from CLUSTER KEYSLOT of a server.
  EXPECT_EQ(slot_of("123456789"), 0x31C3 % 16384);
  EXPECT_EQ(slot_of(""), 0);
  EXPECT_EQ(slot_of("foo"), 12182);
  EXPECT_EQ(slot_of("lock:{job}"), slot_of("job"));
  EXPECT_EQ(slot_of("\xff\xfe"), 3374);
}

TEST(HashTag, IsBetweenTheFirstBraces) {
  EXPECT_EQ(hash_tag("{user1000}.following"), "user1000");
  EXPECT_EQ(hash_tag("foo{{bar}}zap"), "{bar");
  EXPECT_EQ(hash_tag("foo{bar}{zap}"), "bar");
  for (const auto* none : {"", "foo", "foo{}{bar}", "foo{bar", "foo}bar{", "{}"}) {
    EXPECT_EQ(hash_tag(none), std::nullopt) << none;
  }
}

TEST(Redirection, NamesSlotAndServer) {
  const auto moved = redirection_of(error("MOVED 3999 127.0.0.1:6381"), asked);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->slot, 3999);
  EXPECT_EQ(moved->server, (Address{"127.0.0.1", 6381}));
  EXPECT_EQ(redirection_of(error("ASK 1 ::1:6381"), asked)->server, (Address{"::1", 6381}));
  EXPECT_EQ(redirection_of(error("MOVED 1 :6381"), asked)->server, (Address{"asked", 6381}));
}

TEST(Redirection, ThatNamesNoneIsNone) {
  for (const auto* text :
       {"MOVED", "MOVED 3999", "MOVED x h:1", "MOVED 16384 h:1", "MOVED 1 h:", "MOVED 1 h:x",
        "MOVED 1 h:70000", "MOVED h:1", "ASK -1 h:1", "ASK :1 "}) {
    EXPECT_FALSE(redirection_of(error(text), asked)) << text;
  }
}

TEST(Redirection, WithoutAHostMeansTheAskedHost) {
  for (const auto* text : {"MOVED 1 :6381", "MOVED 1 ?:6381", "ASK 1 :6381", "ASK 1 ?:6381"}) {
    const auto redirection = redirection_of(error(text), asked);
    ASSERT_TRUE(redirection) << text;
    EXPECT_EQ(redirection->server, (Address{"asked", 6381})) << text;
    EXPECT_EQ(redirection->host_is_known, std::string(text).find('?') == std::string::npos) << text;
    EXPECT_EQ(SlotMap{}.target(*redirection, asked), (Address{"asked", 6381})) << text;
  }
  EXPECT_TRUE(redirection_of(error("MOVED 1 h:6381"), asked)->host_is_known);
}

TEST(Redirection, ToAnUnknownHostFindsItByPort) {
  const auto to = [](const SlotMap& map, const std::string& text, const Address& from) {
    return map.target(redirection_of(error(text), from).value(), from);
  };
  const SlotMap map{array({array({integer(0), integer(1), server("a", 1), server("b", 2)}),
                           array({integer(2), integer(3), server("c", 3), server("d", 3)})}),
                    asked};
  for (const std::string told : {"MOVED 1 ", "ASK 1 "}) {
    EXPECT_EQ(to(map, told + "?:2", {"a", 1}), (Address{"b", 2}));
    EXPECT_EQ(to(map, told + "?:3", {"a", 1}), (Address{"a", 3})) << "two have that port";
    EXPECT_EQ(to(map, told + "?:3", {"c", 3}), (Address{"d", 3}));
    EXPECT_EQ(to(map, told + "?:4", {"a", 1}), (Address{"a", 4}));
    EXPECT_EQ(to(map, told + ":2", {"a", 1}), (Address{"a", 2})) << "that is the host to go to";
    EXPECT_EQ(to(map, told + "e:2", {"a", 1}), (Address{"e", 2}));
  }
}

TEST(Redirection, ToItselfOrWithoutAPortIsUnknown) {
  for (const auto* text : {"MOVED 1 ?:7000", "MOVED 1 :7000", "ASK 1 ?:7000", "MOVED 1 asked:7000",
                           "MOVED 1 ?:0", "MOVED 1 :0", "MOVED 1 h:0", "ASK 1 h:0"}) {
    const auto redirection = redirection_of(error(text), asked);
    ASSERT_TRUE(redirection) << text;
    EXPECT_EQ(SlotMap{}.target(*redirection, asked), Address{}) << text;
  }
}

TEST(SlotMap, KnowsNothingAtFirst) {
  SlotMap map;
  EXPECT_EQ(map.owner(0), std::nullopt);
  map.move(0, {"a", 1});
  EXPECT_EQ(map.owner(0), std::nullopt);
  EXPECT_TRUE(map.servers().empty());
  EXPECT_TRUE(map.one_slot_of_each().empty());
}

TEST(SlotMap, IsReadFromTheAnswerOfAServer) {
  SlotMap map{array({array({integer(0), integer(5), server("a", 1), server("b", 2)}),
                     array({integer(7), integer(16383), server(Reply{}, 3), server("?", 4)})}),
              asked};
  EXPECT_EQ(map.owner(0), (Address{"a", 1}));
  EXPECT_EQ(map.owner(5), (Address{"a", 1}));
  EXPECT_EQ(map.owner(6), std::nullopt);
  EXPECT_EQ(map.owner(7), (Address{"asked", 3}));
  EXPECT_EQ(map.owner(16383), (Address{"asked", 3}));
  EXPECT_THAT(map.servers(), ElementsAre(Address{"a", 1}, Address{"b", 2}, Address{"asked", 3},
                                         Address{"asked", 4}));
  EXPECT_THAT(map.one_slot_of_each(), ElementsAre(0, 7));
  map.move(6, {"b", 2});
  map.move(7, {"c", 5});
  EXPECT_EQ(map.owner(6), (Address{"b", 2}));
  EXPECT_EQ(map.owner(7), (Address{"c", 5}));
  EXPECT_EQ(map.owner(8), (Address{"asked", 3}));
  EXPECT_THAT(map.one_slot_of_each(), ElementsAre(0, 6, 7, 8));
}

TEST(SlotMap, UsesTheIpAddressWithoutAHostName) {
  const auto node = [](const char* host, std::vector<Reply> metadata) {
    return array({string(host), integer(1), string("id"), array(std::move(metadata))});
  };
  const auto owner = [](const Reply& one) {
    return SlotMap{array({array({integer(0), integer(1), one})}), asked}.owner(0);
  };
  EXPECT_EQ(owner(node("?", {string("ip"), string("10.0.0.2")})), (Address{"10.0.0.2", 1}));
  EXPECT_EQ(owner(node("?", {string("port"), string("1"), string("ip"), string("10.0.0.2")})),
            (Address{"10.0.0.2", 1}));
  EXPECT_EQ(owner(node("?", {string("ip"), string("")})), (Address{"asked", 1}));
  EXPECT_EQ(owner(node("?", {string("ip")})), (Address{"asked", 1}));
  EXPECT_EQ(owner(node("?", {})), (Address{"asked", 1}));
  EXPECT_EQ(owner(node("", {string("ip"), string("10.0.0.2")})), (Address{"asked", 1}))
      << "the server wants to be reached where it was asked";
  EXPECT_EQ(owner(node("h", {string("ip"), string("10.0.0.2")})), (Address{"h", 1}));
}

TEST(SlotMap, LeavesServersOutThatHaveNoPort) {
  SlotMap map{array({array({integer(0), integer(1), server("a", 0), server("b", 2)}),
                     array({integer(2), integer(3), server("c", 3), server("?", 0)}),
                     array({integer(4), integer(5), server(Reply{}, 0)})}),
              asked};
  EXPECT_EQ(map.owner(0), std::nullopt);
  EXPECT_EQ(map.owner(2), (Address{"c", 3}));
  EXPECT_EQ(map.owner(4), std::nullopt);
  EXPECT_THAT(map.servers(), ElementsAre(Address{"b", 2}, Address{"c", 3}));
  EXPECT_THAT(map.one_slot_of_each(), ElementsAre(2));
  map.move(2, {});
  EXPECT_EQ(map.owner(2), std::nullopt);
}

TEST(SlotMap, RefusesAnythingElse) {
  const auto good = server("a", 1);
  for (const auto& bad :
       {error("ERR no cluster"), integer(1), Reply{}, array({integer(1)}), array({array({})}),
        array({array({integer(0), integer(1)})}), array({array({integer(-1), integer(1), good})}),
        array({array({integer(0), integer(16384), good})}),
        array({array({string("0"), integer(1), good})}),
        array({array({integer(0), integer(1), server("a", -1)})}),
        array({array({integer(0), integer(1), server("a", 65536)})}),
        array({array({integer(0), integer(1), string("a")})}),
        array({array({integer(0), integer(1), array({string("a")})})})}) {
    EXPECT_THROW((SlotMap{bad, asked}), Failure);
  }
  EXPECT_EQ((SlotMap{array({array({integer(5), integer(4), good})}), asked}.owner(5)),
            std::nullopt);
}

}  // namespace
}  // namespace redis_lock_test
