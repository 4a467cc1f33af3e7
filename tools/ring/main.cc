// ringside-ring: looks into a ring. Wiring of the subcommands; each option's text is its documentation.
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/config.h"
#include "tools/ring/dump.h"
#include "tools/ring/inspect.h"
#include "tools/ring/survey.h"
#include "tools/ring/verify.h"

namespace ringside::tools {
namespace {

constexpr const char* kPurpose = "Looks into the ring that a ringside-writer keeps on this host.";
constexpr const char* kMore =
    R"(Works on a live ring, and on one whose writer is gone. Nothing but dump and --hold takes a reader
slot, and nothing writes to the ring. What the writer frees or reuses meanwhile is counted as changed underneath.

Exit codes: 0 done, nothing wrong; 1 the ring is corrupt, what was found is on standard output (verify) or
standard error; 2 could not look: no ring, no permission, another layout, no such table or key; above 100
wrong command line.
Examples, and what the figures mean: docs/operating.md, "Looking into the ring".)";

constexpr int kDone = 0;
constexpr int kCorruptRing = 1;
constexpr int kCouldNotLook = 2;

struct Arguments {
  std::string config;
  std::string ring;
  bool is_json = false;
  bool holds = false;
  bool is_summary = false;
  bool is_all = false;
  DumpOptions dump;
};

int fail(const Error& error) {
  fmt::print(stderr, "ringside-ring: {}\n", error.message);
  return error.kind == ErrorKind::kCorrupt ? kCorruptRing : kCouldNotLook;
}

Result<RingName> ring_of(const Arguments& arguments) {
  if (!arguments.ring.empty()) {
    std::filesystem::path path = std::filesystem::path(arguments.ring).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    const std::string directory = path.has_parent_path() ? path.parent_path().string() : ".";
    return RingName{directory, path.filename().string()};
  }
  RINGSIDE_ASSIGN(const Config config, load_config(arguments.config));
  return RingName{config.ring.directory, config.ring.name};
}

int print(const Report& report, const Arguments& arguments) {
  if (arguments.is_json) {
    report.print_json(stdout);
    std::fputc('\n', stdout);
  } else {
    report.print_text(stdout);
  }
  return kDone;
}

int print(const Result<Report>& report, const Arguments& arguments) {
  return report ? print(*report, arguments) : fail(report.error());
}

// The slot that --hold asks for; an Error when there is none to be had.
Result<std::optional<Hold>> hold_of(const RingView& ring, const Arguments& arguments) {
  if (!arguments.holds) return std::optional<Hold>();
  RINGSIDE_ASSIGN(Hold hold, Hold::take(ring));
  fmt::print(stderr, "ringside-ring: holds the ring as reader {}: nothing is freed until this ends\n",
             hold.slot());
  return std::optional<Hold>(std::move(hold));
}

// After the look: what was promised may not have been kept.
void tell_of_lost_hold(const std::optional<Hold>& hold) {
  if (!hold || !hold->is_evicted()) return;
  fmt::print(stderr,
             "ringside-ring: the writer needed the room and ended the hold: see changed underneath\n");
}

int segments(const RingView& ring, const Arguments& arguments) {
  Result<std::optional<Hold>> hold = hold_of(ring, arguments);
  if (!hold) return fail(hold.error());
  const Result<Survey> survey = survey_log(ring, *hold ? &**hold : nullptr);
  if (!survey) return fail(survey.error());
  tell_of_lost_hold(*hold);
  return print(segments_report(*survey, arguments.is_summary), arguments);
}

int verify(const RingName& name, const Arguments& arguments) {
  const Result<RingView> ring = RingView::open(name);
  if (!ring && ring.error().kind != ErrorKind::kCorrupt) return fail(ring.error());
  Verification verification;
  if (ring) {
    Result<std::optional<Hold>> hold = hold_of(*ring, arguments);
    if (!hold) return fail(hold.error());
    verification = verify_ring(*ring, *hold ? &**hold : nullptr);
    tell_of_lost_hold(*hold);
  } else {
    verification = verification_of(ring.error());
  }
  print(verify_report(name, verification), arguments);
  return verification.is_clean() ? kDone : kCorruptRing;
}

int dump(const RingName& name, const Arguments& arguments) {
  const Result<void> dumped = dump_table(name, arguments.dump, stdout);
  return dumped ? kDone : fail(dumped.error());
}

int run(const Arguments& arguments, const std::string& subcommand) {
  const Result<RingName> name = ring_of(arguments);
  if (!name) return fail(name.error());
  if (subcommand == "verify") return verify(*name, arguments);
  if (subcommand == "dump") return dump(*name, arguments);
  const Result<RingView> ring = RingView::open(*name);
  if (!ring) return fail(ring.error());
  if (subcommand == "segments") return segments(*ring, arguments);
  if (subcommand == "readers") return print(readers_report(*ring, arguments.is_all), arguments);
  if (subcommand == "catalogue") return print(catalogue_report(*ring), arguments);
  return print(header_report(*ring, monotonic_ns()), arguments);
}

void add_subcommands(CLI::App& app, Arguments& arguments) {
  const auto add = [&app](const char* name, const char* purpose) {
    CLI::App* subcommand = app.add_subcommand(name, purpose);
    subcommand->fallthrough();
    return subcommand;
  };
  const auto add_hold = [&arguments](CLI::App* subcommand) {
    subcommand->add_flag(
        "--hold", arguments.holds,
        "Take a reader slot, so that nothing changes underneath. It holds the writer back like a "
        "replica that joins, and needs write access to the reader files");
  };
  add("header", "Identity, sizes, the writer, and what the source last was");
  CLI::App* segments = add("segments", "What lies in each segment, and how much of it is live");
  segments->add_flag("--summary", arguments.is_summary,
                     "A histogram of the utilisation, the tables and totals instead");
  add_hold(segments);
  CLI::App* readers = add("readers", "Who reads the ring, and what each holds back");
  readers->add_flag("--all", arguments.is_all, "Free slots as well");
  CLI::App* dump = add("dump", "A table's rows at one version, as lines of JSON; takes a reader slot");
  dump->add_option("--table", arguments.dump.table, "Its name")->required();
  dump->add_option("--key", arguments.dump.key,
                   "Only the row with this key, written as in a URL: 7, or a%2Cb,2");
  dump->add_option("--limit", arguments.dump.limit, "At most so many rows, in no order");
  add_hold(add("verify", "Every checksum there is; exit code 1 when one does not fit"));
  add("catalogue", "Tables, their keys and columns");
}

}  // namespace
}  // namespace ringside::tools

int main(int argc, char** argv) {
  using namespace ringside::tools;
  Arguments arguments;
  CLI::App app(kPurpose, "ringside-ring");
  app.footer(kMore);
  app.set_version_flag("--version", std::string("ringside-ring ") + RINGSIDE_VERSION);
  CLI::Option* config = app.add_option("--config", arguments.config,
                                       "The configuration file of writer and replicas; of it [ring] counts")
                            ->type_name("FILE");
  app.add_option("--ring", arguments.ring, "The ring's directory instead: /dev/shm/shop")
      ->type_name("DIRECTORY")
      ->excludes(config);
  app.add_flag("--json", arguments.is_json, "Print JSON (dump always does)");
  app.require_subcommand(1);
  add_subcommands(app, arguments);
  try {
    app.parse(argc, argv);
    if (arguments.config.empty() && arguments.ring.empty()) {
      throw CLI::RequiredError("--config or --ring");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);  // --help and --version as well
  }
  try {
    const int code = run(arguments, app.get_subcommands().front()->get_name());
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    std::fputs("ringside-ring: standard output could not be written\n", stderr);
  } catch (const std::exception& error) {
    fmt::print(stderr, "ringside-ring: {}\n", error.what());
  }
  return kCouldNotLook;
}
