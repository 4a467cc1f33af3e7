// What a request asks of the writer, and whether it may: everything that the head alone decides.
//
// Checked in this order: Host (a web page that had its own name resolve to this machine is refused), token, method, path,
// Content-Type (a web page cannot send application/json elsewhere without being asked first).
//
// Threads: pure functions.   Ownership: a Route owns its texts.
// Errors: the answer to send instead.   Limits: the head's, set by the HTTP side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/config.h"
#include "http/request_parser.h"
#include "writer/commands/answer.h"
#include "writer/commands/command_runner.h"

namespace ringside::writer {

struct AccessRules {
  ListenAddress listen;
  std::span<const Secret> tokens;  // empty: no token is asked for
};

struct Route {
  enum class Kind : std::uint8_t { kCommand, kStatus, kHealth, kReady, kMetrics };

  Kind kind = Kind::kCommand;
  Operation operation = Operation::kRead;
  std::string raw_table;  // still percent-encoded
  std::string raw_key;
};

std::variant<Route, Answer> find_route(const http::Request& request, const AccessRules& rules);

enum class HostCheck : std::uint8_t {
  kOk,
  kBad,      // 400: no host, or none that can be understood
  kForeign,  // 421: another one's name
};
// The port does not matter: it may be forwarded. Loopback's names are always good. When listening on all addresses, any
// name is: then a token is required, which a foreign page does not have.
HostCheck check_host(const ListenAddress& listen, std::string_view host);

// "Bearer <token>" with one of the tokens. Every token is compared, each in a time that depends on lengths only.
bool is_authorised(std::span<const Secret> tokens, std::string_view authorization);

// application/json, with no parameter but charset=utf-8.
bool is_json(std::string_view content_type);

}  // namespace ringside::writer
