// Scores recordings in a thread of its own, so that the page never freezes: the bundle's graph in onnxruntime-web.
import * as ort from "./ort.wasm.bundle.min.mjs";
import { beginOf, fillRow, finalScores, lengthOf, middlesOf, windowScores, windowsIn } from "./scores.js";
import { resampled } from "./rates.js";
import { BINS, mixed, pictureOf } from "./sound.js";

const CLIPS = 4; // at a time
const SILENT = 1e-5; // -100 dB: what differs by less is silence
const LOUDEST = 100; // times full scale
const ROUNDING = 1e-3; // a blend of scores may pass 0 or 1 by so much
const MOST_THREADS = 4;
let session = null;

self.onmessage = async ({ data }) => {
  try {
    await open(data.description);
    const { result, transferred } = await analysed(data);
    self.postMessage({ result }, transferred);
  } catch (error) {
    self.postMessage({ problem: String(error?.message ?? error) });
  }
};

async function open({ inputs }) {
  if (session) return;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  const response = await fetch(new URL("model.onnx", import.meta.url));
  if (!response.ok) throw new Error(`model.onnx cannot be loaded (${response.status}); build the page again`);
  session = await ort.InferenceSession.create(new Uint8Array(await response.arrayBuffer()), { executionProviders: ["wasm"] });
  const wanted = inputs.map(({ name }) => name);
  if ([...session.inputNames].sort().join() !== [...wanted].sort().join() || !session.outputNames.includes("scores")) {
    session = null;
    throw new Error("the bundle's graph is another one than bundle.json describes; get the bundle anew");
  }
}

// Everything that is shown of a recording: its final scores, its picture and what is odd about it.
async function analysed({ description, channels, rate, duration }) {
  const { inputs, window_s: window } = description;
  const { waveform, note } = mixed(channels);
  const notes = [note, isSilent(waveform) ? "nothing is to be heard in it" : ""].filter(Boolean);
  const byRate = new Map(inputs.map((input) => [input.sample_rate_hz, null]));
  for (const wanted of byRate.keys()) byRate.set(wanted, resampled(waveform, rate, wanted));
  const finest = Math.max(...byRate.keys());
  const picture = { ...pictureOf(byRate.get(finest)), bins: BINS, rate: finest };
  const moves = middlesOf(duration, description);
  const clips = await clipScores(description, inputs.map((input) => byRate.get(input.sample_rate_hz)), moves);
  const scores = finalScores(windowScores(moves[0], clips, windowsIn(duration, window), window), description);
  return { result: { scores, picture, notes, duration }, transferred: [picture.values.buffer, ...scores.map((each) => each.buffer)] };
}

// Scores of each clip of a recording: the mean of the clip as it is and moved by each shift.
async function clipScores(description, waveforms, moves) {
  const all = moves.flat(), clips = moves[0].length, classes = description.labels.length;
  const sums = Array.from({ length: clips }, () => new Float32Array(classes));
  for (let begin = 0; begin < all.length; begin += CLIPS) {
    const middles = all.slice(begin, begin + CLIPS);
    const found = await run(description, waveforms, middles);
    middles.forEach((middle, row) => {
      const sum = sums[(begin + row) % clips];
      for (let label = 0; label < classes; label++) sum[label] += checked(found[row * classes + label], middle) / moves.length;
    });
    self.postMessage({ share: (begin + middles.length) / all.length });
  }
  return sums;
}

// Scores of some clips, one row of K numbers after the other.
async function run({ inputs, labels }, waveforms, middles) {
  const feeds = {};
  inputs.forEach((input, which) => {
    const length = lengthOf(input), rows = new Float32Array(middles.length * length);
    middles.forEach((middle, row) => {
      fillRow(rows.subarray(row * length, (row + 1) * length), waveforms[which], beginOf(middle, waveforms[which].length, input));
    });
    feeds[input.name] = new ort.Tensor("float32", rows, [middles.length, length]);
  });
  const { scores } = await session.run(feeds, ["scores"]);
  if (scores.type !== "float32" || scores.dims.join() !== `${middles.length},${labels.length}`) {
    throw new Error(`the bundle's graph gives ${scores.type} [${scores.dims}] for ${middles.length} clips of ${labels.length} classes; get the bundle anew`);
  }
  return scores.data;
}

function checked(score, middle) {
  if (score >= -ROUNDING && score <= 1 + ROUNDING) return score; // NaN is neither
  throw new Error(`the bundle's graph gives ${score} instead of a score from 0 to 1 for the clip around ${middle} s; the model is broken`);
}

// Whether a waveform is silent; an error if it holds what is no sound.
function isSilent(waveform) {
  let lowest = Infinity, highest = -Infinity;
  for (const sample of waveform) {
    if (!(Math.abs(sample) <= LOUDEST)) throw new Error(`reaches ${sample} times full scale; repair the file`);
    if (sample < lowest) lowest = sample;
    if (sample > highest) highest = sample;
  }
  return highest - lowest < SILENT;
}
