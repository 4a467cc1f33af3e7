// The catalogue's text is outside input to a reader: whatever it is, it is refused or understood; and what is
// understood is written and read again as the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "shm/catalogue.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ringside::shm;
  const auto parsed = parse_catalogue(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed) {
    RINGSIDE_ASSERT(!parsed.error().message.empty());
    return 0;
  }
  for (const Table& table : parsed->tables) {
    RINGSIDE_ASSERT(parsed->find(table.id) == &table);
    for (const KeyColumn& key : table.key) RINGSIDE_ASSERT(key.column < table.shape.columns.size());
  }
  const auto again = parse_catalogue(catalogue_to_json(*parsed));
  RINGSIDE_ASSERT(again.has_value() && *again == *parsed);
  return 0;
}
