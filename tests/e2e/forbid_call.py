"""Runs a program for which one system call fails, as a seccomp rule of a container run-time would make it:

    forbid_call.py NUMBER ERRNO PROGRAM ARGUMENT…

Without privileges: the process gives up gaining any. x86-64 and aarch64 share the numbers of the calls that tests forbid.
"""

import ctypes
import os
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def forbid(number: int, error: int) -> None:
    """From here on this process and what it executes get `error` from system call `number`."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in (
        (_LOAD_WORD, 0, 0, 0),  # the call's number is the first word
        (_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ERRNO | error), (_RETURN, 0, 0, _RET_ALLOW)))
    buffer = ctypes.create_string_buffer(code)
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
            libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])
