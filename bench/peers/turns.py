"""One rank of a peer's world in the bench `collectives`: obeys lines of `op bytes repeats`, as `collectives-ours.ts` does."""
import json
import socket
import time

from measures import run_queue_wait


def obey(path, rank, who, operation_of):
    """`operation_of(op, bytes, value)` makes buffers full of `value` and returns a call that gives the first element of its result lazily."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    stream = connection.makefile("rw")

    def say(answer):
        stream.write(json.dumps(answer) + "\n")
        stream.flush()

    say({"rank": rank, "who": who})
    for line in stream:
        op, size, repeats = line.split()
        say(turn(operation_of, op, int(size), int(repeats)))


def turn(operation_of, op, size, repeats):
    value = float(operation_of(op, size, 1.0)()[0])
    # Zeros stay zeros, however often they are added up.
    operation = operation_of(op, size, 0.0)
    operation()
    waited, started = run_queue_wait(), time.perf_counter()
    for _ in range(repeats):
        operation()
    seconds = time.perf_counter() - started
    return {"us": seconds * 1e6 / repeats, "wait": (run_queue_wait() - waited) / seconds, "value": value}
