#include "shm/publisher.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "shm/ring_files.h"
#include "shm/ring_reader.h"
#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

std::string filler(std::size_t size, char c = 'x') {
  return json_text(std::string(size, c));
}

TEST(Publisher, RecordsBehindAJumboRecordAreFound) {
  const RingDirectory directory;
  TestWriter writer(directory.options());
  ASSERT_TRUE(writer.start());
  // More than a segment, and not a whole number of them: what follows stands in the segment's last slot.
  ASSERT_TRUE(writer.insert(1, filler(20000)));
  ASSERT_TRUE(writer.insert(2, json_text("behind")));
  ASSERT_TRUE(writer.commit(2));
  ASSERT_TRUE(writer.insert(3, json_text("later")));
  ASSERT_TRUE(writer.commit(3));
  const Mirror mirror = mirror_of(writer.options().ring);
  ASSERT_NE(mirror.table("items"), nullptr);
  EXPECT_EQ(*mirror.table("items"), (Mirror::Rows{{item_key(1), filler(20000)},
                                                  {item_key(2), json_text("behind")},
                                                  {item_key(3), json_text("later")}}));
  // The writer's index finds them as well, before and after a restart.
  ASSERT_TRUE(writer.update(2, json_text("changed")));
  ASSERT_TRUE(writer.commit(4));
  ASSERT_TRUE(writer.open());
  EXPECT_FALSE(writer->is_fresh()) << writer->why_fresh();
  ASSERT_TRUE(writer.update(2, json_text("changed again")));
  ASSERT_TRUE(writer.update(3, json_text("changed")));
  ASSERT_TRUE(writer.commit(5));
  EXPECT_EQ(mirror_of(writer.options().ring).table("items")->at(item_key(2)), json_text("changed again"));
}

}  // namespace
}  // namespace ringside::shm
