"""README.md of an artefact: the model card in Hugging Face's format, from the ledger's facts and the gate's result, with snippets that run.

Front matter: huggingface.co/docs/hub/model-cards. The licence of a fine-tune of the published checkpoint is that of the checkpoint, OpenMDW-1.1
(model card of nvidia/nemotron-3.5-asr-streaming-0.6b); what the tuning data's licences add, only its owner knows, and the card says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from asrcore.checkpoint import HUB_BASE
from asrcore.export_requests import CardFacts, CardRate, ExportResult
from asrcore.locales import TIERED, TIERS, latency_ms
from asrcore.model.export_snippets import SNIPPETS
from asrcore.requests import ExportRequest

LICENCE = "OpenMDW-1.1"
SYNTHETIC = "synthetic speech"


def card(request: ExportRequest, result: ExportResult, prompts: Mapping[str, int]) -> str:
    """The whole README.md. `prompts` is the artefact's prompt dictionary."""
    facts = request.card or CardFacts(base_name=request.checkpoint.name, base_sha256=request.checkpoint.sha256, synthetic_base=False, origin_known=False)
    parts = [
        _front_matter(request, facts, prompts), _opening(request, facts), _origin(request, facts), _languages(facts, prompts), _scores(facts), _guards(facts),
        _proof(result), SNIPPETS[request.target](request, _example_tag(facts, result)), _limits(request, facts, result),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Text that came from data as it may stand in a table of Markdown: no markup, no links, no new cell."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", text.replace("\n", " "))


def _front_matter(request: ExportRequest, facts: CardFacts, prompts: Mapping[str, int]) -> str:
    codes = sorted({tag.split("-")[0] for tag in prompts if tag in TIERS})
    tags = ["automatic-speech-recognition", "streaming", "rnnt", "fastconformer", *(["synthetic-data"] if facts.synthetic_base else [])]
    licence = ["license: apache-2.0"] if facts.synthetic_base else ["license: other", f"license_name: {LICENCE.lower()}"]
    lines = ["---", *licence, f"library_name: {request.target}", "pipeline_tag: automatic-speech-recognition"]
    lines += ["tags:", *(f"- {tag}" for tag in tags), "language:", *(f"- '{code}'" for code in codes)]
    if _published(facts):
        lines += [f"base_model: {HUB_BASE}"]
    lines += ["metrics:", "- wer", *_model_index(request, facts), "---"]
    return "\n".join(lines)


def _model_index(request: ExportRequest, facts: CardFacts) -> Iterable[str]:
    if not facts.scores:
        return
    yield "model-index:"
    yield f"- name: {_yaml(request.checkpoint.name)}"
    yield "  results:"
    for score in facts.scores:
        yield "  - task: {type: automatic-speech-recognition}"
        yield f"    dataset: {{name: {_yaml(score.set_name)}, type: {_yaml(score.set_name)}}}"
        name = f"{_unit(score.score)} %, {latency_ms(score.att_context)} ms, {score.prompt_mode}"
        yield f"    metrics: [{{type: {_unit(score.score).lower()}, value: {score.score.percent:.2f}, name: {_yaml(name)}}}]"


def _opening(request: ExportRequest, facts: CardFacts) -> str:
    what = f"Streaming speech recogniser, exported by asrtune as `{request.target}` from checkpoint {plain(request.checkpoint.name)}."
    if facts.synthetic_base:
        what += f"\n\n**Trained on {SYNTHETIC} only. It is made for trying the tools; nothing here is a statement about human speakers.**"
    return f"# {plain(request.checkpoint.name)}\n\n{what}"


def _origin(request: ExportRequest, facts: CardFacts) -> str:
    base = "asrtune's embedded base, a small model of the same class" if facts.synthetic_base else plain(facts.base_name)
    lines = [
        f"- Architecture: cache-aware FastConformer-RNNT with a language prompt (NeMo `EncDecRNNTBPEModelWithPrompt`), the family of `{HUB_BASE}`",
        f"- Base: {base}, sha256 `{facts.base_sha256[:16]}`", f"- Checkpoint: sha256 `{request.checkpoint.sha256}`",
        f"- Licence: {_licence(facts)}",
        "- The licences and consents of the tuning data are known to its owner only: check them before you publish this model.",
    ]  # fmt: skip
    text = "## What it is\n\n" + "\n".join(lines)
    if not facts.origin_known:
        text += "\n- How the checkpoint was made is not in the ledger that exported it."
    if facts.steps:
        text += "\n\nFrom the base to here:\n\n" + "\n".join(f"{number}. {plain(step)}" for number, step in enumerate(facts.steps, 1))
    if facts.data:
        rows = [[plain(one.source), one.role, str(one.utterances), f"{one.hours:.2f}", ", ".join(one.locales)] for one in facts.data]
        text += "\n\nAudio that training really drew, repetitions counted:\n\n" + _table(("source", "role", "utterances", "hours", "locales"), rows)
    return text


def _published(facts: CardFacts) -> bool:
    """Whether the base is named as the published checkpoint is."""
    return facts.base_name.removesuffix(".nemo") in (HUB_BASE, HUB_BASE.rsplit("/", 1)[-1])


def _licence(facts: CardFacts) -> str:
    if facts.synthetic_base:
        return "Apache-2.0, that of the embedded base, which holds no weights of a published model"
    known = "" if _published(facts) else "; if the base is none of its fine-tunes, the licence is that of the base"
    return f"{LICENCE}, inherited from `{HUB_BASE}`{known}"


def _languages(facts: CardFacts, prompts: Mapping[str, int]) -> str:
    known = [tag for tag in TIERED if tag in prompts]
    extra = sorted(tag for tag in prompts if tag not in TIERS and re.fullmatch(r"[a-z]{2,3}-[A-Z]{2}", tag))
    measured = sorted({locale for score in facts.scores for locale in score.locales})
    return "\n".join([
        "## Languages", "",
        f"- Measured in this state: {', '.join(measured) or 'none; see Limits'}",
        f"- Tags of the family's model card in the prompt dictionary: {', '.join(known)}",
        f"- Other tags with a slot, most of them never trained: {', '.join(extra) or 'none'}",
        f"- `auto` (slot {prompts['auto']}) lets the model find the language; it then writes a tag such as `<el-GR>`, to be taken out of the text",
    ])  # fmt: skip


def _scores(facts: CardFacts) -> str:
    if not facts.scores:
        return "## Measured\n\nNo evaluation of this checkpoint is in the ledger. `asrtune run-streaming-eval` makes one."
    rows = [
        [f"{plain(one.set_name)}{' (synthetic)' if one.synthetic else ''}", one.role or "-", ", ".join(one.locales), f"{latency_ms(one.att_context)} ms",
         one.prompt_mode, _with_ci(one.base), f"**{_with_ci(one.score)}**", f"{one.score.words} {one.score.unit}s",
         "-" if one.wrong_tag_rate is None else f"{100 * one.wrong_tag_rate:.1f} %"]
        for one in facts.scores
    ]  # fmt: skip
    head = ("set", "role", "locale", "chunk", "prompt", "base", "this model", "size", "wrong tag")
    rule = (
        f"WER (CER for ja, zh, ko, th) in percent after normalisation by {', '.join(sorted({one.normaliser for one in facts.scores}))}, with 95 % bootstrap "
        "interval, decoded in streaming mode at the named chunk. Rates of other normalisers do not compare with these."
    )
    return f"## Measured\n\n{rule}\n\n{_table(head, rows)}"


def _guards(facts: CardFacts) -> str:
    if not facts.guards:
        return "" if facts.synthetic_base and not facts.steps else "## Other languages\n\nNo replay check of this checkpoint is in the ledger: whether other languages got worse was not tested."
    rows = [
        [plain(one.set_name), ", ".join(one.locales), f"{latency_ms(one.att_context)} ms", one.prompt_mode, f"{one.loss_points:+.2f}", f"{one.upper_bound:+.2f}",
         f"{one.margin_points:.2f}", one.verdict, str(one.words)]
        for one in facts.guards
    ]  # fmt: skip
    head = ("guard", "locale", "chunk", "prompt", "loss, points", "upper 95 % bound", "margin", "verdict", "words")
    return f"## Other languages\n\nKept: the upper bound of the loss against the base is under the margin.\n\n{_table(head, rows)}"


def _proof(result: ExportResult) -> str:
    rows = [
        [one.what, one.runtime, "-" if one.att_context is None else f"{latency_ms(one.att_context)} ms", str(one.compared),
         "-" if one.identical is None else str(one.identical), "-" if one.max_delta is None else f"{one.max_delta:.1e}", one.bar, one.note or "-"]
        for one in result.checks
    ]  # fmt: skip
    said = (
        f"The finished files were opened again and compared with the checkpoint before they were given out: {result.compared_utterances} decodes, "
        f"{result.compared_tokens} tokens, locales {', '.join(result.locales)}, prompt modes {' and '.join(result.prompt_modes)}; another prompt slot changes the output."
    )
    head = ("compared", "by", "chunk", "n", "identical", "largest difference", "bar", "note")
    return f"## Proof of this export\n\n{said}\n\n{_table(head, rows)}\n\n`sha256sum -c SHA256SUMS` checks the files."


def _limits(request: ExportRequest, facts: CardFacts, result: ExportResult) -> str:
    chunks = ", ".join(f"{latency_ms(context)} ms" for context in request.att_contexts)
    lines = [
        f"The gate ran at {chunks} with left context {request.att_contexts[0][0]} frames; other settings are untested.",
        "16 kHz mono audio. Telephone speech is resampled by the caller.",
        "It transcribes; it does not tell speakers apart and knows no pronunciation dictionary.",
        "Long silence, music and speech in untrained languages may give invented words.",
        *(["Scores on synthetic sets say nothing about human speakers."] if facts.synthetic_base or any(one.synthetic for one in facts.scores) else []),
        *result.notes,
    ]  # fmt: skip
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _example_tag(facts: CardFacts, result: ExportResult) -> str:
    target = next((one.locales[0] for one in facts.scores if one.role == "target" and one.locales), None)
    return target or (result.locales[0] if result.locales else "auto")


def _unit(rate: CardRate) -> str:
    return "WER" if rate.unit == "word" else "CER"


def _with_ci(rate: CardRate | None) -> str:
    if rate is None:
        return "-"
    return f"{rate.percent:.2f}" + (f" ({rate.ci95[0]:.2f} to {rate.ci95[1]:.2f})" if rate.ci95 else "")


def _yaml(text: str) -> str:
    """A text as a quoted scalar of one line."""
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; cells hold no bar, or an escaped one (`plain`)."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
