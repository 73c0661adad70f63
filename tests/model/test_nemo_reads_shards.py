"""NeMo 3.0's own reader on the shards that build_shards makes: every utterance, sample for sample, in the wanted shares; of Opus what the members decode to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from asrcore.audio import decode
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run
from tests.data.speech import corpus, manifest, noise, row, wav
from tests.data.test_shards import members_of, rows_of

READER = """
import json, sys
from pathlib import Path
import numpy as np
from lhotse import CutSet
from nemo.collections.common.data.lhotse.cutset import read_cutset_from_config
from omegaconf import OmegaConf

root, lossy, out = (Path(path) for path in sys.argv[1:])
index, lossy_index = (json.loads((folder / "index.json").read_text()) for folder in (root, lossy))

def entry(source, root=root):
    last = len(source["shards"]) - 1
    folder = root / source["name"]
    return {"type": "nemo_tarred", "manifest_filepath": f"{folder}/manifest__OP_0..{last}_CL_.json",
            "tarred_audio_filepaths": f"{folder}/audio__OP_0..{last}_CL_.tar", "weight": source["weight"], "tags": {"origin": source["name"]}}

def cuts(entries, **extra):
    found, tarred = read_cutset_from_config(OmegaConf.create({"input_cfg": entries, "lang_field": "target_lang", "shard_seed": 0, "shuffle": False, **extra}))
    assert tarred
    return found

seen = []
for source in index["sources"]:
    for cut in cuts([entry(source)], force_finite=True):
        audio = cut.load_audio()
        np.save(out / f"{cut.custom['id']}.npy", audio[0])
        supervision = cut.supervisions[0]
        seen.append([cut.custom["id"], supervision.language, supervision.text, audio.shape[0], cut.sampling_rate, round(cut.duration, 6)])
heard = []
for source in lossy_index["sources"]:
    for reader, found in (("nemo", cuts([entry(source, lossy)], force_finite=True)), ("lhotse", CutSet.from_shar(in_dir=lossy / source["name"] / "shar"))):
        for cut in found:
            np.save(out / f"{reader}-{cut.custom['id']}.npy", cut.load_audio()[0])
            heard.append([reader, cut.custom["id"], cut.supervisions[0].text])
seconds = {}
for count, cut in zip(range(4000), cuts([entry(s) for s in index["sources"]])):
    seconds[cut.origin] = seconds.get(cut.origin, 0) + cut.duration
print(json.dumps({"seen": seen, "heard": heard, "seconds": seconds}))
"""


@pytest.mark.heavy
def test_nemo_reads_every_utterance_exactly_and_mixes_sources_by_seconds(tmp_path: Path) -> None:
    train, replay = corpus(tmp_path, count=9), corpus(tmp_path, "keep-sub1", 2, target_lang="en-US")
    wav(tmp_path / "phone" / "0.wav", noise(6.0, 8000), 8000, subtype="GSM610")
    wav(tmp_path / "phone" / "1.ogg", noise(9.0), format="OGG", subtype="OPUS")
    phone = manifest(
        tmp_path / "phone" / "manifest.json",
        [row("0.wav", duration=6.0, id="gsm-sub0"), row("1.ogg", offset=1.0, duration=5.0, id="opus-sub1")],
    )
    facts = check_manifests([train], [replay, phone], [tmp_path])
    request = make_request(facts, 0.5, utterances_per_shard=4, seed=3, folder=tmp_path / "shards")

    class Quiet:
        def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

        def stop_if_asked(self) -> None: ...

    result = run(request, Quiet())
    lossy = run(make_request(facts, 0.5, utterances_per_shard=4, seed=3, folder=tmp_path / "shards", opus=32, shar=True), Quiet())
    (tmp_path / "out").mkdir()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", READER, result.root, lossy.root, str(tmp_path / "out")], capture_output=True, text=True,
                          env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    rows = [json.loads(line) for path in (train, replay, phone) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted((i, language, text) for i, language, text, *_ in answer["seen"]) == sorted(
        (r["id"], r["target_lang"], r["text"]) for r in rows
    )
    assert {tuple(form) for _, _, _, *form in answer["seen"]} >= {(1, 16_000, 6.0), (1, 16_000, 5.0), (1, 16_000, 2.0)}
    for n in range(9):
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / f"train-{n}.npy"), sf.read(tmp_path / "train" / f"{n}.wav", dtype="float32")[0]
        )
    piece = decode(tmp_path / "phone" / "1.ogg", offset=1.0, duration=5.0)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "opus-sub1.npy"), piece, atol=1 / 32768)
    texts = {r["id"]: r["text"] for r in rows}
    assert sorted(answer["heard"]) == sorted([reader, identity, text] for reader in ("nemo", "lhotse") for identity, text in texts.items())
    members = members_of(Path(lossy.root))
    for made in rows_of(Path(lossy.root)):
        wanted = sf.read(BytesIO(members[made["audio_filepath"]]), dtype="float32")[0]
        for reader in ("nemo", "lhotse"):
            np.testing.assert_allclose(np.load(tmp_path / "out" / f"{reader}-{made['id']}.npy"), wanted, atol=1 / 32768)
    total = sum(answer["seconds"].values())
    for source in result.sources:
        assert answer["seconds"][source.name] / total == pytest.approx(source.share, abs=0.04)
