// Sampling rates: that of a file, by its first bytes, and from one to another as soxr does it for `birdcache predict`.
// A browser would resample, too, but with a filter so short that scores change by 0.01.

const PASSED = 0.9136; // of the lower rate's band, as in soxr's HQ; what lies above the band is gone
const ATTENUATION_DB = 120;
const MPEG_RATES = [44100, 48000, 32000];

// The rate of an Ogg, WAV, FLAC or MP3 file in Hz; 0 for others.
export function rateOf(content) {
  const view = new DataView(content, 0, Math.min(content.byteLength, 2 ** 20));
  const wordAt = (place, letters = 4) => String.fromCharCode(...new Uint8Array(content, place, letters));
  try {
    if (wordAt(0) === "fLaC") return view.getUint32(18) >>> 12;
    if (wordAt(0) === "OggS") return rateOfOgg(view, wordAt);
    if (["RIFF", "RF64"].includes(wordAt(0))) {
      let place = 12;
      while (wordAt(place) !== "fmt ") place += 8 + view.getUint32(place + 4, true);
      return view.getUint32(place + 12, true);
    }
    return rateOfMpeg(view, wordAt);
  } catch {
    return 0; // it ends before its rate
  }
}

function rateOfOgg(view, wordAt) {
  const place = 27 + view.getUint8(26); // behind the first page's header
  if (wordAt(place, 8) === "OpusHead") return 48000;
  return wordAt(place, 7) === "\x01vorbis" ? view.getUint32(place + 12, true) : 0;
}

function rateOfMpeg(view, wordAt) {
  let place = 0;
  if (wordAt(0, 3) === "ID3") place = 10 + [6, 7, 8, 9].reduce((size, byte) => size * 128 + view.getUint8(byte), 0);
  const head = view.getUint32(place);
  const version = (head >>> 19) & 3; // 0: MPEG 2.5, 2: MPEG 2, 3: MPEG 1
  if (head >>> 21 !== 0x7ff || version === 1) return 0;
  return (MPEG_RATES[(head >>> 10) & 3] ?? 0) / { 0: 4, 2: 2, 3: 1 }[version];
}

// A waveform at another rate: a sum of samples weighted by a sinc under Kaiser's window, of zero phase.
export function resampled(waveform, from, to) {
  if (from === to) return waveform;
  const common = divisorOf(from, to), up = to / common, down = from / common;
  const { taps, half } = filterOf(up, down);
  const result = new Float32Array(Math.max(1, Math.round((waveform.length * to) / from)));
  for (let place = 0; place < result.length; place++) {
    const at = place * down, first = Math.floor(at / up) - half + 1, row = (at % up) * 2 * half;
    const begin = Math.max(0, -first), end = Math.min(2 * half, waveform.length - first);
    let sum = 0;
    for (let tap = begin; tap < end; tap++) sum += taps[row + tap] * waveform[first + tap];
    result[place] = sum;
  }
  return result;
}

// For each of `up` places between two samples, the weights of `half` samples before and after it.
function filterOf(up, down) {
  const band = Math.min(1, up / down), cutoff = (band * (1 + PASSED)) / 2;
  const half = Math.ceil((ATTENUATION_DB - 8) / (2.285 * Math.PI * band * (1 - PASSED)) / 2); // Kaiser 1974
  const beta = 0.1102 * (ATTENUATION_DB - 8.7), whole = bessel(beta);
  const taps = new Float32Array(up * 2 * half);
  for (let phase = 0; phase < up; phase++) {
    for (let tap = 0; tap < 2 * half; tap++) {
      const time = tap - half + 1 - phase / up, turned = Math.PI * cutoff * time;
      const window = bessel(beta * Math.sqrt(Math.max(0, 1 - (time / half) ** 2))) / whole;
      taps[phase * 2 * half + tap] = cutoff * (turned ? Math.sin(turned) / turned : 1) * window;
    }
  }
  return { taps, half };
}

// The modified Bessel function of order 0.
function bessel(value) {
  let sum = 1, term = 1;
  for (let step = 1; term > 1e-12 * sum; step++) sum += term *= (value / 2 / step) ** 2;
  return sum;
}

const divisorOf = (one, other) => (other ? divisorOf(other, one % other) : one);
