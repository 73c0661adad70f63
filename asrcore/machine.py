"""What this machine has for work to run on: main memory, and the NVIDIA GPUs that this process may use. Asked of the system, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asrcore.errors import clean_text
from asrcore.results import Frozen

_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "driver_version", "utilization.gpu")
_TIMEOUT_S = 15.0


class Gpu(Frozen):
    """One GPU now. Sizes in 10^9 bytes, 0 where the driver does not say; `busy_percent`: share of its last second in which it computed."""

    uuid: str
    name: str
    memory_gb: float = 0.0
    free_gb: float = 0.0
    driver: str = ""
    busy_percent: float | None = None


def memory_gb() -> tuple[float, float]:
    """Total and available main memory, in 10^9 bytes. Linux says both; elsewhere the total is all we know."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        kib = {name: int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable")}
        return round(kib["MemTotal"] * 1024 / 1e9, 1), round(kib["MemAvailable"] * 1024 / 1e9, 1)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return round(total, 1), round(total, 1)


def read_gpus(visible: str | None = None) -> tuple[Gpu, ...]:
    """GPUs in CUDA's order for this process; `visible` is CUDA_VISIBLE_DEVICES (default: the environment's), by number or UUID. Empty without a driver.

    Raises OSError, subprocess.SubprocessError when nvidia-smi is there and does not answer.
    """
    program = shutil.which("nvidia-smi")
    named = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    if program is None or named in ("", "-1"):
        return ()
    query = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL, check=True).stdout
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines()]
    found = {row[0]: _gpu(row) for row in rows if len(row) == len(_FIELDS)}
    return tuple(found.values()) if named is None else _chosen(found, [name.strip() for name in named.split(",")])


def _chosen(found: dict[str, Gpu], names: Sequence[str]) -> tuple[Gpu, ...]:
    """As CUDA reads the list: it ends at the first entry that is no device. A MIG instance is a device of its own that the query does not list."""
    chosen: list[Gpu] = []
    for name in names:
        gpu = found.get(name) or next((one for one in found.values() if name.startswith("GPU-") and one.uuid.startswith(name)), None)
        gpu = Gpu(uuid=name, name="MIG instance") if gpu is None and name.startswith("MIG-") else gpu
        if gpu is None:
            break
        chosen.append(gpu)
    return tuple(chosen)


def _gpu(row: Sequence[str]) -> Gpu:
    return Gpu(uuid=clean_text(row[1], 80), name=clean_text(row[2], 60), memory_gb=_gigabytes(row[3]), free_gb=_gigabytes(row[4]),
               driver=clean_text(row[5], 40), busy_percent=_number(row[6]))  # fmt: skip


def _gigabytes(mebibytes: str) -> float:
    return round((_number(mebibytes) or 0.0) * 1024**2 / 1e9, 1)


def _number(cell: str) -> float | None:
    """nvidia-smi writes [N/A] for what a device does not have, as on machines that share memory with the processor."""
    return float(cell) if cell.replace(".", "", 1).isdigit() else None
