#include "shm/ring_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/shm/ring_fixture.h"

namespace ringside::shm {
namespace {

class RingFilesTest : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return directory_.path() + "/" + name; }
  static unsigned mode_of(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777u : 0;
  }

  RingDirectory directory_;
};

TEST_F(RingFilesTest, FilesHaveTheirPermissionsWhateverTheUmask) {
  const mode_t before = ::umask(0777);
  EXPECT_TRUE(create_directory(at("d"), 0770));
  EXPECT_TRUE(create_file(at("d/f"), 0640));
  EXPECT_TRUE(create_fifo(at("d/p"), 0660));
  ::umask(before);
  EXPECT_EQ(mode_of(at("d")), 0770u);
  EXPECT_EQ(mode_of(at("d/f")), 0640u);
  EXPECT_EQ(mode_of(at("d/p")), 0660u);
}

TEST_F(RingFilesTest, ErrorsNameTheFileAndTheirKind) {
  const auto missing = open_file(at("missing"), Access::kRead);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
  EXPECT_NE(missing.error().message.find(at("missing")), std::string::npos);
  ASSERT_TRUE(create_file(at("f"), 0640));
  EXPECT_EQ(create_file(at("f"), 0640).error().kind, ErrorKind::kIo) << "exists";
  EXPECT_EQ(create_file(at("missing/f"), 0640).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(create_fifo(at("f"), 0660).error().kind, ErrorKind::kIo);
  EXPECT_TRUE(create_directory(at("d"), 0770));
  EXPECT_TRUE(create_directory(at("d"), 0770)) << "fine if it exists";
  EXPECT_FALSE(MappedFile::map(at("missing"), Access::kRead, 4096));
  EXPECT_FALSE(try_lock(-1, "no descriptor"));
}

TEST_F(RingFilesTest, MemoryThatIsNotToBeHadIsALimitAndNotASignal) {
  const auto fd = create_file(at("f"), 0640);
  ASSERT_TRUE(fd) << why(fd);
  ASSERT_TRUE(allocate(fd->get(), at("f"), 0, 8192));
  EXPECT_EQ(*file_size(fd->get(), at("f")), 8192u);
  const auto space = std::filesystem::space(directory_.path());
  const auto refused = allocate(fd->get(), at("f"), 0, space.capacity + (std::uint64_t{1} << 30));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kLimit);
  EXPECT_NE(refused.error().message.find("ring.max_size"), std::string::npos);
}

TEST_F(RingFilesTest, ALockIsHeldByOneAndFreedWithItsDescriptor) {
  auto first = create_file(at("lock"), 0640);
  auto second = open_file(at("lock"), Access::kReadWrite);
  auto probe = open_file(at("lock"), Access::kRead);
  ASSERT_TRUE(first && second && probe);
  EXPECT_FALSE(is_locked_elsewhere(probe->get()));
  EXPECT_TRUE(*try_lock(first->get(), "lock"));
  EXPECT_TRUE(*try_lock(first->get(), "lock")) << "again by its holder";
  EXPECT_FALSE(*try_lock(second->get(), "lock"));
  EXPECT_TRUE(is_locked_elsewhere(probe->get()));
  EXPECT_FALSE(is_locked_elsewhere(first->get())) << "not elsewhere";
  first->reset();
  EXPECT_FALSE(is_locked_elsewhere(probe->get()));
  EXPECT_TRUE(*try_lock(second->get(), "lock"));
}

TEST_F(RingFilesTest, TheLinkNamesOneEpochAtATime) {
  const RingPath path(directory_.path(), "ring");
  ASSERT_TRUE(create_directory(path.ring, 0770));
  EXPECT_EQ(current_epoch(path).error().kind, ErrorKind::kNotFound);
  ASSERT_TRUE(create_directory(path.epoch(Epoch(1)), 0770));
  ASSERT_TRUE(create_directory(path.epoch(Epoch(0xffffffffffffffff)), 0770));
  ASSERT_TRUE(set_current_epoch(path, Epoch(1)));
  EXPECT_EQ(*current_epoch(path), Epoch(1));
  ASSERT_TRUE(set_current_epoch(path, Epoch(0xffffffffffffffff)));
  EXPECT_EQ(*current_epoch(path), Epoch(0xffffffffffffffff));
  // One killed between making the link and renaming it.
  ASSERT_EQ(::symlink("epoch-0000000000000001", (path.current() + ".new").c_str()), 0);
  ASSERT_TRUE(set_current_epoch(path, Epoch(1)));
  EXPECT_EQ(*current_epoch(path), Epoch(1));

  auto epochs = list_epochs(path);
  ASSERT_TRUE(epochs) << why(epochs);
  EXPECT_EQ(epochs->size(), 2u);
  ASSERT_TRUE(remove_epoch(path, Epoch(0xffffffffffffffff)));
  ASSERT_TRUE(remove_epoch(path, Epoch(0xffffffffffffffff))) << "a missing one is fine";
  EXPECT_EQ(list_epochs(path)->size(), 1u);

  for (const char* target : {"epoch-0000000000000000", "epoch-1", "epoch-zzzzzzzzzzzzzzzz", "/etc"}) {
    ASSERT_EQ(::unlink(path.current().c_str()), 0);
    ASSERT_EQ(::symlink(target, path.current().c_str()), 0);
    const auto refused = current_epoch(path);
    ASSERT_FALSE(refused) << target;
    EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
  }
}

TEST_F(RingFilesTest, ChunksAreMappedIntoReservedSpace) {
  auto space = LogSpace::reserve(1 << 20);
  ASSERT_TRUE(space) << why(space);
  const auto fd = create_file(at("chunk"), 0640);
  ASSERT_TRUE(fd) << why(fd);
  ASSERT_TRUE(allocate(fd->get(), at("chunk"), 0, 8192));
  ASSERT_TRUE(space->map(fd->get(), at("chunk"), Access::kReadWrite, 65536, 8192));
  space->base()[65536 + 8191] = std::byte{7};
  const auto again = MappedFile::map(at("chunk"), Access::kRead, 8192);
  ASSERT_TRUE(again) << why(again);
  EXPECT_EQ(static_cast<const std::byte*>(again->data())[8191], std::byte{7});
  const LogSpace moved = std::move(*space);
  EXPECT_EQ(moved.base()[65536 + 8191], std::byte{7});
}

}  // namespace
}  // namespace ringside::shm
