"""Safetensors written one tensor at a time: what the library reads, of any type, and without a second copy of them in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import EnvironmentFault

pytestmark = pytest.mark.heavy

GROWTH = """
import resource, sys
from pathlib import Path
import torch
from asrcore.model.tensor_file import write_tensors
tensors = {f"w{n}": torch.ones(5_000_000) for n in range(20)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_tensors(Path(sys.argv[1]), tensors)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
"""


def test_the_library_reads_what_was_written_in_every_type_shape_and_order(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open

    from asrcore.model.tensor_file import read_tensor, tensor_names, write_tensors

    tensors = {
        "bytes": torch.arange(5, dtype=torch.uint8), "half": torch.randn(3, 2).bfloat16(), "transposed": torch.randn(4, 3).T, "step": torch.tensor(7.0),
        "none": torch.zeros(0, 4), "long": torch.tensor([-(2**40)]), "parameter": torch.nn.Parameter(torch.randn(2)), "flags": torch.tensor([True, False]),
    }  # fmt: skip
    file = tmp_path / "t.safetensors"
    write_tensors(file, tensors, {"about": "ü"})
    with safe_open(file, framework="pt") as found:
        assert found.metadata() == {"about": "ü"}
        assert set(found.keys()) == set(tensors)
        assert all(torch.equal(found.get_tensor(name), tensor) and found.get_tensor(name).dtype == tensor.dtype for name, tensor in tensors.items())
    assert set(tensor_names(file)) == set(tensors)
    assert torch.equal(read_tensor(file, "transposed"), tensors["transposed"])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """400 MB of tensors; the library's `save` would build them in memory again, which at 0.6 B parameters with moments is 7.7 GB."""
    grown = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path / "t.safetensors")], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 60, "MB"
    assert (tmp_path / "t.safetensors").stat().st_size > 400e6


def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    import errno

    import torch

    from asrcore.model.tensor_file import read_tensor, write_tensors

    class Full(Mapping[str, Any]):
        """A disk that is full when the second tensor comes."""

        asked = 0

        def __getitem__(self, name: str) -> Any:
            self.asked += 1
            if self.asked > 4:
                raise OSError(errno.ENOSPC, "no space")
            return torch.zeros(4)

        def __iter__(self) -> Iterator[str]:
            return iter(("a", "b"))

        def __len__(self) -> int:
            return 2

    file = tmp_path / "t.safetensors"
    write_tensors(file, {"a": torch.ones(2)})
    with pytest.raises(EnvironmentFault, match="disk_full"):
        write_tensors(file, Full())
    assert torch.equal(read_tensor(file, "a"), torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
