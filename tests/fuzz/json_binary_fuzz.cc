// MySQL's binary JSON on any bytes. What is taken must be JSON, and no longer than the document allows.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "writer/binlog/json_binary.h"
#include "writer/value_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ringside;
  using namespace ringside::writer;
  // An exact copy, so that AddressSanitizer sees a read behind it.
  const std::unique_ptr<std::byte[]> copy(new std::byte[size]);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, copy.get());
  std::string text = "before";
  const ValueStatus status = binlog::append_json_binary(text, Bytes(copy.get(), size));
  RINGSIDE_ASSERT(text.starts_with("before") && text.size() <= 6 + 8 * size + 32);
  if (status != ValueStatus::kOk) return 0;
  std::string again;
  RINGSIDE_ASSERT(append_json(again, std::string_view(text).substr(6)) == ValueStatus::kOk);
  return 0;
}
