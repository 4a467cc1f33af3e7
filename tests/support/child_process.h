// A program that a test runs beside itself: started, waited for, read.
//
// Threads: a child dies with the thread that started it.   Ownership: the caller reaps by wait_for_child().
// Errors: std::system_error.   Limits: none of its own.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace ringside::testing {

// Starts a program with its output appended to a file. The child dies with this process, whatever ends it.
pid_t spawn(const std::vector<std::string>& command, const std::filesystem::path& log);

// True when the child has ended within the time; `status` is then waitpid's.
bool wait_for_child(pid_t pid, std::chrono::milliseconds patience, int& status);

// The last lines of a file; empty when there is none.
std::string tail_of(const std::filesystem::path& file, std::size_t lines);

}  // namespace ringside::testing
