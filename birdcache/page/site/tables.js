// Detections as files: the CSV of `birdcache predict`, selection tables for Raven, label tracks for Audacity.

const BREAKS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
const NUMBER = /^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$/;
const FORMULA = /^'*[=+\-@\t\r\n＝＋－＠]/; // which a spreadsheet may compute: birdcache/formulas.py
const RAVEN = [
  "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin File",
  "Begin Path", "File Offset (s)", "Label", "Score",
];

const secondsText = (seconds) => seconds.toFixed(6).replace(/\.?0+$/, "");
const oneLine = (text) => text.replace(BREAKS, " ");
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const cell = (text) => quoted(!NUMBER.test(text) && FORMULA.test(text) ? `'${text}` : text);
const lines = (rows, separator) => rows.map((row) => `${row.join(separator)}\n`).join("");

// Each class and window of a recording that reaches its threshold, in order of time, then of score.
export function detectionsOf({ scores, duration }, { window_s: window, labels }, above) {
  return scores.flatMap((row, place) => {
    const called = [...labels.keys()].filter((number) => row[number] >= above[number]).sort((one, other) => row[other] - row[one]);
    const begin = place * window, end = Math.min(begin + window, duration);
    return called.map((number) => ({ begin, end, label: labels[number], score: row[number] }));
  });
}

export const TABLES = {
  csv: {
    ending: ".detections.csv",
    write: (found, name) => lines([
      ["file", "start_s", "end_s", "label", "score"],
      ...found.map((each) => [name, secondsText(each.begin), secondsText(each.end), each.label, each.score.toFixed(4)].map(cell)),
    ], ","),
  },
  raven: {
    ending: ".selections.txt",
    write: (found, name, { low_hz: low, high_hz: high }) => lines([RAVEN, ...found.map((each, place) => [
      place + 1, "Spectrogram 1", 1, each.begin.toFixed(6), each.end.toFixed(6), low.toFixed(1), high.toFixed(1),
      oneLine(name), oneLine(name), each.begin.toFixed(6), each.label, each.score.toFixed(4),
    ])], "\t"),
  },
  audacity: {
    ending: ".labels.txt",
    write: (found, _, { low_hz: low, high_hz: high }) => lines(found.flatMap((each) => [
      [each.begin.toFixed(6), each.end.toFixed(6), `${each.label} ${each.score.toFixed(2)}`],
      ["\\", low.toFixed(6), high.toFixed(6)],
    ]), "\t"),
  },
};
