# cmake -DSOURCE=… -DOUT=… -P write_build_commit.cmake: a header with the commit that is being built, rewritten only when it
# changes, so that nothing is compiled again for it otherwise. A tree without git, or whose git does not answer: "unknown".
execute_process(COMMAND git -C "${SOURCE}" rev-parse --short=12 HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT commit MATCHES "^[0-9a-f]+$")
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT "#pragma once\n#define RINGSIDE_COMMIT \"${commit}\"\n")
