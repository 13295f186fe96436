// Draw an image, its heat map over it, and the cells of the map.

import { make } from "./dom.js";

// Inferno at nine even steps, as in inference/overlay.py.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];
const MIDDLE_GREY = "rgb(128 128 128)";
const WEAK = 0.1; // share of the scale below which the map is hardly visible
const STRONG = 0.8; // share of the highest value from which a region is named
const NAMED = 3; // regions at most

/** Inferno of a value 0 to 1: red, green, blue. */
export function inferno(value) {
  const position = Math.min(1, Math.max(0, value)) * (INFERNO.length - 1);
  const step = Math.min(INFERNO.length - 2, Math.floor(position));
  return INFERNO[step].map((low, channel) =>
    Math.round(low + (position - step) * (INFERNO[step + 1][channel] - low)));
}

/** Decode a PNG in base64. */
export async function loadPng(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

/** The map's cells as a small canvas: colour, and an opacity that grows with the heat. */
export function drawCells({ grid, scale }) {
  const canvas = make("canvas", { width: grid[0].length, height: grid.length });
  const values = grid.flat().map((value) => Math.min(1, value / scale));
  const pixels = values.flatMap((value) => [...inferno(value), Math.round(255 * value)]);
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(Uint8ClampedArray.from(pixels), canvas.width), 0, 0);
  return canvas;
}

/** Draw a map over an image, opacity 0 to 1; a smaller map is enlarged without smoothing. */
export function draw(canvas, image, map, opacity) {
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
}

/** Draw the colours from weak to strong, over grey and with the map's opacity. */
export function drawLegend(canvas, opacity) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.fillStyle = MIDDLE_GREY;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let x = 0; x < canvas.width; x++) {
    const value = x / (canvas.width - 1);
    context.globalAlpha = opacity * value;
    context.fillStyle = `rgb(${inferno(value).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

/** Where the map is strong, in words, also for people who cannot see it. */
export function describeMap({ grid, scale }) {
  const highest = Math.max(...grid.flat());
  if (highest < WEAK * scale) return "The map is nearly empty: the model found little evidence of pneumonia.";
  const cells = grid.flatMap((line, row) => line.map((value, column) => (
    { value, region: region((row + 0.5) / grid.length, (column + 0.5) / line.length) })));
  const strong = cells.filter(({ value }) => value >= STRONG * highest).sort((a, b) => b.value - a.value);
  const regions = [...new Set(strong.map((cell) => `the ${cell.region}`))].slice(0, NAMED);
  const listed = new Intl.ListFormat("en").format(regions);
  return `The map is strongest at ${listed} of the image.`;
}

/** One of nine regions of the image, by shares of its height and width. */
function region(down, across) {
  const height = ["upper", "middle", "lower"][Math.floor(3 * down)];
  const side = ["left", "centre", "right"][Math.floor(3 * across)];
  return height === "middle" && side === "centre" ? "centre" : `${height} ${side}`;
}
