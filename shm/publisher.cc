#include "shm/publisher_impl.h"

namespace ringside::shm {

template class BasicPublisher<ProcessMemory>;

}  // namespace ringside::shm
