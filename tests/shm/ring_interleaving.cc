#include "tests/shm/ring_interleaving.h"

#include "shm/publisher_impl.h"
#include "shm/ring_reader_impl.h"

namespace ringside::shm {

template class BasicRingReader<StoreBufferMemory>;
template class BasicRingWriter<StoreBufferMemory>;
template class BasicPublisher<StoreBufferMemory>;

}  // namespace ringside::shm
