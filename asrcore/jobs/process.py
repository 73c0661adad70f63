"""Who a process is, across pid reuse and reboots, and how asrtune starts one that outlives its starter.

An identity is pid + start time + boot, plus the host (with its pid namespace) that can judge it: another host, or another container on the
same workspace, sees other pids and must not call a job dead because of that.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

_LINUX = sys.platform.startswith("linux")

_KEPT = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TEMP TMP VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHASHSEED LD_LIBRARY_PATH "
    "HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE XDG_CACHE_HOME SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE "
    "SLURM_CONF SKYPILOT_API_SERVER_ENDPOINT SKYPILOT_GLOBAL_CONFIG KUBECONFIG".split()
)
_KEPT_PREFIXES = ("ASRTUNE_", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MALLOC_", "MKL_", "OPENBLAS_", "NUMBA_", "TORCH_", "PYTORCH_", "LC_")
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}
"""glibc gives big tensors back to the kernel after every use and faults them in again: 0.53 s instead of 2.55 s a training step (docs/log.md)."""
_PR_SET_PDEATHSIG = 1
GATE = "ASRTUNE_GATE_FD"
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "API_KEY")


class Identity(NamedTuple):
    pid: int
    start: int
    boot: str
    host: str

    def encode(self) -> str:
        return json.dumps(self)

    @classmethod
    def decode(cls, text: str | None) -> Identity | None:
        return cls(*json.loads(text)) if text else None

    @property
    def foreign(self) -> bool:
        """Recorded on another host or in another container; this one cannot tell whether it lives."""
        return self.host != host()

    @property
    def alive(self) -> bool:
        """Whether exactly this process runs on this host; a zombie and a later process with the same pid do not count."""
        return not self.foreign and self.boot == boot() and start_of(self.pid) == self.start

    def send(self, number: signal.Signals, *, group: bool = False) -> bool:
        """Signals the process (or the group it leads); False if it is gone."""
        if not self.alive:
            return False
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def identify(pid: int) -> Identity | None:
    """Identity of a living process of this host."""
    start = start_of(pid)
    return None if start is None else Identity(pid, start, boot(), host())


def start_of(pid: int) -> int | None:
    """Start time of a living process, in an arbitrary unit that never changes while it lives; None if there is none or it is a zombie."""
    if not _LINUX:
        return _start_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the command name before it may hold spaces and parentheses
    return None if fields[0] in "ZXx" else int(fields[19])  # field 22 of proc(5): start time in clock ticks


def _start_psutil(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    except psutil.NoSuchProcess:
        return None


@cache
def boot() -> str:
    """Differs after each boot, where the system says so; elsewhere start times, which are wall clock there, are enough."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() if _LINUX else ""


@cache
def host() -> str:
    """Host name and pid namespace."""
    namespace = os.readlink("/proc/self/ns/pid") if _LINUX else ""
    return f"{socket.gethostname()} {namespace}".strip()


def environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a job's processes see of the environment: an allow-list without credentials, plus the way to this very code.

    A checkout is put on PYTHONPATH; an installed package is found anyway, and its folder there would go before the standard library.
    """
    source = os.environ if source is None else source
    kept = {
        name: value
        for name, value in source.items()
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and not any(word in name for word in _SECRET)
    }
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        paths.insert(0, root)
    return _KEEP_FREED_MEMORY | kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Command line of a module; `-P` keeps the job's folder, which holds data, off the import path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def start_detached(command: Sequence[str], folder: Path, log: Path, *, gate: int | None = None, gpus: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, so that neither the end nor the Ctrl-C of its starter reaches it; output goes to `log`.

    `gate` is the reading end of a pipe that the process waits at before it does anything (`wait_at_gate`); of the machine's GPUs it sees `gpus`
    alone, where any are named, by UUID.
    """
    more = {} if gate is None else {GATE: str(gate)}
    if gpus:
        more["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    with open(log, "ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment() | more, start_new_session=True,
            close_fds=True, pass_fds=() if gate is None else (gate,),
        )  # fmt: skip


class Gate:
    """Holds a new process back until its starter has written down who it is; a starter that dies first never lets it go."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def let_go(self) -> None:
        """A process that died meanwhile no longer waits, and its end is noticed elsewhere."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, b"g")

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


def wait_at_gate() -> bool:
    """Waits until the starter says go, in a process that was started with a gate. False: the starter is gone and nobody knows this process."""
    reader = os.environ.pop(GATE, None)
    if reader is None:
        return True
    try:
        return os.read(int(reader), 1) == b"g"
    finally:
        os.close(int(reader))


def die_with_parent() -> None:
    """From now on SIGKILL comes when the parent dies (Linux, prctl(2)). torchrun gives each process a session of its own, so killing torchrun's
    group, as a supervisor does after the grace period, would leave them behind."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def reap_in_background(process: subprocess.Popen[bytes]) -> None:
    """Leaves no zombie behind in a starter that lives long, such as the MCP server."""
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
