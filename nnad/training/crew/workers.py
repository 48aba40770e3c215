"""Worker processes: each with its share of the cores, replaced when it dies."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nnad.cores.counting import threads_of_each
from nnad.files import own

__all__ = ["Workers"]

THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
SECONDS_TO_STOP = 60.0
COMMAND = (sys.executable, "-m", "nnad.training.crew.worker")


class Workers:
    """So many processes, and the log of what they print. Use as a context manager.

    Args:
        count: of processes.
        log: the file for what they print.
        command: starts one.
    """

    def __init__(self, count: int, log: Path, command: Sequence[str] = COMMAND) -> None:
        self.count = count
        self.log = log
        self.command = command
        self._idle: queue.SimpleQueue[subprocess.Popen[str] | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)  # started when there is something to do
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def each(
        self, tasks: Sequence[Mapping[str, Any]], tell: Callable[[int, dict[str, str]], None]
    ) -> None:
        """Have every task done.

        Args:
            tasks: see `nnad.training.crew.worker.work`.
            tell: called with the number of a task and its answer as soon as there is one.
        """
        answered: queue.SimpleQueue[tuple[int, dict[str, str] | BaseException]]
        answered = queue.SimpleQueue()

        def do(number: int) -> None:
            try:
                answered.put((number, self._do(tasks[number])))
            except BaseException as error:  # told to the thread that waits
                answered.put((number, error))

        with ThreadPoolExecutor(self.count) as threads:
            try:
                for number in range(len(tasks)):
                    threads.submit(do, number)
                for _ in tasks:
                    number, answer = answered.get()
                    if isinstance(answer, BaseException):
                        raise answer
                    tell(number, answer)
            except BaseException:
                self.stop()
                threads.shutdown(cancel_futures=True)
                raise

    def stop(self) -> None:
        """End all processes; those that train leave a checkpoint first."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._forget(process)

    def _do(self, task: Mapping[str, Any]) -> dict[str, str]:
        """The answer of a process to a task; its death is one too."""
        process = self._idle.get()
        try:
            if process is None or process.poll() is not None:
                process = self._start()
            answer = self._ask(process, task)
        finally:
            self._idle.put(process)
        return answer

    def _ask(self, process: subprocess.Popen[str], task: Mapping[str, Any]) -> dict[str, str]:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # it has died, or its pipes were closed by stop()
            line = ""
        if line:
            found: dict[str, str] = json.loads(line)
            return found
        status = process.wait()
        self._forget(process)
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        return {"status": "lost", "message": f"its worker process ended {how}; see {self.log}"}

    def _start(self) -> subprocess.Popen[str]:
        threads = str(threads_of_each(self.count))
        with self._lock, open(self.log, "a", encoding="utf-8", opener=own) as log:
            if self._stopped:
                raise RuntimeError("the workers have been stopped")
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**os.environ, **dict.fromkeys(THREAD_SETTINGS, threads)},
                start_new_session=True,  # signals from the keyboard reach them through us alone
            )
            self._running.add(process)
        return process

    def _forget(self, process: subprocess.Popen[str]) -> None:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        with self._lock:
            self._running.discard(process)
