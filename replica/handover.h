// Handover: how a replica takes the place of another of the same index without a refused connection. It is given the
// very sockets the other listens on, so what waits in their queues, and handshakes under way, are never lost.
//
//   successor                                    the replica that serves
//   connects, joins the ring, is ready
//   kAsk      ──────────────────────────────────►
//             ◄──────────────────────────────────  kSockets with the descriptors; goes on accepting
//   opens what it was not given, then accepts
//   kTaken    ──────────────────────────────────►  accepts no more, drains
//             ◄──────────────────────────────────  closes, when none of its accepts is left in the kernel
//   arms its accepts anew: a wake-up may have gone to an accept that was being taken back
//
// Until kTaken has arrived the other serves on, whatever becomes of the successor; so at no time does nobody accept.
// They meet at an abstract unix socket: it leaves nothing behind, and reaches as far as the ports do, one network namespace.
// Both sides ask the kernel who the other is and deal with processes of their own user only.
//
// Threads: one.   Ownership: descriptors that arrive are the receiver's.   Only listen_handover() waits (listener.h).
// Errors: kBusy: another one holds the name; kUnsupported: a peer of another user; kIo, kUnavailable. What a peer sends is
// checked; what is not understood is MessageKind::kUnknown.
// Limits: kPlaces descriptors a message.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringside::replica {

// What a replica listens on. The numbers are sent.
enum class Place : std::uint8_t { kTcp = 0, kUnix = 1, kAdmin = 2, kHandover = 3 };
inline constexpr std::size_t kPlaces = 4;

struct PlacedSocket {
  Place place;
  UniqueFd fd;
};

struct HandoverMessage {
  enum class Kind : std::uint8_t {
    kAsk = 1,      // successor: I am ready, give me your sockets
    kSockets = 2,  // here they are
    kTaken = 3,    // successor: I accept on these now; the others are of no use to me
    // Never sent:
    kNothing = 100,  // nothing has arrived
    kEnded,          // the peer has closed, or is gone
    kUnknown,        // another version's, or no message of ours
  };
  Kind kind = Kind::kNothing;
  std::vector<PlacedSocket> sockets;  // kSockets; of kTaken the places alone
};

// Where the replica of that index on that ring is asked; without the leading zero byte.
std::string handover_name(std::string_view ring_path, unsigned index);

Result<UniqueFd> listen_handover(const std::string& name);
// Of a socket that was handed over: from now on those who connect are told our process, no longer the one before.
Result<void> own_handover(int fd);
// An invalid descriptor: nobody is there.
Result<UniqueFd> connect_handover(const std::string& name);
// The peer's process, when it belongs to our user (or to root).
Result<pid_t> handover_peer(int fd);

// `places[i]` is where `fds[i]` listens; the descriptors stay the caller's. kTaken has places and no descriptors.
Result<void> send_handover(int fd, HandoverMessage::Kind kind, const std::vector<Place>& places = {},
                           const std::vector<int>& fds = {});
HandoverMessage receive_handover(int fd);

}  // namespace ringside::replica
