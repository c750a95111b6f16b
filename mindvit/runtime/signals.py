"""Ctrl-C and SIGTERM: a KeyboardInterrupt, or, while something can be finished and saved, a note of which came."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from mindvit.runtime.workers import workers

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Asked:
    """What was asked.

    Attributes:
        number (int, optional): the first signal that came.
        patient (bool): whether signals are noted only, as the work ends soon by itself; a second one ends the process.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.patient = False

    def take(self, number: int) -> bool:
        """Notes a signal; whether the work is to be interrupted now."""
        if not self.patient:
            self.number = self.number or number
            return True
        if self.number:
            os._exit(128 + number)
        self.number = number
        print(f"\n{self.plan()}; once more leaves at once", file=sys.stderr, flush=True)
        return False

    def plan(self) -> str:
        """What follows from a signal that is only noted."""
        if workers.rank:
            return f"worker {workers.rank} goes on until worker 0 is asked too, saves, and the launcher ends all"
        return "stopping when this step is done and saved"


asked = Asked()


@contextlib.contextmanager
def patience() -> Iterator[Asked]:
    """Within it signals are noted in what it gives."""
    asked.patient = True
    try:
        yield asked
    finally:
        asked.patient = False


def stop(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt; while a graph is compiled or a checkpoint saved, afterwards, for MindSpore would call
    the network faulty, or the disk full."""
    while frame:
        if frame.f_code.co_name in ("compile", "save_checkpoint") and "mindspore" in frame.f_code.co_filename:
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # SIGALRM comes here again
            return
        frame = frame.f_back
    if number == signal.SIGALRM or asked.take(number):
        raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable() -> Iterator[Asked]:
    """Ctrl-C and SIGTERM end the block with KeyboardInterrupt, or are noted; see `patience`.

    While a graph runs, MindSpore takes SIGINT from Python and sends its own process SIGTERM instead. So both are
    blocked in this thread, and with it in those that it starts, and a thread waits for them, but for one that was
    ignored before. Where threads from before take a signal all the same, Python's handler does likewise.
    """
    asked.number, ended = None, threading.Event()
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    watched = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]  # as SIGINT is in the background

    def watch():
        while not ended.is_set():
            found = signal.sigtimedwait(watched, 0.2)
            # Behind a process that stood still (Ctrl-Z) Python 3.12 gives numbers that nobody sent.
            if found and found.si_signo in watched and asked.take(found.si_signo):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    for number in (*watched, signal.SIGALRM):
        signal.signal(number, stop)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield asked
    finally:
        ended.set()
        watcher.join()
        signal.setitimer(signal.ITIMER_REAL, 0)  # see `stop`; without its handler SIGALRM ends the process
        for number in {*SIGNALS} - {*watched}:
            signal.signal(number, signal.SIG_IGN)  # again, as MindSpore may have set a handler
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
