// Sockets that listen: TCP with SO_REUSEPORT (several replicas share the data port), TCP alone (an admin port belongs
// to one), and unix sockets.
//
// Threads: one.   Ownership: the caller's descriptor; a unix socket's name is removed by unlink_socket().
// Errors: kBusy: somebody else listens there, also after three seconds of waiting (a killed process gives its sockets
// back a moment after its death); kIo. Each names the address and what to do.   Limits: kBacklog.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace ringside::replica {

inline constexpr int kBacklog = 1024;

// Tries to listen until it succeeds, fails with another error than kBusy, or three seconds have passed.
Result<UniqueFd> with_patience(const std::function<Result<UniqueFd>()>& listen);

enum class PortUse : std::uint8_t { kAlone, kShared };

// Accepted connections inherit TCP_NODELAY. `setting` names the configuration's line in errors.
Result<UniqueFd> listen_tcp(const ListenAddress& address, PortUse use, const std::string& setting);
// The port that a socket is bound to; 0 when it has none.
std::uint16_t local_port(int fd);
// Does this socket listen where listen_tcp(address) would (port 0: any)? On this path?
bool listens_at(int fd, const ListenAddress& address);
bool listens_at(int fd, const std::string& path);

// Takes over a name whose owner is gone; kBusy when somebody answers there. Mode 0660.
Result<UniqueFd> listen_unix(const std::string& path);
void unlink_socket(const std::string& path);

}  // namespace ringside::replica
