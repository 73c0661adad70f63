"""A language that the embedded base lacks: Catalan, spoken by espeak-ng. Part `locale` of the study, all synthetic.

Catalan is written with letters that the base has, close to a language it knows (Spanish), and in no dictionary of the model family, so that
all three ways can be taken: another's slot under an alias, a free slot that starts as a copy of it, and a slot that never learned anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from asrcore.embedded.grammar import Grammar, Part
from asrcore.requests import EvalCell, TrainResult
from bench.study_runs import Size, Study
from bench.study_speech import Line, sentences, speak

LOCALE = "ca-ES"
NEIGHBOUR = "es-ES"
NEVER_TRAINED = "pt-PT"
"""A tag whose slot the embedded base has and never saw: the start from zero. The rows stay Catalan; only their tag is this."""
ESPEAK = "ca"
GRAMMAR = Grammar(
    locale=LOCALE,
    templates=(
        "Bon dia, truco per {object}.",
        "Bona tarda, vull pagar {object} {day}.",
        "Em dic {name} {surname} i visc a {city}.",
        "El meu codi és {digit*4}.",
        "El meu número de telèfon és {digit*6}.",
        "Tinc hora {day} a les {hour}.",
        "Em pot enviar {object} {day}?",
        "Encara no he rebut {object}.",
        "Vull {number} entrades per {day}.",
        "El tren surt a les {hour} i {number} minuts.",
        "La meva adreça és carrer {street} {number}.",
        "El senyor {surname} viu a {city} des de fa {number} anys.",
        "La senyora {surname} vol parlar amb {name}.",
        "Hi ha un problema amb {thing} des de {day}.",
        "Gràcies, {name}, tornaré a trucar {day}.",
        "Sí, el compte és {digit*5}.",
        "No, he dit {digit*3}, no {digit*3}.",
        "Porto {number} minuts esperant per {object}.",
        "Pago amb targeta, el número és {digit*4}, {digit*4}.",
    ),
    slots={
        "object": ("la factura", "la meva comanda", "el contracte", "la reserva", "el paquet", "el rebut", "la garantia", "la targeta"),
        "thing": ("la botiga", "el banc", "la farmàcia", "la oficina", "la biblioteca", "el viatge"),
        "name": ("Jordi", "Montserrat", "Marta", "Pau", "Laia", "Pere", "Anna", "Miquel"),
        "surname": ("Puig", "Soler", "Vila", "Ferrer", "Serra", "Roca", "Costa", "Pons"),
        "city": ("Girona", "Lleida", "Tarragona", "Barcelona", "Reus", "Figueres"),
        "street": ("Major", "Nou", "Verdaguer", "del Mar"),
        "day": ("avui", "dilluns", "dimarts", "dimecres", "dijous", "divendres", "dissabte", "diumenge"),
        "hour": ("dues", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou", "deu"),
        "number": ("dos", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou", "deu", "vint", "trenta"),
        "digit": ("zero", "un", "dos", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou"),
    },
)  # fmt: skip
ACCENTS = str.maketrans("àèòç", "aeoc")
"""Letters that the base's tokenizer has no piece for; the remedy that add_locale names is to map them, in training and test alike."""
SETS: tuple[tuple[str, Part, int, int], ...] = (("train", "train", 4_800, 1), ("dev", "train", 400, 2), ("test", "test", 1_550, 3))
"""Name, part of the grammar, least number of words, seed. As many words as the Greek telephone sets; of a dev set the study uses little."""
REPLAY_SHARE = 0.3
WAYS = ("alias", "own_slot", "zero")
ZERO = "zero"
OWN = "own_slot"
ALPHAS = (0.5, 0.7)
"""What gives a neighbour that training has worn down back a part of it, at what price for the new language."""
TUNED: tuple[tuple[str, str, float], ...] = (*((way, "full", REPLAY_SHARE) for way in WAYS), (OWN, "full", 0.6), (OWN, "lora:64", REPLAY_SHARE))
"""Way, surface and replay share: the ways side by side, then what may wear the neighbour down less."""


def make(folder: Path) -> dict[str, Path]:
    """Set name -> manifest, tagged `LOCALE`; `NAME_zero` is the same audio tagged `NEVER_TRAINED`."""
    found, taken = dict[str, Path](), set[str]()
    for name, part_of_grammar, words, seed in SETS:
        target = folder / f"{LOCALE}_{name}"
        lines = [Line(turn, text.translate(ACCENTS), text, ESPEAK) for turn, text in enumerate(sentences(GRAMMAR, part_of_grammar, seed, words, taken))]
        speak(target, lines, LOCALE, part_of_grammar, seed, {"manifest.json": LOCALE, "manifest_zero.json": NEVER_TRAINED})
        found[name], found[f"{name}_{ZERO}"] = target / "manifest.json", target / "manifest_zero.json"
    return found


def part(study: Study, size: Size) -> Callable[[], None]:
    """The same audio, steps and rate three ways; then one of them with more replay, as a LoRA, and between its base and its tuned weights."""
    sets = make(study.home / "data")
    before = {way: study.later(start, study, way, sets["train"], _set(sets, "test", way)) for way in WAYS}
    after = {
        how: [study.later(tune, study, *how, sets["train"], _set(sets, "train", how[0]), _set(sets, "dev", how[0]), _set(sets, "test", how[0]), seed) for seed in size.seeds]
        for how in TUNED
    }
    between = {
        alpha: [study.later(blend, study, alpha, sets["train"], sets["dev"], sets["test"], seed) for seed in size.seeds] for alpha in ALPHAS
    }  # fmt: skip

    def table() -> None:
        print(f"{NEIGHBOUR} is the neighbour; {study.steps} steps\n")
        print(f"| {LOCALE} | before | after | neighbour before | neighbour after |\n| --- | --- | --- | --- | --- |")
        for (way, surface, share), made in after.items():
            new, old = before[way].result()
            _line(f"{way}, {surface}, replay {share:.0%}", new, [one.result() for one in made], old)
        new, old = before[OWN].result()
        for alpha, made in between.items():
            _line(f"{OWN}, alpha {alpha:g}", new, [one.result() for one in made], old)

    return table


def start(study: Study, way: str, spelled: Path, test: Path) -> list[EvalCell]:
    """The new language and its neighbour before any tuning."""
    return study.evals(base_of(study, way, spelled), [test, study.sets[f"{NEIGHBOUR}_guard_test"]])


def tune(study: Study, way: str, surface: str, share: float, spelled: Path, train: Path, dev: Path, test: Path, seed: int) -> list[EvalCell]:
    run = _run(study, base_of(study, way, spelled), surface, share, train, dev, seed)
    return study.evals(run.run_id, [test, study.sets[f"{NEIGHBOUR}_guard_test"]])


def blend(study: Study, alpha: float, train: Path, dev: Path, test: Path, seed: int) -> list[EvalCell]:
    """The new language and its neighbour at `alpha` between the base with the new slot and what was tuned from it."""
    base = base_of(study, OWN, train)
    run = _run(study, base, "full", REPLAY_SHARE, train, dev, seed)
    return study.evals(study.blends(run, ALPHAS, base)[alpha], [test, study.sets[f"{NEIGHBOUR}_guard_test"]])


def base_of(study: Study, way: str, spelled: Path) -> str:
    """`spelled`: the training manifest, whose letters add_locale looks at."""
    return "embedded" if way == ZERO else study.add_locale(way, LOCALE, NEIGHBOUR, spelled)


def _run(study: Study, base: str, surface: str, share: float, train: Path, dev: Path, seed: int) -> TrainResult:
    return study.train(train, dev, seed, replay_share=share, base=base, surface=surface, prompt_mode="langID")


def _line(name: str, new: EvalCell, tuned: Sequence[list[EvalCell]], old: EvalCell) -> None:
    rates = [cells[0].normalised.percent for cells in tuned]
    print(f"| {name} | {new.normalised.percent:.1f} | {mean(rates):.1f} ({', '.join(f'{rate:.1f}' for rate in rates)}) | "
          f"{old.normalised.percent:.1f} | {mean(cells[1].normalised.percent for cells in tuned):.1f} |", flush=True)  # fmt: skip


def _set(sets: dict[str, Path], name: str, way: str) -> Path:
    return sets[f"{name}_{ZERO}" if way == ZERO else name]
