// The example in deploy/ is a configuration that the programs accept.

#include <gtest/gtest.h>

#include "base/config.h"

namespace ringside {
namespace {

TEST(ExampleConfig, IsAccepted) {
  const Result<Config> config = load_config(RINGSIDE_EXAMPLE_CONFIG);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->mysql.database, "shop");
  EXPECT_TRUE(config->mysql.is_chosen("products"));
  EXPECT_FALSE(config->mysql.is_chosen("tmp_products"));
  EXPECT_EQ(config->replica.unix_socket_for(1), "/run/ringside/shop.1.sock");
}

}  // namespace
}  // namespace ringside
