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

std::optional<Answer> check_access(const http::Request& request, const AccessRules& rules) {
  switch (check_host(rules.listen, request.host)) {
    case HostCheck::kOk:
      break;
    case HostCheck::kBad:
      return bad_request("the Host is missing, or is none that this server could have");
    case HostCheck::kForeign:
      return make_problem({.status = 421,
                           .type = "misdirected",
                           .title = "This is not the host that was asked for",
                           .detail = fmt::format("use the address of writer.listen ({}) in the URL",
                                                 rules.listen.to_string())});
  }
  return std::nullopt;
}

std::optional<Answer> check_token(const http::Request& request, const AccessRules& rules) {
  if (rules.tokens.empty() || is_authorised(rules.tokens, request.authorization)) return std::nullopt;
  Answer answer = make_problem({.status = 401,
                                .type = "unauthorized",
                                .title = "A token is needed",
                                .detail = "send Authorization: Bearer with a token of writer.token_file"});
  answer.ask_for_token = true;
  return answer;
}

// Of a resource that takes the methods of `allow` and not this one; OPTIONS asks for just that list.
Answer methods_are(std::string_view allow, http::Method method) {
  Answer answer;
  if (method == http::Method::kOptions) {
    answer.status = 204;
  } else {
    answer = make_problem({.status = 405,
                           .type = "method-not-allowed",
                           .title = "The method is not possible here",
                           .detail = fmt::format("possible here: {}", allow)});
  }
  answer.allow = allow;
  return answer;
}

Answer no_body(const http::Request& request) {
  return make_problem({.status = 413,
                       .type = "body-not-allowed",
                       .title = "Request body not allowed",
                       .detail = fmt::format("{} takes no body here", to_string(request.method))});
}

Answer unknown_method() {
  return make_problem({.status = 501,
                       .type = "method-not-implemented",
                       .title = "The method is not known",
                       .detail = "known are GET, HEAD, OPTIONS, POST, PUT, PATCH and DELETE"});
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

std::optional<Operation> row_operation(http::Method method) {
  switch (method) {
    case http::Method::kGet:
    case http::Method::kHead:
      return Operation::kRead;
    case http::Method::kPut:
      return Operation::kPut;
    case http::Method::kPatch:
      return Operation::kPatch;
    case http::Method::kDelete:
      return Operation::kDelete;
    default:
      return std::nullopt;
  }
}

std::variant<Route, Answer> find_command(const http::Request& request) {
  const http::PathSegments segments = http::split_path(request.path);
  const bool is_ours = segments[0] == "v1" && (segments.count == 2 || segments.count == 3) &&
                       !segments.is_too_deep && !segments[1].empty();
  if (!is_ours) return no_such_path(request.path);
  if (segments.has_dot_segment) return bad_request("the path has a dot segment: write such a key as ?key=..");
  Route route;
  route.raw_table = segments[1];
  bool has_key = false;
  if (auto refusal = key_of_query(request.query, route, has_key)) return *std::move(refusal);
  if (segments.count == 3) {
    if (has_key) return bad_request("the key is in the path and in the query");
    if (segments[2].empty()) return bad_request("the key is empty: write an empty key as ?key=");
    route.raw_key = segments[2];
    has_key = true;
  }
  if (!has_key) {
    if (request.method != http::Method::kPost) return methods_are("POST, OPTIONS", request.method);
    route.operation = Operation::kInsert;
  } else {
    const auto operation = row_operation(request.method);
    if (!operation) return methods_are("GET, HEAD, PUT, PATCH, DELETE, OPTIONS", request.method);
    route.operation = *operation;
  }
  const bool takes_body = route.operation != Operation::kRead && route.operation != Operation::kDelete;
  if (!takes_body && request.has_body()) return no_body(request);
  if (takes_body && !is_json(request.content_type)) {
    return make_problem({.status = 415,
                         .type = "unsupported-media-type",
                         .title = "The body must be JSON",
                         .detail = "send Content-Type: application/json, once"});
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

std::variant<Route, Answer> find_route(const http::Request& request, const AccessRules& rules) {
  if (auto refusal = check_access(request, rules)) return *std::move(refusal);
  const auto kind = page(request.path);
  // Probes must work without a secret; what they say is ready or not.
  const bool is_probe = kind == Route::Kind::kHealth || kind == Route::Kind::kReady;
  if (!is_probe) {
    if (auto refusal = check_token(request, rules)) return *std::move(refusal);
  }
  if (request.method == http::Method::kOther) return unknown_method();
  if (request.method == http::Method::kOptions && request.has_body()) return no_body(request);
  if (request.path == "*") return methods_are("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", request.method);
  if (!kind) return find_command(request);
  if (request.method != http::Method::kGet && request.method != http::Method::kHead)
    return methods_are("GET, HEAD, OPTIONS", request.method);
  if (request.has_body()) return no_body(request);
  Route route;
  route.kind = *kind;
  return route;
}

}  // namespace ringside::writer
