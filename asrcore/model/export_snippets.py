"""The part of an artefact's README.md that is run: three snippets a target, which tests take out of the file and run beside it (tests/model/test_export_readme.py)."""

from __future__ import annotations

from asrcore.locales import latency_ms
from asrcore.model.export_sherpa import HEAD_S, TAIL_S, folder_name
from asrcore.requests import ExportRequest

_CHECK = """```sh
sha256sum -c SHA256SUMS
```"""


def _nemo(request: ExportRequest, tag: str) -> str:
    left, right = request.att_contexts[0]
    return f"""## Run it

Are the files whole?

{_CHECK}

Words with times, streamed as they would be served (`pip install asrtune`; `asrtune serve model.nemo` does it live):

```sh
asrtune transcribe model.nemo clip.wav --language {tag} --att-context-size {left},{right} --wait
```

NeMo 3.0 alone, a file at a time. It sets one prompt on the whole model and decodes without one when it was forgotten; asrtune takes a prompt for each stream.

```python
import soundfile
from nemo.collections.asr.models import ASRModel
from nemo.collections.asr.models.rnnt_bpe_models_prompt import RNNTPromptTranscribeConfig

model = ASRModel.restore_from("model.nemo", map_location="cpu").eval()
model.encoder.set_default_att_context_size([{left}, {right}])  # {latency_ms((left, right))} ms chunks
audio, rate = soundfile.read("clip.wav", dtype="float32")  # 16 kHz, mono
settings = RNNTPromptTranscribeConfig(use_lhotse=False, target_lang="{tag}", batch_size=1)
print(model.transcribe([audio], override_config=settings)[0].text)
print(dict(model.cfg.asrtune.provenance))
```"""


def _transformers(request: ExportRequest, tag: str) -> str:
    return f"""## Run it

Are the files whole?

{_CHECK}

A file (`pip install "transformers>=5.13" torch soundfile`):

```python
import soundfile
from transformers import AutoProcessor, Nemotron3_5AsrForRNNT

processor = AutoProcessor.from_pretrained(".")
model = Nemotron3_5AsrForRNNT.from_pretrained(".").eval()
processor.set_num_lookahead_tokens({request.att_contexts[0][1]})  # {latency_ms(request.att_contexts[0])} ms chunks; also proven: {[right for _, right in request.att_contexts]}
audio, rate = soundfile.read("clip.wav", dtype="float32")  # 16 kHz, mono
inputs = processor(audio, sampling_rate=rate, language="{tag}")
print(processor.batch_decode(model.generate(**inputs).sequences, skip_special_tokens=True)[0])
```

With `language="auto"` the model finds the language, and its tag is among the tokens:

```python
import soundfile
from transformers import AutoModelForRNNT, AutoProcessor

processor, model = AutoProcessor.from_pretrained("."), AutoModelForRNNT.from_pretrained(".").eval()
audio, rate = soundfile.read("clip.wav", dtype="float32")
sequence = model.generate(**processor(audio, sampling_rate=rate, language="auto")).sequences[0]
pieces = processor.tokenizer.convert_ids_to_tokens(sequence)
print(processor.decode(sequence, skip_special_tokens=True), [piece for piece in pieces if piece.startswith("<") and "-" in piece])
```"""


def _onnx(request: ExportRequest, tag: str) -> str:
    opened = f"""import numpy, sherpa_onnx, soundfile

folder = "{folder_name(request.att_contexts[0])}"
recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
    tokens=f"{{folder}}/tokens.txt", encoder=f"{{folder}}/encoder.onnx", decoder=f"{{folder}}/decoder.onnx", joiner=f"{{folder}}/joiner.onnx")
audio, rate = soundfile.read("clip.wav", dtype="float32")  # mono
head, tail = (numpy.zeros(int(seconds * rate), "float32") for seconds in ({HEAD_S}, {latency_ms(request.att_contexts[0]) / 1000 + TAIL_S:.2f}))
stream = recognizer.create_stream()"""
    return f"""## Run it

One folder a chunk size, each complete in itself: {', '.join(f'`{folder_name(context)}`' for context in request.att_contexts)}.

Are the files whole?

{_CHECK}

A file (`pip install sherpa-onnx soundfile numpy`):

```python
{opened}
stream.set_option("language", "{tag}")
stream.accept_waveform(rate, numpy.concatenate([head, audio, tail]))
stream.input_finished()
while recognizer.is_ready(stream):
    recognizer.decode_stream(stream)
print(recognizer.get_result(stream))
```

Live, 100 ms at a time as a microphone gives them; here the model finds the language:

```python
{opened}
stream.set_option("language", "auto")
stream.accept_waveform(rate, head)
shown = ""
for piece in numpy.array_split(numpy.concatenate([audio, tail]), 10 * (len(audio) + len(tail)) // rate):
    stream.accept_waveform(rate, piece)
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    if recognizer.get_result(stream) != shown:
        shown = recognizer.get_result(stream)
        print(shown)
```

The silence is needed: sherpa-onnx drops the first {HEAD_S:g} s of a stream and waits for a whole chunk at its end. It takes language tags out of the text."""


SNIPPETS = {"nemo": _nemo, "transformers": _transformers, "onnx": _onnx}
"""Target -> text, from the request and a tag to show."""
