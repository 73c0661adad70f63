"""One door for all calls: strict arguments in, a result or a coded error out."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

import asrtune
from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError, Problem, ToolFault, UsageError
from asrcore.results import Frozen
from asrcore.workspace import Workspace
from asrtune import catalog, registry


class Wanted(Frozen):
    count: int = Field(ge=1, le=5)
    name: str = "x"


def raiser(error: BaseException) -> Callable[[Any, Workspace], Any]:
    def run(request: Any, ws: Workspace) -> Any:
        raise error

    return run


def test_all_problems_of_the_arguments_are_told_at_once(ws: Workspace, plant: Any, note: Any) -> None:
    plant("doctor", lambda request, ws: note("never"), Wanted)
    with pytest.raises(UsageError) as caught:
        registry.call("doctor", {"counts": 3, "name": 7}, ws)
    assert caught.value.code == "arguments_invalid"
    assert {(p.code, p.message.split(":")[0]) for p in caught.value.problems} == {
        ("argument_missing", "count"), ("argument_unknown", "counts"), ("argument_invalid", "name")}  # fmt: skip
    assert "did you mean count?" in [p.fix for p in caught.value.problems]


def test_a_refused_value_is_not_repeated_in_the_error(ws: Workspace, plant: Any, note: Any) -> None:
    plant("doctor", lambda request, ws: note("never"), Wanted)
    with pytest.raises(UsageError) as caught:
        registry.call("doctor", {"count": "s3cret", "name": ["s3cret"]}, ws)
    assert "s3cret" not in registry.error_view(caught.value).model_dump_json()


@pytest.mark.parametrize("count", ["3", 3.5, True, None, [3], float("nan"), 10**30])
def test_a_number_has_the_type_and_range_its_schema_says(ws: Workspace, plant: Any, note: Any, count: object) -> None:
    plant("doctor", lambda request, ws: note("never"), Wanted)
    with pytest.raises(UsageError, match="count"):
        registry.call("doctor", {"count": count}, ws)


def test_an_unexpected_exception_becomes_a_coded_error_and_its_text_stays_in_the_log(ws: Workspace, plant: Any) -> None:
    plant("doctor", raiser(KeyError("s3cret of a row")))
    with pytest.raises(ToolFault) as caught:
        registry.call("doctor", {}, ws)
    assert caught.value.code == "internal_error"
    assert "s3cret" not in str(caught.value)
    (log,) = (ws.home / "logs").iterdir()
    assert str(log) in caught.value.message
    assert "s3cret of a row" in log.read_text(encoding="utf-8")


def test_a_full_disk_and_a_forbidden_file_are_faults_of_the_machine(ws: Workspace, plant: Any) -> None:
    for number, code in ((errno.ENOSPC, "disk_full"), (errno.EACCES, "not_permitted"), (errno.EROFS, "not_permitted")):
        plant("doctor", raiser(OSError(number, "no", "some.file")))
        with pytest.raises(EnvironmentFault) as caught:
            registry.call("doctor", {}, ws)
        assert caught.value.code == code


def test_a_missing_package_is_named_and_a_missing_module_of_ours_is_our_fault(ws: Workspace, plant: Any) -> None:
    plant("doctor", raiser(ModuleNotFoundError("no", name="jiwer.process")))
    with pytest.raises(EnvironmentFault, match="jiwer") as caught:
        registry.call("doctor", {}, ws)
    assert caught.value.code == "package_missing"
    plant("doctor", raiser(ModuleNotFoundError("no", name="asrcore.nowhere")))
    with pytest.raises(ToolFault):
        registry.call("doctor", {}, ws)


def test_a_person_who_interrupts_is_not_an_internal_error(ws: Workspace, plant: Any) -> None:
    plant("doctor", raiser(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        registry.call("doctor", {}, ws)


def test_an_error_shows_at_most_fifty_problems_and_says_how_many_more_there_are() -> None:
    error = NotReadyError("manifest_invalid", "bad rows.", next_step="fix", problems=[Problem(code="x", message=str(n)) for n in range(70)])
    view = registry.error_view(error)
    assert len(view.problems) == 50
    assert "20 more" in view.message


def test_an_unknown_tool_gets_the_nearest_names(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="inspect_dataset") as caught:
        registry.call("inspect_datasets", {}, ws)
    assert caught.value.code == "tool_unknown"


def test_a_bad_config_is_the_same_coded_error_for_every_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asrtune.toml").write_text("data_root = 3", encoding="utf-8")
    for name in catalog.NAMES:
        with pytest.raises(UsageError) as caught:
            registry.call(name, {})
        assert caught.value.code == "config_invalid"


def test_tools_are_functions_in_python_and_take_paths(ws: Workspace) -> None:
    assert asrtune.doctor(ws=ws).data.verdict in ("READY", "NEEDS FIX")
    with pytest.raises(AsrtuneError) as caught:
        asrtune.inspect_dataset(manifest=Path("nothing.jsonl"), ws=ws)
    assert caught.value.code == "path_missing"
    with pytest.raises(AttributeError):
        _ = asrtune.no_such_tool
    assert set(catalog.NAMES) < set(dir(asrtune))
