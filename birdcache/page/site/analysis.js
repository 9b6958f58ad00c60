// From a file to its scores: decoded by the browser, resampled and scored by the worker.
import { rateOf } from "./rates.js";

const LONGEST_HOURS = 2; // all samples are in memory
const wanting = "birdcache predict takes recordings of any length and more formats";
let worker = null;

// What is to be shown of a file; `advance` is called with the share that is done. An aborted one ends with the worker,
// whatever the worker is doing.
export async function analysed(file, description, advance, signal) {
  const sound = await decoded(file, Math.max(...description.inputs.map((each) => each.sample_rate_hz)));
  signal.throwIfAborted();
  worker ??= new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const end = () => {
    worker.terminate();
    worker = null;
  };
  return new Promise((done, fail) => {
    signal.addEventListener("abort", () => { end(); fail(signal.reason); }, { once: true });
    worker.onerror = (event) => { end(); fail(new Error(event.message || "the part of the page that scores cannot be loaded; reload the page")); };
    worker.onmessage = ({ data }) => {
      if (data.result) done({ ...data.result, name: file.name });
      else if (data.problem) { end(); fail(new Error(data.problem)); } // memory that it took is free again
      else advance(data.share);
    };
    advance(0);
    worker.postMessage({ description, ...sound }, sound.channels.map((each) => each.buffer));
  });
}

// Channels at the file's own rate, or where that is not known, at a usual one; and the duration in seconds.
async function decoded(file, usual) {
  const hours = (await claimedDuration(file)) / 3600;
  if (hours > LONGEST_HOURS) throw new Error(`lasts ${hours.toFixed(1)} hours, and the page takes up to ${LONGEST_HOURS}: cut it; ${wanting}`);
  const buffer = await atOwnRate(await contentOf(file), usual);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  return { channels, rate: buffer.sampleRate, duration: buffer.duration };
}

async function contentOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Error("cannot be read: it was moved, or is too large for this browser; drop it again");
  }
}

async function atOwnRate(content, usual) {
  try {
    return await contextOf(rateOf(content) || usual, usual).decodeAudioData(content);
  } catch {
    throw new Error(`holds no sound that this browser decodes; convert it, such as: ffmpeg -i IN OUT.wav; ${wanting}`);
  }
}

// Decoding resamples to the rate of its context, and browsers know no rates below 8 or above 96 kHz.
function contextOf(rate, usual) {
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch {
    return new OfflineAudioContext(1, 1, usual);
  }
}

// The duration in seconds that the file claims; 0 if the browser cannot say.
function claimedDuration(file) {
  const audio = new Audio(), url = URL.createObjectURL(file);
  return new Promise((done) => {
    audio.onloadedmetadata = () => done(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => done(0);
    audio.preload = "metadata";
    audio.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}
