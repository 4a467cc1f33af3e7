#include "writer/commands/request_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "http/target.h"

namespace ringside::writer {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_without_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// "name:port", "name", "[::1]:port". False when it is no such thing.
bool split_host(std::string_view host, std::string_view& name) {
  std::string_view port;
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return false;
    name = host.substr(1, end - 1);
    port = host.substr(end + 1);
    const bool is_address = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.';
    });
    if (!is_address) return false;
  } else {
    const std::size_t colon = std::min(host.find(':'), host.size());
    name = host.substr(0, colon);
    port = host.substr(colon);
    const bool is_name = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' ||
             c == '_';
    });
    if (!is_name) return false;
  }
  if (name.empty()) return false;
  if (port.empty()) return true;
  port.remove_prefix(1);
  return host[host.size() - port.size() - 1] == ':' && port.size() <= 5 &&
         std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<Answer> check_access(const RequestHead& head, const AccessRules& rules) {
  if (head.hosts.size() != 1) return bad_request("a request has exactly one Host header");
  switch (check_host(rules.listen, head.hosts.front())) {
    case HostCheck::kOk:
      break;
    case HostCheck::kBad:
      return bad_request("the Host header is no host");
    case HostCheck::kForeign:
      return make_problem({.status = 421,
                           .type = "misdirected",
                           .title = "This is not the host that was asked for",
                           .detail = fmt::format("use the address of writer.listen ({}) in the URL",
                                                 rules.listen.to_string())});
  }
  return std::nullopt;
}

std::optional<Answer> check_token(const RequestHead& head, const AccessRules& rules) {
  if (rules.tokens.empty()) return std::nullopt;
  if (head.authorizations.size() == 1 && is_authorised(rules.tokens, head.authorizations.front()))
    return std::nullopt;
  Answer answer = make_problem({.status = 401,
                                .type = "unauthorized",
                                .title = "A token is needed",
                                .detail = "send Authorization: Bearer with a token of writer.token_file"});
  answer.ask_for_token = true;
  return answer;
}

Answer method_not_allowed(std::string_view allow) {
  Answer answer = make_problem({.status = 405,
                                .type = "method-not-allowed",
                                .title = "The method is not possible here",
                                .detail = fmt::format("possible here: {}", allow)});
  answer.allow = allow;
  return answer;
}

std::optional<Route::Kind> page(std::string_view path) {
  if (path == "/status") return Route::Kind::kStatus;
  if (path == "/healthz") return Route::Kind::kHealth;
  if (path == "/readyz") return Route::Kind::kReady;
  if (path == "/metrics") return Route::Kind::kMetrics;
  return std::nullopt;
}

// "?key=…" takes also the keys that no path segment can be: '', '.' and '..'.
std::optional<Answer> key_of_query(std::string_view query, Route& route, bool& has_key) {
  http::QueryParameters parameters;
  std::string_view culprit;
  const auto status = http::parse_query(query, {.max_keys = 1}, parameters, culprit);
  if (status != http::QueryStatus::kOk) {
    return bad_request(fmt::format("parameter '{}' {}", culprit, http::describe(status)));
  }
  const bool only_key = !parameters.has_fields && !parameters.has_min_version && !parameters.has_wait &&
                        !parameters.has_limit && parameters.numbers == http::NumberForm::kDefault &&
                        parameters.min_gtid.empty() && parameters.order.empty() && parameters.after.empty() &&
                        parameters.key_form != http::KeyForm::kKeys;
  if (!only_key) return bad_request("commands take no parameter but key");
  has_key = parameters.key_form == http::KeyForm::kKey;
  std::string_view raw;
  http::KeyReader keys(parameters);
  if (!has_key || !keys.next(raw)) return std::nullopt;
  // In a query a plus is a space; in a path, whose rule holds from here on, it is a plus.
  for (const char c : raw) c == '+' ? route.raw_key += "%20" : route.raw_key += c;
  return std::nullopt;
}

std::optional<Operation> row_operation(std::string_view method) {
  if (method == "GET") return Operation::kRead;
  if (method == "PUT") return Operation::kPut;
  if (method == "PATCH") return Operation::kPatch;
  if (method == "DELETE") return Operation::kDelete;
  return std::nullopt;
}

std::variant<Route, Answer> find_command(const RequestHead& head, std::string_view path,
                                         std::string_view query) {
  const http::PathSegments segments = http::split_path(path);
  const bool is_ours = segments[0] == "v1" && (segments.count == 2 || segments.count == 3) &&
                       !segments.is_too_deep && !segments[1].empty();
  if (!is_ours) return no_such_path(path);
  if (segments.has_dot_segment) return bad_request("the path has a dot segment: write such a key as ?key=..");
  Route route;
  route.raw_table = segments[1];
  bool has_key = false;
  if (auto refusal = key_of_query(query, route, has_key)) return *std::move(refusal);
  if (segments.count == 3) {
    if (has_key) return bad_request("the key is in the path and in the query");
    if (segments[2].empty()) return bad_request("the key is empty: write an empty key as ?key=");
    route.raw_key = segments[2];
    has_key = true;
  }
  if (!has_key) {
    if (head.method != "POST") return method_not_allowed("POST");
    route.operation = Operation::kInsert;
  } else {
    const auto operation = row_operation(head.method);
    if (!operation) return method_not_allowed("GET, PUT, PATCH, DELETE");
    route.operation = *operation;
  }
  const bool takes_body = route.operation != Operation::kRead && route.operation != Operation::kDelete;
  if (!takes_body && head.has_body) return bad_request(fmt::format("{} takes no body here", head.method));
  if (takes_body && (head.content_types.size() != 1 || !is_json(head.content_types.front()))) {
    return make_problem({.status = 415,
                         .type = "unsupported-media-type",
                         .title = "The body must be JSON",
                         .detail = "send Content-Type: application/json"});
  }
  return route;
}

}  // namespace

HostCheck check_host(const ListenAddress& listen, std::string_view host) {
  std::string_view name;
  if (!split_host(trim(host), name)) return HostCheck::kBad;
  if (name == "127.0.0.1" || name == "::1" || equal_without_case(name, "localhost")) return HostCheck::kOk;
  if (listen.host == "0.0.0.0" || listen.host == "::") return HostCheck::kOk;
  return equal_without_case(name, listen.host) ? HostCheck::kOk : HostCheck::kForeign;
}

bool is_authorised(std::span<const Secret> tokens, std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (!equal_without_case(authorization.substr(0, kScheme.size()), kScheme)) return false;
  const std::string_view candidate = trim(authorization.substr(kScheme.size()));
  bool found = false;
  for (const Secret& token : tokens) found = token.equals(candidate) || found;
  return found && !candidate.empty();
}

bool is_json(std::string_view content_type) {
  const std::size_t end = std::min(content_type.find(';'), content_type.size());
  if (!equal_without_case(trim(content_type.substr(0, end)), "application/json")) return false;
  const std::string_view parameter = trim(content_type.substr(std::min(end + 1, content_type.size())));
  return parameter.empty() || equal_without_case(parameter, "charset=utf-8") ||
         equal_without_case(parameter, "charset=\"utf-8\"");
}

std::variant<Route, Answer> find_route(const RequestHead& head, const AccessRules& rules) {
  if (auto refusal = check_access(head, rules)) return *std::move(refusal);
  if (!head.target.starts_with('/')) return bad_request("the target must be a path");
  const std::size_t mark = std::min(head.target.find('?'), head.target.size());
  const std::string_view path = head.target.substr(0, mark);
  const std::string_view query = head.target.substr(std::min(mark + 1, head.target.size()));

  const auto kind = page(path);
  // Probes must work without a secret; what they say is ready or not.
  const bool is_probe = kind == Route::Kind::kHealth || kind == Route::Kind::kReady;
  if (!is_probe) {
    if (auto refusal = check_token(head, rules)) return *std::move(refusal);
  }
  if (!kind) return find_command(head, path, query);
  if (head.method != "GET" && head.method != "HEAD") return method_not_allowed("GET, HEAD");
  if (head.has_body) return bad_request(fmt::format("{} takes no body here", head.method));
  Route route;
  route.kind = *kind;
  return route;
}

}  // namespace ringside::writer
