// The page: shows a recording that was scored: spectrogram, scores over time, detections, sound. All text is set as
// textContent: names come from whoever made the bundle or the files.
import { colourOf, timeText, ticks } from "./drawing.js";
import { dropped, take } from "./files.js";
import { thresholdsOf } from "./scores.js";
import { TABLES, detectionsOf } from "./tables.js";

const MOST_LANES = 12, MOST_ROWS = 500;
const byId = (id) => document.getElementById(id);
const audio = byId("audio");
let description = null; // bundle.json
let above = []; // from which score on each class counts as detected
let shown = null; // the result on the page
let links = []; // to its sound and tables

function show(found) {
  shown = found;
  links.forEach((link) => URL.revokeObjectURL(link));
  links = [];
  byId("result").hidden = false;
  byId("name").textContent = found.name;
  byId("facts").textContent = `${shownTime(found.duration)}, windows of ${description.window_s} s`;
  audio.src = linkTo(found.file);
  byId("zoom").value = 0;
  byId("least").value = untouched();
  byId("view").setAttribute("aria-valuemax", found.duration.toFixed(1));
  const detected = detectionsOf(found, description, above);
  for (const [kind, { ending, write }] of Object.entries(TABLES)) {
    const link = byId(`save-${kind}`);
    link.href = linkTo(new Blob([write(detected, found.name, description)], { type: "text/plain" }));
    link.download = found.name + ending;
  }
  paint(found.picture);
  drawPitch(found.picture.rate);
  drawAll();
  byId("main").focus();
}

function linkTo(content) {
  const link = URL.createObjectURL(content);
  links.push(link);
  return link;
}

function paint({ values, frames, bins }) {
  const canvas = byId("spectrogram");
  canvas.width = frames;
  canvas.height = bins;
  const picture = new ImageData(frames, bins);
  for (let frame = 0; frame < frames; frame++) {
    for (let bin = 0; bin < bins; bin++) {
      picture.data.set(colourOf(values[frame * bins + bin]), 4 * ((bins - 1 - bin) * frames + frame));
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// Round frequencies beside the picture, which reaches from 0 to half the rate.
function drawPitch(rate) {
  const step = [500, 1000, 2000, 5000, 10000].find((each) => rate / 2 / each <= 10) ?? 20000;
  const pitches = Array.from({ length: Math.ceil(rate / 2 / step) - 1 }, (_, place) => (place + 1) * step);
  byId("pitch").replaceChildren(...pitches.map((hertz) => {
    const mark = document.createElement("span");
    mark.style.top = `${100 * (1 - (2 * hertz) / rate)}%`;
    mark.textContent = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`;
    return mark;
  }));
}

function drawAll() {
  byId("wide").style.width = `${100 * 2 ** byId("zoom").value}%`;
  drawAxis();
  drawDetections();
  moveHead();
}

function drawAxis() {
  const { seconds, tenths } = ticks(shown.duration, byId("wide").clientWidth);
  byId("axis").replaceChildren(...seconds.map((second) => {
    const tick = document.createElement("span");
    tick.style.left = `${(100 * second) / shown.duration}%`;
    tick.textContent = timeText(second, tenths);
    return tick;
  }));
}

// A time as it is written beside this recording: with tenths where it is short, or its windows begin between seconds.
const shownTime = (second) => timeText(second, shown.duration < 10 || description.window_s % 1 !== 0);

// A class by its common name, with the label behind it, or by its label where it has no name.
function calledOf(number) {
  const label = description.labels[number];
  return Object.hasOwn(description.names, label) ? `${description.names[label]} (${label})` : label;
}

function wantedClasses() {
  const part = byId("filter").value.toLowerCase();
  return [...description.labels.keys()].filter((number) => calledOf(number).toLowerCase().includes(part));
}

// Where the slider stands at first: at the lowest threshold, or at the slider's next step above it.
const untouched = () => Math.min(1, Math.ceil(Math.min(...above) * 100 - 1e-6) / 100);

// From which score on a class is shown: its own threshold, and what the slider asks for once it is moved; left of
// where it stood first, the slider alone counts.
function neededOf(number) {
  const least = Number(byId("least").value), first = untouched();
  if (least < first) return least;
  return least > first ? Math.max(least, above[number]) : above[number];
}

function detections() {
  const needed = new Map(wantedClasses().map((number) => [number, neededOf(number)]));
  const found = [];
  shown.scores.forEach((scores, window) => {
    for (const [number, least] of needed) {
      if (scores[number] >= least) found.push({ number, window, score: scores[number] });
    }
  });
  return found;
}

function drawDetections() {
  const found = detections();
  byId("least-value").textContent = Number(byId("least").value).toFixed(2);
  drawLanes(found);
  const rows = [...found].sort((one, other) => other.score - one.score).slice(0, MOST_ROWS);
  const more = found.length > rows.length ? `, the ${rows.length} highest` : "";
  byId("count").textContent = `${found.length} detections${more}`;
  byId("rows").replaceChildren(...rows.map(rowOf));
}

function rowOf({ number, window, score }) {
  const row = document.createElement("tr");
  const start = window * description.window_s;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `▶ ${shownTime(start)}`;
  button.setAttribute("aria-label", `Play ${calledOf(number)} at ${shownTime(start)}`);
  button.addEventListener("click", () => playFrom(start));
  const cells = [button, calledOf(number), score.toFixed(2)].map((content) => {
    const cell = document.createElement("td");
    cell.append(content);
    return cell;
  });
  row.append(...cells);
  return row;
}

function drawLanes(found) {
  const best = new Map();
  for (const { number, score } of found) best.set(number, Math.max(score, best.get(number) ?? 0));
  const chosen = [...best].sort((one, other) => other[1] - one[1]).slice(0, MOST_LANES).map(([number]) => number);
  byId("lanes").replaceChildren(...chosen.map(laneOf));
}

function laneOf(number) {
  const space = "http://www.w3.org/2000/svg";
  const lane = document.createElement("div");
  lane.className = "lane";
  const name = document.createElement("b");
  name.textContent = calledOf(number);
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", `0 0 ${shown.duration} 1`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  shown.scores.forEach((scores, window) => {
    const box = document.createElementNS(space, "rect");
    const facts = { x: window * description.window_s, y: 0, width: description.window_s, height: 1, "fill-opacity": scores[number] };
    for (const [key, value] of Object.entries(facts)) box.setAttribute(key, value);
    picture.append(box);
  });
  lane.append(name, picture);
  return lane;
}

function playFrom(second) {
  audio.currentTime = Math.min(Math.max(second, 0), shown.duration);
  audio.play();
  moveHead();
}

function moveHead() {
  if (!shown) return;
  byId("head").style.left = `${(100 * audio.currentTime) / shown.duration}%`;
  byId("time").textContent = shownTime(audio.currentTime);
  byId("view").setAttribute("aria-valuenow", audio.currentTime.toFixed(1));
  byId("view").setAttribute("aria-valuetext", shownTime(audio.currentTime));
  if (!audio.paused) requestAnimationFrame(moveHead);
}

// Where the playhead is on the zoomed picture, in pixels.
const headAt = () => (audio.currentTime / shown.duration) * byId("wide").clientWidth;
const scrollToHead = () => { byId("view").scrollLeft = headAt() - byId("view").clientWidth / 2; };

function follow() {
  if (!shown) return;
  moveHead();
  const { scrollLeft, clientWidth } = byId("view");
  if (headAt() < scrollLeft || headAt() > scrollLeft + clientWidth) scrollToHead();
}

const zoomBy = (steps) => {
  byId("zoom").value = Number(byId("zoom").value) + steps;
  drawAll();
  scrollToHead();
};
const toggle = () => (audio.paused ? audio.play() : audio.pause());
const KEYS = {
  " ": toggle,
  ArrowRight: () => { audio.currentTime += description.window_s; },
  ArrowLeft: () => { audio.currentTime = Math.max(0, audio.currentTime - description.window_s); },
  Home: () => { audio.currentTime = 0; },
  End: () => { audio.currentTime = shown.duration; },
  "+": () => zoomBy(1),
  "-": () => zoomBy(-1),
};

function describe() {
  const { name, precision, labels, members } = description;
  const blend = Object.entries(members).map(([member, { weight }]) => `${member} ${weight.toFixed(2)}`).join(", ");
  byId("bundle").textContent = `${name}, ${precision}, members ${blend}`;
  byId("classes").textContent = `${labels.length} classes`;
}

async function begin() {
  const response = await fetch(new URL("bundle.json", import.meta.url));
  if (!response.ok) throw new Error(`bundle.json cannot be loaded (${response.status})`);
  description = await response.json();
  above = thresholdsOf(description);
  describe();
  byId("begin").hidden = true;
  byId("drop").hidden = false;
}

const page = {
  get description() { return description; },
  count: (result) => detectionsOf(result, description, above).length,
  show,
};
byId("file").addEventListener("change", (event) => {
  take([...event.target.files], page);
  event.target.value = ""; // so that the same file may be chosen again
});
const drop = byId("drop");
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") description && dropped(event.dataTransfer, page);
  });
}
drop.addEventListener("submit", (event) => event.preventDefault());
byId("play").addEventListener("click", toggle);
byId("zoom").addEventListener("input", () => zoomBy(0));
byId("least").addEventListener("input", drawDetections);
byId("filter").addEventListener("input", drawDetections);
byId("view").addEventListener("click", (event) => {
  const box = byId("wide").getBoundingClientRect();
  playFrom(((event.clientX - box.left) / box.width) * shown.duration);
});
byId("view").addEventListener("keydown", (event) => {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const kind of ["play", "pause", "ended"]) {
  audio.addEventListener(kind, () => {
    byId("play").textContent = audio.paused ? "▶" : "❚❚";
    byId("play").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    moveHead();
  });
}
audio.addEventListener("seeked", follow);
window.addEventListener("resize", () => shown && drawAxis());
begin().catch((error) => { byId("begin").textContent = `${error.message}; build the page again`; });
