// Colours, times and ticks.

// Magma (van der Walt and Smith 2015) at nine places; colours between are mixed.
const MAGMA = [
  [0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121],
  [231, 82, 99], [252, 137, 97], [254, 196, 136], [252, 253, 191],
];

const COLOURS = Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * (MAGMA.length - 1);
  const low = Math.min(Math.floor(place), MAGMA.length - 2);
  const mixed = MAGMA[low].map((part, channel) => part + (place - low) * (MAGMA[low + 1][channel] - part));
  return [...mixed.map(Math.round), 255];
});

export const colourOf = (value) => COLOURS[value];

// A time as h:mm:ss or m:ss, with its tenth of a second if that is asked for.
export function timeText(seconds, tenths = false) {
  const tenth = Math.floor(10 * seconds + 1e-6), whole = Math.floor(tenth / 10);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return text.replace(/^00:0?/, "").replace(/^0(?=\d)/, "") + (tenths ? `.${tenth % 10}` : "");
}

// Seconds to write on an axis so many pixels wide: round ones, at least 70 pixels apart; and whether they need tenths.
export function ticks(duration, pixels) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = steps.find((each) => (each / duration) * pixels >= 70) ?? 7200;
  const seconds = Array.from({ length: Math.ceil(duration / step) }, (_, number) => number * step);
  return { seconds, tenths: step < 1 };
}
