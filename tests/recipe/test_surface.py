"""What a surface means for a plan."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asrcore.checkpoint import CheckpointInfo
from asrcore.recipe.spec import FinetuneSpec
from asrcore.recipe.surface import rate_factor, surface_problems, trainable_parameters

FULL_SIZE = CheckpointInfo(
    path="base.nemo", sha256="0" * 64, size_bytes=4 * 637_997_088, target_class="EncDecRNNTBPEModelWithPrompt", prompt_dictionary={}, num_prompts=128,
    att_contexts=((56, 0),), sample_rate=16000, vocabulary_size=13087, d_model=1024, n_layers=24,
)  # fmt: skip


@pytest.mark.parametrize(
    "surface", ["lora", "lora:0", "lora:1000", "top_layers", "top_layers:0", "adapters", "adapter", "adapter:0", "full:2", "FULL", "lora:-1", "lora:8 "]
)
def test_what_is_no_surface_is_refused_when_it_is_written(surface: str) -> None:
    with pytest.raises(ValidationError):
        FinetuneSpec.model_validate({"shards_id": "shards_000000000000", "dev_manifest": "dev.json", "surface": surface})


@pytest.mark.parametrize(
    ("surface", "code"),
    [("top_layers:25", "surface_too_deep"), ("lora:513", "lora_rank_too_high"), ("top_layers:24", None), ("lora:512", None), ("adapter:1025", "adapter_too_wide")],
)
def test_a_number_that_the_base_cannot_hold_blocks_the_plan(surface: str, code: str | None) -> None:
    assert [problem.code for problem in surface_problems(FULL_SIZE, surface)] == ([code] if code else [])


def test_smaller_surfaces_move_fewer_parameters_of_the_full_size_model() -> None:
    counts = [trainable_parameters(FULL_SIZE, surface) for surface in ("adapter:32", "prompt", "lora:8", "decoder_joint", "top_layers:4", "full")]
    assert counts == sorted(counts)
    assert counts[0] == pytest.approx(24 * (2 * 1024 * 32 + 2 * 1024))
    assert counts[2] == pytest.approx(5.5e6, rel=0.02)
    assert counts[-1] == 637_997_088


def test_adapters_move_at_ten_times_the_rate() -> None:
    assert (rate_factor("lora:64"), rate_factor("adapter:64"), rate_factor("full"), rate_factor("top_layers:2")) == (10.0, 10.0, 1.0, 1.0)


def test_a_plan_with_linear_adapters_says_that_they_cannot_be_exported() -> None:
    (problem,) = surface_problems(FULL_SIZE, "adapter:1024")
    assert (problem.code, problem.severity) == ("adapters_not_exportable", "warning")
