"""A worker process: reads tasks as JSON lines from its input, writes answers to its output.

``python -m recondoor.sweeps._worker``; the driver starts it and holds the other ends of both pipes.
"""

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import TextIO

from recondoor.sweeps._work import Answer, Task, attempt, reason_of


def main() -> None:
    """Work until the input ends, which it does with the driver."""
    # Ctrl-C reaches every process of a terminal; the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    # Whatever a library prints must not come between the answers.
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        import recondoor.studies  # noqa: F401
    except Exception as error:  # noqa: BLE001  (whatever it is, the driver has to know)
        _say(answers, {"fault": reason_of(error)})
        os._exit(1)
    _say(answers, {"ready": True})
    while True:
        _say(answers, asdict(_answer(Task(**json.loads(tasks.get())))))


def _listen(tasks: "queue.SimpleQueue[str]") -> None:
    """Pass tasks on; at the end of the input, end the process in the midst of what it does."""
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


def _answer(task: Task) -> Answer:
    try:
        return attempt(task)
    except Exception as error:  # noqa: BLE001  (one point's fault must not stop the others)
        return Answer(error=reason_of(error))


def _say(answers: TextIO, message: object) -> None:
    try:
        print(json.dumps(message), file=answers, flush=True)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
