// Recordings that were dropped or chosen: taken one after the other, each with its result or its error in the list.
import { analysed } from "./analysis.js";

const byId = (id) => document.getElementById(id);
const pending = [];
let isBusy = false;

const endings = () => byId("file").accept.split(",");
const isRecording = ({ name }) => !name.startsWith(".") && endings().some((each) => name.toLowerCase().endsWith(each));

// Takes files, in their order. `page` has the bundle's `description`, `count` of a result's detections, and `show`,
// which is called with the first of the files that has a result, and with each whose name is clicked.
export function take(files, page) {
  const batch = { isShown: false };
  for (const file of files) {
    const item = { file, batch, page, result: null, stop: new AbortController() };
    item.row = rowOf(item);
    byId("files").append(item.row);
    pending.push(item);
  }
  work();
}

async function work() {
  if (isBusy) return;
  isBusy = true;
  for (let item; (item = pending.shift());) if (!item.stop.signal.aborted) await analyse(item);
  isBusy = false;
  byId("waiting").hidden = true;
}

async function analyse(item) {
  const { file, page, stop: { signal } } = item;
  try {
    tell(item, "is being decoded");
    const result = await analysed(file, page.description, (share) => tell(item, "is being scored", "running", share), signal);
    item.result = { ...result, file };
    const count = page.count(item.result);
    tell(item, [`${count} detection${count === 1 ? "" : "s"}`, ...result.notes].join("; "), "done");
    if (!item.batch.isShown) open(item);
    item.batch.isShown = true;
  } catch (error) {
    if (!signal.aborted) tell(item, error.message, "refused");
  }
}

function open(item) {
  item.page.show(item.result);
  for (const row of byId("files").children) row.removeAttribute("aria-current");
  item.row.setAttribute("aria-current", "true");
}

function rowOf(item) {
  const row = document.createElement("li");
  const [name, state, remove] = ["button", "span", "button"].map((tag) => document.createElement(tag));
  name.textContent = item.file.name;
  name.disabled = true;
  name.addEventListener("click", () => open(item));
  state.textContent = "waits";
  remove.textContent = "×";
  remove.setAttribute("aria-label", `Remove ${item.file.name}`);
  remove.addEventListener("click", () => {
    if (!item.result) item.stop.abort();
    row.remove();
  });
  name.type = remove.type = "button";
  row.append(name, state, remove);
  return row;
}

function tell(item, text, state = "waiting", share = 0) {
  const [name, words] = item.row.children;
  item.row.dataset.state = state;
  words.textContent = text;
  name.disabled = state !== "done";
  const more = pending.length ? `, ${pending.length} more wait` : "";
  byId("waiting").hidden = state === "done" || state === "refused";
  byId("waiting").firstElementChild.textContent = `${item.file.name}: ${text}${more}`;
  const bar = byId("waiting").lastElementChild;
  if (share) bar.value = share;
  else bar.removeAttribute("value");
}

// What was dropped: files as they are, and of folders the recordings; what else they hold is counted.
export async function dropped(transfer, page) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return take(files, page);
  const all = (await Promise.all(entries.map(filesIn))).flat();
  const others = all.filter((file) => !isRecording(file));
  byId("left").hidden = !others.length;
  byId("left").textContent = `${others.length} other files are no recordings by their names, and were left out: ${others
    .slice(0, 3).map((file) => file.name).join(", ")}${others.length > 3 ? ", ..." : ""}`;
  return take(all.filter(isRecording), page);
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader(), found = [];
  const some = () => new Promise((done, fail) => reader.readEntries(done, fail));
  for (let part; (part = await some()).length;) found.push(...part);
  return (await Promise.all(found.map(filesIn))).flat();
}
