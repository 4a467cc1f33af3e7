// What the main() of every server program has in common: the usual options, the log, how it is asked to end, how it ends.
//
//   CLI::App app(kPurpose, "ringside-replica");
//   app.add_flag("--take-over", …);
//   return run_program(app, RINGSIDE_VERSION, argc, argv, [&](Config config) { return run(std::move(config)); });
//
// Adds --config, --log-format, --log-level and --version to the program's own options.
//
// Threads: main's, before it starts another.   Ownership: none.
// Errors: the exit code. 0: ended as asked, or only told its version or help; 1: cannot go on, and the last line of the
// log says why; above 100: the command line is wrong, the reason is on standard error.   Limits: none.
#pragma once

#include <functional>
#include <string>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace CLI {
class App;
}

namespace ringside {

// Exceptions end the program as errors do.
int run_program(CLI::App& app, const std::string& version, int argc, const char* const* argv,
                const std::function<Result<void>(Config)>& run);

// Blocks SIGTERM and SIGINT in this thread and in all that it starts. The descriptor, which does not block, becomes
// readable with each that comes, so that an event loop sees them between two turns.
Result<UniqueFd> stop_signals();
// The same with SIGHUP besides: next_signal() tells which it was.
Result<UniqueFd> stop_and_reload_signals();
// The signal that made the descriptor readable; 0: none.
int next_signal(const UniqueFd& signals);

}  // namespace ringside
