"""Jobs of the page in processes of their own, forked from one that has imported all that they need."""

import multiprocessing
import os
import runpy
import sys
from multiprocessing import forkserver

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["everything"])


def begin():
    """Start to import, while the page's server does as well."""
    forkserver.ensure_running()


class Popen:
    """What the queue uses of `subprocess.Popen`."""

    def __init__(self, command, stdin, stdout, stderr, env, start_new_session):
        self._process = _server.Process(target=_run, args=(command[1:], stdout.name, stderr.name, env))
        self._process.start()
        self.pid = self._process.pid

    def wait(self):
        self._process.join()
        return self._process.exitcode


def _run(words, stdout, stderr, env):
    """In the forked process: be the program, in a session of its own."""
    os.setsid()
    os.environ.update(env)
    for number, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.argv = [str(word) for word in words]
    runpy.run_path(sys.argv[0], run_name="__main__")
