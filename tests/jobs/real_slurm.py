"""A real Slurm of one node, without root's configuration and without munge: Debian's daemons under this user, in a folder of the test.

Where Debian's packages are not installed, they can lie unpacked in any folder, named by ASRTUNE_SLURM_ROOT:
`apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins libmunge2 libhwloc15`, then `dpkg -x FILE FOLDER` for each.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def root() -> Path | None:
    """Where Slurm's files lie, or None."""
    named = os.environ.get("ASRTUNE_SLURM_ROOT")
    place = Path(named) if named else Path("/")
    return place if list((place / "usr/sbin").glob("slurmctld*")) and (place / "usr/bin/sbatch").exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealSlurm:
    """Controller and node daemon, both in the foreground, as children of the test."""

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
        user = getpass.getuser()
        conf.write_text(
            "\n".join([
                "ClusterName=test", f"SlurmctldHost={self.node}(127.0.0.1)", f"SlurmUser={user}", f"SlurmdUser={user}", "AuthType=auth/none", "CredType=cred/none",
                f"PluginDir={libraries / 'slurm-wlm'}", f"SlurmctldPort={free_port()}", f"SlurmdPort={free_port()}", f"StateSaveLocation={folder / 'state'}",
                f"SlurmdSpoolDir={folder / 'spool'}", f"SlurmctldPidFile={folder / 'ctld.pid'}", f"SlurmdPidFile={folder / 'd.pid'}",
                "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none", "SelectType=select/cons_tres", "SchedulerType=sched/builtin",
                "JobAcctGatherType=jobacct_gather/none", "AccountingStorageType=accounting_storage/none", "ReturnToService=2", "KillWait=5", "MinJobAge=300",
                f"NodeName={self.node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=1000 State=UNKNOWN",
                "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP", "",
            ]), encoding="utf-8",
        )  # fmt: skip
        self.log = open(folder / "daemons.log", "ab")  # noqa: SIM115
        self.daemons = [self._start("slurmctld", "-D", "-c"), self._start("slurmd", "-D", "-d", str(self._daemon("slurmstepd")))]

    def _daemon(self, name: str) -> Path:
        return next(path for suffix in ("-wlm", "") if (path := self.place / "usr/sbin" / f"{name}{suffix}").exists())

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self._daemon(name), *arguments], env=os.environ | self.environment, stdout=self.log, stderr=self.log)

    def say(self, *command: str) -> str:
        return subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=True).stdout

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
