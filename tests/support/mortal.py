"""`nerf-insert` in processes of its own that meet with an accident at a chosen moment.

    with Nursery(folder) as nursery:
        nursery.run(["edit", ...], accident={"signal": 9, "when": "before", "file": "*/scene.json"})

Files come to be, and change, by `os.replace` alone (nerf_insert.io.files), so the moments before and after
each of them are all that a kill can tell apart on the disk. The nursery imports everything once and forks
for every command, which saves the seconds that importing torch takes. What it trains is small, and light is
found coarsely.
"""

import fnmatch
import importlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from less_work import coarse_light, small_bases

SUPPORT = Path(__file__).parent


class Ended:
    """How a command ended: `code` is that of its exit, or minus the signal that killed it."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


class Nursery:
    def __init__(self, folder):
        self.folder = Path(folder)  # the commands' current folder

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )
        return self

    def run(self, words, accident=None, limit=None, bound=False):
        """Run a command. `accident`: a signal that it gets before or after the nth file of that pattern is
        put in its place. `limit`: bytes that no file may exceed. `bound`: by permissions, even
        as root."""
        task = {"words": [str(word) for word in words], "accident": accident, "limit": limit}
        task["bound"] = bound
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def arrange(accident):
    """Have this process get the accident's signal when its moment comes."""
    replace, seen = os.replace, []

    def perhaps_the_last(source, target):
        seen.extend([target] if fnmatch.fnmatch(str(target), accident["file"]) else [])
        now = bool(seen) and seen[-1] is target and len(seen) == accident.get("nth", 1)
        if now and accident["when"] == "before":
            os.kill(os.getpid(), accident["signal"])
        replace(source, target)
        if now and accident["when"] == "after":
            os.kill(os.getpid(), accident["signal"])

    os.replace = perhaps_the_last


def obey_permissions():
    """Give up the capabilities of Linux by which root reads and writes what it has no permission for."""
    import ctypes

    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~0b110  # of the effective ones: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0


def command(task, out, err):
    """In the forked process: be `nerf-insert`."""
    from nerf_insert.cli.main import main
    from nerf_insert.training import checkpoint

    os.dup2(out, 1)
    os.dup2(err, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    checkpoint.EVERY = 0.0
    if task["accident"]:
        arrange(task["accident"])
    if task["limit"]:
        import resource

        resource.setrlimit(
            resource.RLIMIT_FSIZE, (task["limit"], resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )
    if task["bound"] and not os.geteuid():
        obey_permissions()
    return main(task["words"])


def nurse():
    importlib.import_module("everything")  # so that it is there before commands start
    coarse_light()
    small_bases()

    for line in sys.stdin:
        out, err = os.pipe(), os.pipe()  # files would be subject to the limit
        child = os.fork()
        if not child:
            code = 99
            try:
                code = command(json.loads(line), out[1], err[1])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        with ThreadPoolExecutor() as pool:
            said = [pool.submit(drain, pipe) for pipe in (out, err)]
            texts = [future.result() for future in said]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"code": code, "out": texts[0], "err": texts[1]}), flush=True)


def drain(pipe):
    """All that comes out of a pipe, whose other end is somebody else's."""
    os.close(pipe[1])
    with open(pipe[0]) as stream:
        return stream.read()


if __name__ == "__main__":
    nurse()
