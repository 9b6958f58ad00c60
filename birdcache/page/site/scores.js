// From scores of clips to scores of windows, as `birdcache predict` has it: birdcache/predict/postprocess.py and
// calibrator.py, in JavaScript. Seconds and samples are numbers; scores are an array of K numbers for each clip or window.

const OUTSIDE = 1e9; // samples before and behind the recording: birdcache/bundle/format.py
const LEAST = 1e-6; // scores closer to 0 or 1 are taken for this, whose logit is finite

export const windowsIn = (duration, window) => Math.max(1, Math.ceil(duration / window - 0.1));

// Middles of the clips: as they are, then moved by each shift.
export function middlesOf(duration, { window_s: window, hop_s: hop, shifts_s: shifts }) {
  const last = (windowsIn(duration, window) - 1) * window;
  const count = Math.ceil(last / hop - 1e-9) + 1;
  const middles = Array.from({ length: count }, (_, clip) => window / 2 + Math.min(clip * hop, last));
  return [0, ...shifts].map((shift) => middles.map((middle) => middle + shift));
}

// Samples of a row of an input of the graph.
export const lengthOf = ({ context_frames: context, clip_frames: clip, hop, margin }) => (context + clip - 1) * hop + 2 * margin;

// The sample of a waveform with which the row of a clip begins; below 0 at the recording's start.
export function beginOf(middle, samples, input) {
  const { sample_rate_hz: rate, hop, clip_frames: clip, context_frames: context, margin, tail = 0 } = input;
  const frames = 1 + Math.floor(Math.max(samples - tail, 0) / hop);
  const start = toEven(middle * (rate / hop) - clip / 2);
  const first = Math.min(Math.max(start, 0), Math.max(frames - clip, 0));
  return (first - context) * hop - margin;
}

// The nearest whole number; of two, the even one, as numpy has it.
function toEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + Math.abs(low % 2) : Math.round(value);
}

// Writes the samples of a waveform from `begin` on into a row; the sample right behind the last one counts as silence.
export function fillRow(row, waveform, begin) {
  row.fill(OUTSIDE);
  const first = Math.max(begin, 0), last = Math.min(begin + row.length, waveform.length);
  if (last > first) row.set(waveform.subarray(first, last), first - begin);
  if (begin <= waveform.length && waveform.length < begin + row.length) row[waveform.length - begin] = 0;
}

// Scores of windows: the mean of the clips that overlap each, weighted by the overlap.
export function windowScores(middles, clips, windows, window) {
  const sums = Array.from({ length: windows }, () => new Float64Array(clips[0].length));
  const weights = new Float64Array(windows);
  middles.forEach((middle, clip) => {
    const begin = Math.round((middle / window - 0.5) * 1e9) / 1e9; // in windows
    const first = Math.floor(begin);
    for (const [place, overlap] of [[first, first + 1 - begin], [first + 1, begin - first]]) {
      if (place < 0 || place >= windows || overlap <= 0) continue;
      weights[place] += overlap;
      clips[clip].forEach((score, label) => { sums[place][label] += overlap * score; });
    }
  });
  return sums.map((sum, place) => Float32Array.from(sum, (each) => each / weights[place]));
}

// Final scores of a recording's windows: calibrated, smoothed over time, times a power of the file's maximum.
export function finalScores(windows, { slopes, offsets, smoothing, file_max: power, top_k: count }) {
  const calibrated = slopes.length
    ? windows.map((scores) => scores.map((score, label) => calibratedScore(score, slopes[label], offsets[label])))
    : windows;
  const taps = Array.isArray(smoothing) ? smoothing : [smoothing, 1 - 2 * smoothing, smoothing];
  const tapsOf = (label) => (Array.isArray(taps[0]) ? taps[label] : taps);
  const smooth = calibrated.map((scores, place) => scores.map((_, label) => smoothedAt(calibrated, place, label, tapsOf(label))));
  if (!power) return smooth;
  const levels = smooth[0].map((_, label) => meanOfHighest(smooth.map((scores) => scores[label]), count ?? 1));
  return smooth.map((scores) => scores.map((score, label) => score * levels[label] ** power));
}

function meanOfHighest(scores, count) {
  const highest = scores.sort((one, other) => other - one).slice(0, count);
  return highest.reduce((sum, score) => sum + score, 0) / highest.length;
}

function calibratedScore(score, slope, offset) {
  const clipped = Math.min(Math.max(score, LEAST), 1 - LEAST);
  return 1 / (1 + Math.exp(-(slope * Math.log(clipped / (1 - clipped)) + offset)));
}

function smoothedAt(windows, place, label, taps) {
  const first = place - (taps.length - 1) / 2;
  const parts = taps.map((tap, number) => [first + number, tap]).filter(([each]) => windows[each]);
  const weight = parts.reduce((sum, [, part]) => sum + part, 0);
  if (!weight) return windows[place][label];
  return parts.reduce((sum, [each, part]) => sum + part * windows[each][label], 0) / weight;
}

// From which final score on each class counts as detected.
export const thresholdsOf = ({ thresholds, file_max: power }) =>
  Float32Array.from(thresholds, (each) => Math.fround(each) ** (1 + power));
