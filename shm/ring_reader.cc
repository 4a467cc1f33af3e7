#include "shm/ring_reader_impl.h"

namespace ringside::shm {

template class BasicRingReader<ProcessMemory>;

}  // namespace ringside::shm
