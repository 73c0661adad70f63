// Audio thread: float samples of the microphone to PCM16 in pieces of 80 ms.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(1280);
    this.used = 0;
  }

  process(inputs) {
    const channel = inputs[0][0];
    if (!channel) return true;
    for (const value of channel) {
      this.piece[this.used++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
      if (this.used === this.piece.length) {
        this.port.postMessage(this.piece.slice().buffer);
        this.used = 0;
      }
    }
    return true;
  }
}

registerProcessor('capture', Capture);
