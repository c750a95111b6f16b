"""Signals to a real process."""

import signal
import subprocess
import sys
import time

WAITING = """
import time
from mindvit.runtime.signals import stoppable
with stoppable():
    print("begun", flush=True)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        time.sleep(0.05)
print("whole")
"""


def test_a_process_that_was_held_goes_on():
    """As by Ctrl-Z and fg."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.4)  # longer than the watcher waits
            process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        assert process.communicate()[0] == "whole\n" and process.returncode == 0
