"""What both peers tell of themselves, as `process-measures.ts` does for ours."""
import json
import os


def run_queue_wait():
    """Seconds for which threads of this process could have run and did not, because others had the cores."""
    total = 0
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/schedstat") as file:
                total += int(file.read().split()[1])
    except OSError:
        pass
    return total / 1e9


def peak_bytes():
    """Most memory this process ever had resident (VmHWM)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def say(answer):
    """One line of JSON."""
    print(json.dumps(answer), flush=True)
