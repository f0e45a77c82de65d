"""Calls from threads that Python has not started."""

import contextlib

__all__ = ["keep_thread_state"]


def keep_thread_state() -> None:
    """Let Python know the calling thread from now on, until the process ends.

    To be called in a callback of the library. It brackets each callback with `PyGILState_Ensure`
    and `PyGILState_Release`, and where the thread is not known to Python the one makes a thread
    state and maps memory for its stack, and the other destroys both: 7 µs of system time for each
    message. One more `PyGILState_Ensure`, which nothing releases, keeps them ("Non-Python created
    threads" in Python's C API manual). It may be called again, to no effect.
    """
    with contextlib.suppress(ImportError):  # a Python without ctypes: slower, and no worse
        from ctypes import pythonapi

        pythonapi.PyGILState_Ensure()
