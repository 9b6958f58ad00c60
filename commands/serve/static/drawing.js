// Colours, times and ticks.

// Viridis (van der Walt and Smith 2015) at nine places; colours between are mixed.
const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [110, 206, 88], [253, 231, 37],
];

const COLOURS = Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const mixed = VIRIDIS[low].map((part, channel) => part + (place - low) * (VIRIDIS[low + 1][channel] - part));
  return [...mixed.map(Math.round), 255];
});

export const colourOf = (value) => COLOURS[value];

export function timeText(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return text.replace(/^00:0?/, "").replace(/^0(?=\d)/, "");
}

// Seconds to write on an axis so many pixels wide: round ones, at least 70 pixels apart.
export function ticks(duration, pixels) {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = steps.find((each) => (each / duration) * pixels >= 70) ?? 7200;
  return Array.from({ length: Math.ceil(duration / step) }, (_, number) => number * step);
}
