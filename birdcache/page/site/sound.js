// Waveforms: channels become one as in birdcache/audio/mixing.py, and the picture of power over linear frequency.

const BLOCK = 2 ** 17; // samples in which channels are compared
const LEFT = 0.25, SHARE = 0.1, ALIKE = 0.9;
const N_FFT = 2048, HOP = 512, FLOOR = 1e-10; // of power: -100 dB
const MOST_COLUMNS = 6000; // more than screens are wide
const SHOWN = [0.1, 0.998]; // the shares of values that are shown darkest and brightest
export const BINS = 128; // rows of the picture; each is the mean power of N_FFT / 2 / BINS bins of the transform

// The mean of the channels, or the loudest channel where they cancel each other, and a word about that.
export function mixed(channels) {
  if (channels.length === 1) return { waveform: channels[0], note: "" };
  const taken = loudestOfCancelling(channels);
  if (taken >= 0) {
    const note = `channel ${taken + 1} alone is used: the mean of its channels would be silence, or noise without the bird`;
    return { waveform: channels[taken], note };
  }
  const waveform = new Float32Array(channels[0].length);
  for (const channel of channels) for (let place = 0; place < waveform.length; place++) waveform[place] += channel[place];
  for (let place = 0; place < waveform.length; place++) waveform[place] /= channels.length;
  return { waveform, note: "" };
}

// The channel to take instead of the mean, or -1.
function loudestOfCancelling(channels) {
  const total = [0, 0], lost = [0, 0], powers = channels.map(() => 0);
  for (let begin = 0; begin < channels[0].length; begin += BLOCK) {
    const blocks = channels.map((channel) => withoutMean(channel.subarray(begin, begin + BLOCK)));
    const changes = blocks.map((block) => block.subarray(1).map((sample, place) => sample - block[place]));
    [blocks, changes].forEach((each, which) => {
      const own = each.map(powerOf), most = Math.max(...own);
      own.forEach((power, channel) => { powers[channel] += power; });
      total[which] += most;
      if (powerOf(sumOf(each)) < LEFT * most) lost[which] += most;
    });
  }
  if (!lost.some((each, which) => each > SHARE * total[which])) return -1;
  const most = Math.max(...powers);
  return powers.findIndex((power) => power >= ALIKE * most);
}

const powerOf = (samples) => samples.reduce((sum, sample) => sum + sample * sample, 0);
const sumOf = (channels) => channels[0].map((_, place) => channels.reduce((sum, channel) => sum + channel[place], 0));
function withoutMean(samples) {
  const mean = samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
  return samples.map((sample) => sample - mean);
}

// Bytes from 0, quiet, to 255, loud, frame by frame, low frequencies first; a column of a long recording shows the
// loudest of neighbouring frames.
export function pictureOf(waveform) {
  const frames = 1 + Math.floor(waveform.length / HOP);
  const group = Math.max(1, Math.ceil(frames / MOST_COLUMNS));
  const columns = Math.ceil(frames / group);
  const values = new Float32Array(columns * BINS).fill(-Infinity), decibels = new Float32Array(BINS);
  for (let frame = 0; frame < frames; frame++) {
    writeDecibels(decibels, waveform, frame * HOP - N_FFT / 2);
    const begin = Math.floor(frame / group) * BINS;
    for (let bin = 0; bin < BINS; bin++) values[begin + bin] = Math.max(values[begin + bin], decibels[bin]);
  }
  return { values: asBytes(values), frames: columns };
}

const WINDOW = Float64Array.from({ length: N_FFT }, (_, place) => 0.5 - 0.5 * Math.cos((2 * Math.PI * place) / N_FFT));
const COS = Float64Array.from({ length: N_FFT / 2 }, (_, place) => Math.cos((2 * Math.PI * place) / N_FFT));
const SIN = Float64Array.from({ length: N_FFT / 2 }, (_, place) => -Math.sin((2 * Math.PI * place) / N_FFT));
const REVERSED = Uint16Array.from({ length: N_FFT }, (_, place) => {
  let turned = 0;
  for (let bit = 1; bit < N_FFT; bit *= 2) turned = 2 * turned + (place & bit ? 1 : 0);
  return turned;
});
const real = new Float64Array(N_FFT), imaginary = new Float64Array(N_FFT);

// Power in dB around N_FFT samples from `begin` on; silence lies around the waveform.
export function writeDecibels(decibels, waveform, begin) {
  for (let place = 0; place < N_FFT; place++) real[REVERSED[place]] = (waveform[begin + place] ?? 0) * WINDOW[place];
  imaginary.fill(0);
  transform();
  const width = N_FFT / 2 / BINS;
  for (let bin = 0; bin < BINS; bin++) {
    let power = 0;
    for (let place = bin * width; place < (bin + 1) * width; place++) power += real[place] ** 2 + imaginary[place] ** 2;
    decibels[bin] = 10 * Math.log10(Math.max(power / width, FLOOR));
  }
}

// Fourier transform in place, of samples in reversed order of bits (Cooley and Tukey 1965).
function transform() {
  for (let half = 1; half < N_FFT; half *= 2) {
    const step = N_FFT / 2 / half;
    for (let begin = 0; begin < N_FFT; begin += 2 * half) {
      for (let place = begin, turn = 0; place < begin + half; place++, turn += step) {
        const other = place + half;
        const a = real[other] * COS[turn] - imaginary[other] * SIN[turn];
        const b = real[other] * SIN[turn] + imaginary[other] * COS[turn];
        real[other] = real[place] - a;
        imaginary[other] = imaginary[place] - b;
        real[place] += a;
        imaginary[place] += b;
      }
    }
  }
}

// From 0, dark, to 255, bright: what is quieter or louder than `SHOWN` of all is shown like these.
function asBytes(values) {
  const sorted = values.slice().sort();
  const [low, high] = SHOWN.map((share) => sorted[Math.round(share * (sorted.length - 1))]);
  const scale = 255 / Math.max(high - low, 1e-6);
  return Uint8ClampedArray.from(values, (value) => (value - low) * scale);
}
