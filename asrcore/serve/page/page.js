// Live captions: microphone or file -> PCM16 over a WebSocket -> partial and final text. The protocol: docs/concepts/serving.md.
const RATE = 16000;
const PIECE = 1280; // samples: 80 ms
const AHEAD_S = 5; // a file that is not paced runs at most so far ahead of what the server has heard
const $ = (id) => document.getElementById(id);

let health = null;
let live = null; // the stream under way: {socket, heard, ready, stopAudio}
let lags = [];

function say(text, bad = false) {
  $('status').textContent = text;
  $('status').classList.toggle('bad', bad);
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

function enable() {
  const idle = health !== null && live === null;
  for (const id of ['language', 'latency', 'microphone', 'choose']) $(id).disabled = !idle;
  $('stop').disabled = live === null;
  const some = $('finals').childElementCount > 0;
  $('copy').disabled = $('clear').disabled = !some;
  $('empty').hidden = some || $('partial').textContent !== '';
}

function nameOf(tag) {
  if (tag === 'auto') return 'auto – let the model tell';
  try {
    return `${tag} – ${new Intl.DisplayNames(['en'], { type: 'language' }).of(tag)}`;
  } catch {
    return tag;
  }
}

async function load() {
  try {
    health = await (await fetch('/health')).json();
  } catch {
    say('The server does not answer.', true);
    return;
  }
  $('model').textContent = `Model: ${health.checkpoint}`;
  for (const tag of health.languages) $('language').append(new Option(nameOf(tag), tag));
  for (const ms of health.latencies_ms) $('latency').append(new Option(`${ms} ms`, ms, ms === health.latency_ms, ms === health.latency_ms));
  $('token-row').hidden = !health.token_required;
  say('Ready.');
  enable();
}

function open() {
  const url = new URL(health.stream, location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url);
  const stream = { socket, heard: 0, stopAudio: () => {}, ready: null, language: $('language').value };
  stream.ready = new Promise((resolve, reject) => {
    socket.onopen = () => {
      const first = { sample_rate: RATE, language: stream.language, latency_ms: Number($('latency').value) };
      if ($('token').value) first.token = $('token').value;
      socket.send(JSON.stringify(first));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === 'ready') resolve();
      take(stream, message);
    };
    socket.onclose = (event) => {
      reject(new Error(stream.refused ?? 'The connection was closed.'));
      closed(stream, event);
    };
  });
  stream.ready.catch(() => {});
  live = stream;
  lags = [];
  enable();
  return stream;
}

function take(stream, message) {
  if (message.type === 'ready') {
    $('chunk').textContent = `${message.latency_ms} ms`;
  } else if (message.type === 'error') {
    stream.refused = `${message.message} ${message.next_step}`;
  } else if (message.type === 'done') {
    stream.done = true;
    $('heard').textContent = clock(message.audio_s);
  } else {
    figures(stream, message);
    if (message.type === 'partial') {
      $('partial').textContent = message.text;
      if (message.language) $('partial').lang = message.language;
    } else if (message.type === 'final') {
      addFinal(message);
    }
  }
  enable();
}

function figures(stream, message) {
  stream.heard = message.audio_s;
  $('heard').textContent = clock(message.audio_s);
  lags.push(message.lag_ms);
  if (lags.length > 500) lags.shift();
  const sorted = [...lags].sort((a, b) => a - b);
  $('lag').textContent = `${Math.round(message.lag_ms)} ms`;
  $('lag95').textContent = `${Math.round(sorted[Math.floor(0.95 * (sorted.length - 1))])} ms`;
}

function addFinal(message) {
  const line = document.createElement('li');
  const time = document.createElement('time');
  const text = document.createElement('span');
  time.textContent = clock(message.start);
  text.textContent = message.text;
  text.dir = 'auto';
  if (message.language) text.lang = message.language;
  text.dataset.glue = message.glue;
  line.append(time, text);
  $('finals').append(line);
  $('partial').textContent = '';
  $('captions').scrollTop = $('captions').scrollHeight;
}

function closed(stream, event) {
  stream.stopAudio();
  if (live !== stream) return;
  live = null;
  $('partial').textContent = '';
  if (stream.done && event.code === 1000) say('Finished.');
  else say(stream.refused ?? `The connection was closed (${event.code}).`, true);
  enable();
}

function finish() {
  if (!live) return;
  live.stopAudio();
  if (live.socket.readyState === WebSocket.OPEN) live.socket.send('{"type": "end"}');
  else live.socket.close();
  $('stop').disabled = true;
}

async function microphone() {
  const stream = open();
  let media = null;
  let context = null;
  stream.stopAudio = () => {
    stream.stopAudio = () => {};
    stream.silenced = true;
    media?.getTracks().forEach((track) => track.stop());
    context?.close();
  };
  try {
    if (!navigator.mediaDevices) throw new Error('The browser gives the microphone to https and localhost pages only.');
    media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: false, autoGainControl: true } });
    context = new AudioContext({ sampleRate: RATE });
    await context.audioWorklet.addModule('/capture.js');
    await stream.ready;
    const node = new AudioWorkletNode(context, 'capture', { channelCount: 1, channelCountMode: 'explicit', numberOfOutputs: 0 });
    node.port.onmessage = (event) => {
      if (!stream.silenced && stream.socket.readyState === WebSocket.OPEN) stream.socket.send(event.data);
    };
    context.createMediaStreamSource(media).connect(node);
    await context.resume();
    say('Listening.');
  } catch (error) {
    fail(stream, error);
  }
}

function fail(stream, error) {
  stream.refused ??= error.message;
  stream.stopAudio();
  stream.socket.close();
}

async function play(file) {
  if (live || !health) return;
  const stream = open();
  let stopped = false;
  stream.stopAudio = () => { stopped = true; };
  say(`Reading ${file.name} …`);
  try {
    const samples = await decode(file);
    await stream.ready;
    say(`Sending ${file.name} (${clock(samples.length / RATE)}).`);
    const began = performance.now();
    const paced = $('pace').checked;
    for (let at = 0; at < samples.length && !stopped; at += PIECE) {
      const sent = at / RATE;
      while (!stopped && (paced ? performance.now() - began < 1000 * sent : sent - stream.heard > AHEAD_S)) await pause(10);
      if (!stopped) stream.socket.send(samples.slice(at, at + PIECE));
    }
    if (!stopped) finish();
  } catch (error) {
    fail(stream, error);
  }
}

async function decode(file) {
  const context = new OfflineAudioContext(1, 1, RATE);
  let audio;
  try {
    audio = await context.decodeAudioData(await file.arrayBuffer()); // resampled to the context's rate
  } catch {
    throw new Error('The browser cannot read that file as audio.');
  }
  const mono = new Float32Array(audio.length);
  for (let n = 0; n < audio.numberOfChannels; n++) audio.getChannelData(n).forEach((value, at) => { mono[at] += value / audio.numberOfChannels; });
  return Int16Array.from(mono, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function text() {
  return [...document.querySelectorAll('#finals span')].map((span, n) => (n && span.dataset.glue !== 'true' ? ' ' : '') + span.textContent).join('');
}

$('microphone').onclick = microphone;
$('stop').onclick = finish;
$('choose').onclick = () => $('file').click();
$('file').onchange = () => {
  if ($('file').files.length) play($('file').files[0]);
  $('file').value = '';
};
$('copy').onclick = async () => {
  await navigator.clipboard.writeText(text());
  say('Copied.');
};
$('clear').onclick = () => {
  $('finals').replaceChildren();
  enable();
};
$('controls').onsubmit = (event) => event.preventDefault();
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add('over');
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove('over');
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove('over');
  const file = event.dataTransfer.files[0];
  if (file) play(file);
};
load();
