// Recordings that were dropped or chosen: taken one after the other, each with its result or its error in the list.
const ASK_EVERY_MS = 400;
const byId = (id) => document.getElementById(id);
const pending = [];
let isBusy = false;

const mostMb = () => Number(byId("drop").dataset.mostMb);
const endings = () => byId("file").accept.split(",");
const isRecording = ({ name }) => !name.startsWith(".") && endings().some((each) => name.toLowerCase().endsWith(each));

export async function answerOf(response) {
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
    if (response.ok) return {};
    throw new Error((await response.text()).trim() || `the server answers ${response.status}`);
  }
  const answer = await response.json();
  if (response.ok && answer.state !== "refused") return answer;
  throw new Error([answer.detail, answer.hint].filter(Boolean).join("; "));
}

// Takes files, in their order; `show` is called with the address of the first one of them that has a result, and of
// each whose name is clicked.
export function take(files, show) {
  const batch = { isShown: false };
  for (const file of files) {
    const item = { file, batch, isWanted: true, address: "", show };
    item.row = rowOf(item);
    byId("files").append(item.row);
    pending.push(item);
  }
  work();
}

async function work() {
  if (isBusy) return;
  isBusy = true;
  for (let item; (item = pending.shift());) if (item.isWanted) await handIn(item);
  isBusy = false;
  byId("waiting").hidden = true;
}

async function handIn(item) {
  try {
    const answer = await analysed(item);
    if (!answer) return;
    const count = answer.scores.flat().filter((score, place) => score >= answer.above[place % answer.above.length]).length;
    tell(item, [`${count} detection${count === 1 ? "" : "s"}`, ...answer.notes].join("; "), "done");
    if (!item.batch.isShown) await open(item);
    item.batch.isShown = true;
  } catch (error) {
    const isOurs = !(error instanceof TypeError); // which is what the browser says when sending fails
    tell(item, isOurs ? error.message : "could not be sent: it cannot be read, or the server has ended", "refused");
  }
}

// A recording's answer, or nothing if it is removed meanwhile.
async function analysed(item) {
  const { file } = item;
  if (file.size > mostMb() * 2 ** 20) throw new Error(`is larger than ${mostMb()} MB: cut it, or start the server with a larger --max-mb`);
  const form = new FormData();
  form.append("recording", file);
  tell(item, "is being sent");
  item.address = `/recordings/${(await answerOf(await fetch("/recordings", { method: "POST", body: form }))).key}`;
  let answer = { state: "waiting" };
  while (item.isWanted && answer.state !== "done") {
    tell(item, answer.state === "running" ? "is being analysed" : "waits", answer.state, answer.share);
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    if (item.isWanted) answer = await answerOf(await fetch(item.address));
  }
  if (item.isWanted) return answer;
  await fetch(item.address, { method: "DELETE" });
  return null;
}

async function open(item) {
  try {
    await item.show(item.address);
    for (const row of byId("files").children) row.removeAttribute("aria-current");
    item.row.setAttribute("aria-current", "true");
  } catch (error) {
    tell(item, `${error.message}; hand it in again`, "refused");
  }
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
    item.isWanted = false;
    row.remove();
    if (row.dataset.state === "done") fetch(item.address, { method: "DELETE" });
  });
  name.type = remove.type = "button";
  row.append(name, state, remove);
  return row;
}

function tell(item, text, state = "waiting", share = 0) {
  const [name, words] = item.row.children;
  item.row.dataset.state = state;
  words.textContent = text.replace(`${item.file.name} `, ""); // it stands beside
  name.disabled = state !== "done";
  const more = pending.length ? `, ${pending.length} more wait` : "";
  byId("waiting").hidden = state === "done" || state === "refused";
  byId("waiting").firstElementChild.textContent = `${item.file.name}: ${text}${more}`;
  const bar = byId("waiting").lastElementChild;
  if (share) bar.value = share;
  else bar.removeAttribute("value");
}

// What was dropped: files as they are, and of folders the recordings; what else they hold is counted.
export async function dropped(transfer, show) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return take(files, show);
  const all = (await Promise.all(entries.map(filesIn))).flat();
  const others = all.filter((file) => !isRecording(file));
  byId("left").hidden = !others.length;
  byId("left").textContent = `${others.length} other files are no recordings by their names, and were left out: ${others
    .slice(0, 3).map((file) => file.name).join(", ")}${others.length > 3 ? ", ..." : ""}`;
  return take(all.filter(isRecording), show);
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader(), found = [];
  const some = () => new Promise((done, fail) => reader.readEntries(done, fail));
  for (let part; (part = await some()).length;) found.push(...part);
  return (await Promise.all(found.map(filesIn))).flat();
}
