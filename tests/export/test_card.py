"""The model card: every number in it comes from the ledger or from the gate, and what is not known is said."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from asrcore.checkpoint import embedded_base
from asrcore.export import card_facts, provenance
from asrcore.export_requests import CardFacts, ExportCheck, ExportResult
from asrcore.io import sha256_file, sha256_json
from asrcore.jobs import Ledger
from asrcore.locales import PROMPT_DICTIONARY
from asrcore.model.export_card import card, plain
from asrcore.requests import CheckpointRef, ExportRequest, ManifestRef
from asrcore.workspace import Workspace
from asrtune import registry
from tests.score.evals import BASE, TUNED, cell, hypotheses
from tests.score.test_leak import shards, trained

REFERENCES = [f"the line number {number} is busy please call back" for number in range(60)]
HALF = [text.replace("busy", "fuzzy") for text in REFERENCES]
RESULT = ExportResult(
    target="transformers", path="/x", sha256="", compared_utterances=17, compared_tokens=140, identical=17, prompt_changes_output=True,
    att_contexts=((56, 0), (56, 6)), locales=("bg-BG", "el-GR"), prompt_modes=("langID", "auto"),
    checks=(ExportCheck(what="encoder frames", runtime="transformers 5.23.0", bar="largest difference at most 0.001", att_context=(56, 6), compared=17, max_delta=2e-6),),
    notes=("One thing to know.",),
)  # fmt: skip


def request(facts: CardFacts | None, target: str = "transformers") -> ExportRequest:
    smoke = ManifestRef(name="smoke", path="/s", sha256="0" * 64)
    return ExportRequest.model_validate({"checkpoint": TUNED, "target": target, "smoke": smoke, "att_contexts": ((56, 0), (56, 6)), "card": facts, "out": "/x"})


def a_run(ws: Workspace, source: str | None = None) -> CardFacts:
    """Facts of a tuned checkpoint with a target and a guard, each with the base's eval, and a replay check."""
    cells = {
        (one.name, name): cell(ws.home / "evals", one, hypotheses(REFERENCES, texts, source=source), set_name=name)
        for one, texts in ((BASE, HALF), (TUNED, REFERENCES)) for name in ("target", "guard_bg")
    }  # fmt: skip
    run = {
        "run_id": "run_0123456789ab", "best": TUNED.model_dump(), "best_step": 40, "candidates": [], "base_dev_wer": 40.0, "steps": 60, "trainable_parameters": 10,
        "seconds": 9.0, "audio_hours_per_hour": 5.0,
        "consumed": [{"source": "greek", "role": "train", "utterances": 900, "seconds": 3600.0, "seconds_by_locale": {"el-GR": 3600.0}}],
    }  # fmt: skip
    with Ledger.open(ws) as ledger:
        for one in cells.values():
            ledger.put("eval", one.eval_id, one)
        ledger.put("run", "run_0123456789ab", run)
        ledger.put("set", "set_1", {"role": "target", "manifest": cells["tuned", "target"].set.model_dump(mode="json")})
    registry.call("check_replay", {"base_evals": [cells["base", "guard_bg"].eval_id], "tuned_evals": [cells["tuned", "guard_bg"].eval_id],
                                   "margin_points": 3.0}, ws)  # fmt: skip
    with Ledger.open(ws) as ledger:
        return card_facts(ledger, TUNED)


def test_the_facts_hold_each_eval_of_the_checkpoint_once_with_its_role_and_interval(ws: Workspace) -> None:
    facts = a_run(ws)
    assert [(one.set_name, one.role, one.score.percent) for one in facts.scores] == [("target", "target", 0.0), ("guard_bg", "", 0.0)]
    assert all(one.score.ci95 is not None for one in facts.scores)
    assert [(one.set_name, one.verdict, one.margin_points) for one in facts.guards] == [("guard_bg", "kept", 3.0)]


def test_a_checkpoint_whose_training_is_not_in_the_ledger_is_said_to_be_of_unknown_origin(ws: Workspace) -> None:
    facts = a_run(ws)
    assert not facts.origin_known, "the run is known, the request that it was trained with is not"
    assert "How the checkpoint was made is not in the ledger" in card(request(facts), RESULT, PROMPT_DICTIONARY)


def test_the_card_shows_base_and_tuned_rates_with_their_intervals(ws: Workspace) -> None:
    facts = a_run(ws)
    paired = facts.model_copy(update={"scores": tuple(one.model_copy(update={"base": one.score.model_copy(update={"percent": 12.5})}) for one in facts.scores)})
    text = card(request(paired), RESULT, PROMPT_DICTIONARY)
    row = next(line for line in text.splitlines() if line.startswith("| target |"))
    assert "12.50" in row
    assert "**0.00 (" in row
    assert "540 words" in row


def test_the_front_matter_is_yaml_that_names_licence_language_and_every_score(ws: Workspace) -> None:
    text = card(request(a_run(ws)), RESULT, PROMPT_DICTIONARY)
    head: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    assert head["license_name"] == "openmdw-1.1"
    assert {"el", "no", "en"} - {"no"} <= set(head["language"])
    assert all(isinstance(code, str) for code in head["language"]), "an unquoted `no` would be false"
    assert [entry["metrics"][0]["type"] for entry in head["model-index"][0]["results"]] == ["wer", "wer"]


def test_a_model_of_synthetic_speech_says_so_first_and_claims_no_published_licence(ws: Workspace) -> None:
    embedded = CheckpointRef(name="embedded", path=str(embedded_base()), sha256=sha256_file(embedded_base()))
    with Ledger.open(ws) as ledger:
        facts = card_facts(ledger, embedded)
    text = card(request(facts), RESULT, PROMPT_DICTIONARY)
    assert facts.synthetic_base
    assert "synthetic speech only" in text.split("## ")[0].split("---")[2]
    assert yaml.safe_load(text.split("---")[1])["license"] == "apache-2.0"
    assert "base_model" not in text


def test_scores_on_synthetic_sets_are_marked_where_they_stand(ws: Workspace) -> None:
    assert "| target (synthetic) |" in card(request(a_run(ws, source="synthetic-telephone")), RESULT, PROMPT_DICTIONARY)
    assert "(synthetic)" not in card(request(a_run(ws, source="calls")), RESULT, PROMPT_DICTIONARY)


def test_the_card_holds_the_gates_figures_and_notes() -> None:
    text = card(request(None), RESULT, PROMPT_DICTIONARY)
    assert "| encoder frames | transformers 5.23.0 | 560 ms | 17 | - | 2.0e-06 |" in text
    assert len({line.count(" | ") for line in text.splitlines() if line.startswith("| ")}) == 1, "one table, and no bar in a cell"
    assert "- One thing to know." in text
    assert "No evaluation of this checkpoint is in the ledger" in text
    assert "No replay check" in text


@pytest.mark.parametrize("target", ["nemo", "transformers", "onnx"])
def test_the_snippets_of_every_target_are_python_that_compiles(target: str) -> None:
    text = card(request(None, target), RESULT.model_copy(update={"target": target}), PROMPT_DICTIONARY)
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def test_names_from_data_cannot_write_markup_into_the_card() -> None:
    hostile = "a|b](http://x) <img src=x> `run`\n# title"
    assert plain(hostile) == r"a\|b\]\(http://x\) \<img src=x\> \`run\` \# title"
    named = request(None).model_copy(update={"checkpoint": CheckpointRef(name="m'x: [1]\n- evil: 1", path="/m", sha256="0" * 64)})
    facts = CardFacts(base_name=hostile, base_sha256="1" * 64, synthetic_base=False, origin_known=False)
    text = card(named.model_copy(update={"card": facts}), RESULT, PROMPT_DICTIONARY)
    assert "](http://x)" not in text
    assert "evil" not in yaml.safe_load(text.split("---")[1])


def test_the_chain_goes_back_through_a_blend_as_far_as_the_ledger_knows(ws: Workspace) -> None:
    blended = CheckpointRef(name="blended", path="/b.nemo", sha256="d" * 64)
    a_run(ws)
    with Ledger.open(ws) as ledger:
        ledger.put("blend", "blend_1", {"alpha": 0.5, "checkpoint": blended.model_dump(),
                   "base": BASE.model_dump(), "tuned": [TUNED.model_dump()]})  # fmt: skip
        facts = card_facts(ledger, blended)
    assert facts.base_sha256 == TUNED.sha256
    assert not facts.origin_known, "the run's request is gone, so the chain breaks off there"
    assert facts.steps == ("Weights interpolated: base + 0.5 x (tuned - base), tuned being tuned.",)


def test_the_provenance_names_every_run_behind_a_blend_the_digest_of_its_data_and_the_evals(ws: Workspace) -> None:
    other, blended = (CheckpointRef(name=name, path=f"/{name}.nemo", sha256=digit * 64) for name, digit in (("other", "e"), ("blended", "d")))
    data = shards(ws.home / "shards", [])
    trained(ws, 1, BASE, TUNED, data)
    trained(ws, 2, BASE, other, data)
    scored = cell(ws.home / "evals", blended, hypotheses(REFERENCES, REFERENCES), set_name="target")
    drawn = [{"source": "bg", "role": "replay", "utterances": 9, "seconds": 36.0, "seconds_by_locale": {"bg-BG": 36.0}}]
    with Ledger.open(ws) as ledger:
        ledger.put("eval", scored.eval_id, scored)
        for run_id in ("run_000000000001", "run_000000000002"):
            ledger.put("run", run_id, {**ledger.require("run", run_id), "consumed": drawn})
        ledger.put("blend", "blend_1", {"alpha": 0.5, "checkpoint": blended.model_dump(), "base": BASE.model_dump(), "tuned": [TUNED.model_dump(), other.model_dump()]})
        facts = card_facts(ledger, blended)
    said = provenance(facts, blended)
    assert (said["base_sha256"], said["origin_known"], said["evals"]) == (BASE.sha256, True, [scored.eval_id])
    assert sorted(said["runs"]) == ["run_000000000001", "run_000000000002"]
    assert {(one["run"], one["source"], one["sha256"]) for one in said["data"]} == {(run, "bg", sha256_json(["0" * 64])) for run in said["runs"]}
    row = next(line for line in card(request(facts), RESULT, PROMPT_DICTIONARY).splitlines() if line.startswith("| bg |"))
    assert "| 9 | 0.01 | bg-BG |" in row
