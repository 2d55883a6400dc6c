"""One rank of a peer's world: obeys lines of some words and a number of repeats, as `rank-turns.ts` does."""
import json
import socket
import time

from measures import run_queue_wait


def obey(path, rank, who, turn):
    """`turn(words, clock)` has its operation timed by `clock(operation)`, once, and returns what all ranks must agree on."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    stream = connection.makefile("rw")

    def say(answer):
        stream.write(json.dumps(answer) + "\n")
        stream.flush()

    say({"rank": rank, "who": who})
    for line in stream:
        *words, repeats = line.split()
        measured = {}

        def clock(operation):
            waited, started = run_queue_wait(), time.perf_counter()
            for _ in range(int(repeats)):
                operation()
            seconds = time.perf_counter() - started
            measured.update(us=seconds * 1e6 / int(repeats), wait=(run_queue_wait() - waited) / seconds)

        value = turn(words, clock)
        say({**measured, "value": value})


def collective_turn(operation_of):
    """Turns of collectives: `operation_of(op, bytes, value)` makes buffers full of `value` and returns a call that gives its result."""

    def turn(words, clock):
        op, size = words[0], int(words[1])
        value = float(operation_of(op, size, 1.0)()[0])
        # Zeros stay zeros, however often they are added up.
        operation = operation_of(op, size, 0.0)
        operation()
        clock(operation)
        return value

    return turn
