// Shows a recording that was handed in: spectrogram, scores over time, detections, sound.
import { colourOf, timeText, ticks } from "/static/drawing.js";
import { answerOf, dropped, take } from "/static/files.js";

const MOST_LANES = 12, MOST_ROWS = 500;
const byId = (id) => document.getElementById(id);
const audio = byId("audio");
let shown = null; // the result on the page, with its address and its picture

async function open(address) {
  const answer = await answerOf(await fetch(address));
  const picture = await fetch(`${address}/spectrogram`);
  await answerOf(picture);
  show({ ...answer, address, values: new Uint8Array(await picture.arrayBuffer()) });
}

function show(found) {
  shown = found;
  const { address, spectrogram } = found;
  byId("result").hidden = false;
  byId("name").textContent = found.name;
  byId("facts").textContent = `${shownTime(found.duration_s)}, windows of ${found.window_s} s`;
  audio.src = `${address}/audio`;
  byId("zoom").value = 0;
  byId("least").value = untouched();
  byId("view").setAttribute("aria-valuemax", found.duration_s.toFixed(1));
  for (const kind of ["csv", "raven", "audacity"]) byId(`save-${kind}`).href = `${address}/detections/${kind}`;
  paint(found.values, spectrogram);
  drawPitch(spectrogram.pitch);
  drawAll();
  byId("main").focus();
}

function paint(values, { frames, bins }) {
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

function drawPitch(pitch) {
  byId("pitch").replaceChildren(...pitch.map(([hertz, height]) => {
    const mark = document.createElement("span");
    mark.style.top = `${100 * (1 - height)}%`;
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
  const { seconds, tenths } = ticks(shown.duration_s, byId("wide").clientWidth);
  byId("axis").replaceChildren(...seconds.map((second) => {
    const tick = document.createElement("span");
    tick.style.left = `${(100 * second) / shown.duration_s}%`;
    tick.textContent = timeText(second, tenths);
    return tick;
  }));
}

// A time as it is written beside this recording: with tenths where it is short, or its windows begin between seconds.
const shownTime = (second) => timeText(second, shown.duration_s < 10 || shown.window_s % 1 !== 0);

// A class by its common name, with the label behind it, or by its label where it has no name.
const calledOf = (number) => (shown.names[number] ? `${shown.names[number]} (${shown.labels[number]})` : shown.labels[number]);

function wantedClasses() {
  const part = byId("filter").value.toLowerCase();
  return [...shown.labels.keys()].filter((number) => calledOf(number).toLowerCase().includes(part));
}

// Where the slider stands at first: at the lowest threshold, or at the slider's next step above it.
const untouched = () => Math.min(1, Math.ceil(Math.min(...shown.above) * 100 - 1e-6) / 100);

// From which score on a class is shown: its own threshold, and what the slider asks for once it is moved; left of
// where it stood first, the slider alone counts.
function neededOf(number) {
  const least = Number(byId("least").value), first = untouched();
  if (least < first) return least;
  return least > first ? Math.max(least, shown.above[number]) : shown.above[number];
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
  const start = window * shown.window_s;
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
  picture.setAttribute("viewBox", `0 0 ${shown.duration_s} 1`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  shown.scores.forEach((scores, window) => {
    const box = document.createElementNS(space, "rect");
    const facts = { x: window * shown.window_s, y: 0, width: shown.window_s, height: 1, "fill-opacity": scores[number] };
    for (const [key, value] of Object.entries(facts)) box.setAttribute(key, value);
    picture.append(box);
  });
  lane.append(name, picture);
  return lane;
}

function playFrom(second) {
  audio.currentTime = Math.min(Math.max(second, 0), shown.duration_s);
  audio.play();
  moveHead();
}

function moveHead() {
  if (!shown) return;
  byId("head").style.left = `${(100 * audio.currentTime) / shown.duration_s}%`;
  byId("time").textContent = shownTime(audio.currentTime);
  byId("view").setAttribute("aria-valuenow", audio.currentTime.toFixed(1));
  byId("view").setAttribute("aria-valuetext", shownTime(audio.currentTime));
  if (!audio.paused) requestAnimationFrame(moveHead);
}

// Where the playhead is on the zoomed picture, in pixels.
const headAt = () => (audio.currentTime / shown.duration_s) * byId("wide").clientWidth;
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
  ArrowRight: () => { audio.currentTime += shown.window_s; },
  ArrowLeft: () => { audio.currentTime = Math.max(0, audio.currentTime - shown.window_s); },
  Home: () => { audio.currentTime = 0; },
  End: () => { audio.currentTime = shown.duration_s; },
  "+": () => zoomBy(1),
  "-": () => zoomBy(-1),
};

byId("file").addEventListener("change", (event) => {
  take([...event.target.files], open);
  event.target.value = ""; // so that the same file may be chosen again
});
const drop = byId("drop");
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") dropped(event.dataTransfer, open);
  });
}
drop.addEventListener("submit", (event) => event.preventDefault());
byId("play").addEventListener("click", toggle);
byId("zoom").addEventListener("input", () => zoomBy(0));
byId("least").addEventListener("input", drawDetections);
byId("filter").addEventListener("input", drawDetections);
byId("view").addEventListener("click", (event) => {
  const box = byId("wide").getBoundingClientRect();
  playFrom(((event.clientX - box.left) / box.width) * shown.duration_s);
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
