"""A real Slurm of one node, without root's configuration: Debian's slurmctld, slurmd and munged under this user, in a folder of the test.

There is no slurmdbd: what a job came to is asked of the controller (`scontrol`), as where a site has no accounting.
Where Debian's packages are not installed, they can lie unpacked in any folder, named by ASRTUNE_SLURM_ROOT:
`apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libhwloc15`, then `dpkg -x FILE FOLDER` for each.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def root() -> Path | None:
    """Where Slurm's files lie, or None."""
    named = os.environ.get("ASRTUNE_SLURM_ROOT")
    place = Path(named) if named else Path("/")
    needed = (list((place / "usr/sbin").glob("slurmctld*")), (place / "usr/sbin/munged").exists(), (place / "usr/bin/sbatch").exists())
    return place if all(needed) else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealSlurm:
    """munged, controller and node daemon, all in the foreground, as children of the test."""

    def __init__(self, place: Path, folder: Path) -> None:
        self.place = place
        self.node = socket.gethostname().split(".")[0]
        libraries = place / LIBRARIES
        conf = folder / "slurm.conf"
        self.environment = {
            "SLURM_CONF": str(conf), "PATH": f"{place / 'usr/bin'}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": os.pathsep.join([str(libraries), str(libraries / "slurm-wlm"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
        }  # fmt: skip
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        user, socket_path = getpass.getuser(), folder / "munge.socket"
        conf.write_text(
            "\n".join([
                "ClusterName=test", f"SlurmctldHost={self.node}(127.0.0.1)", f"SlurmUser={user}", f"SlurmdUser={user}", "AuthType=auth/munge", "CredType=cred/munge", f"AuthInfo=socket={socket_path}",
                f"PluginDir={libraries / 'slurm-wlm'}", f"SlurmctldPort={free_port()}", f"SlurmdPort={free_port()}", f"StateSaveLocation={folder / 'state'}",
                f"SlurmdSpoolDir={folder / 'spool'}", f"SlurmctldPidFile={folder / 'ctld.pid'}", f"SlurmdPidFile={folder / 'd.pid'}",
                "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none", "SelectType=select/cons_tres", "SchedulerType=sched/builtin",
                "JobAcctGatherType=jobacct_gather/none", "AccountingStorageType=accounting_storage/none", "ReturnToService=0", "KillWait=5", "MinJobAge=300",
                f"NodeName={self.node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=1000 State=UNKNOWN",
                "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP", "",
            ]), encoding="utf-8",
        )  # fmt: skip
        self.log = open(folder / "daemons.log", "ab")  # noqa: SIM115
        self.daemons = [self._start_munge(folder, socket_path), self._start("slurmctld", "-D", "-c"), self._start("slurmd", "-D", "-d", str(self._daemon("slurmstepd")))]

    def _start_munge(self, folder: Path, socket_path: Path) -> subprocess.Popen[bytes]:
        """With a key of its own. `--force`: the test's folder need not be root's."""
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = (f"--{name}-file={folder / f'munged.{name}'}" for name in ("log", "pid", "seed"))
        munged = self._start("munged", "--foreground", "--force", f"--socket={socket_path}", f"--key-file={key}", *files)
        for _ in range(100):
            if socket_path.exists():
                return munged
            signal.sigtimedwait([], 0.1)
        raise AssertionError("munged made no socket")

    def _daemon(self, name: str) -> Path:
        return next(path for suffix in ("-wlm", "") if (path := self.place / "usr/sbin" / f"{name}{suffix}").exists())

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self._daemon(name), *arguments], env=os.environ | self.environment, stdout=self.log, stderr=self.log)

    def say(self, *command: str) -> str:
        return subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=True).stdout

    def set_node(self, state: str) -> None:
        """What an operator, or the controller for a node that it no longer hears, does: `down`, and `resume` after it."""
        self.say(str(self.place / "usr/bin/scontrol"), "update", f"NodeName={self.node}", f"State={state}", "Reason=test")

    def ready(self) -> bool:
        """Whether a job would start now."""
        program = shutil.which("sinfo", path=self.environment["PATH"])
        assert program is not None
        done = subprocess.run([program, "--noheader", "--format=%t"], env=os.environ | self.environment, capture_output=True, text=True)
        return done.stdout.strip() == "idle"

    def close(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.log.close()
