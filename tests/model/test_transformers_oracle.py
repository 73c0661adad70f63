"""An independent oracle: the same weights in the transformers library, whose encoder, prompt layer and joint are another implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.manifest import load_rows
from tests.model.identity import check_transformers_agrees

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    manifest: Path = shipped.unpack(tmp_path_factory.mktemp("sets"))["bg-BG_guard_test"]
    return [decode(row.audio) for row in load_rows(manifest)[:3]]


@pytest.mark.parametrize("right", [0, 3, 13])
def test_the_fast_engines_encoder_prompt_and_joint_are_those_of_the_transformers_class(
    model: Any, clips: list[Any], right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps 3.9, 3.10 and 3.23 seen by other code: same frames under the same mask, same prompt column, same joint."""
    check_transformers_agrees(model, clips, right, monkeypatch)


def test_a_checkpoint_with_another_topology_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.errors import NotReadyError
    from asrcore.model import to_transformers

    state = model.state_dict()
    monkeypatch.setattr(model, "state_dict", lambda: state | {"encoder.layers.0.adapter.weight": state["joint.pred.weight"]})
    with pytest.raises(NotReadyError) as caught:
        to_transformers.convert(model)
    assert caught.value.code == "transformers_topology"
