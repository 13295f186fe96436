// Drawing: an image, its heat map over it, the map's own cells.

// Inferno at nine even steps, as in inference/overlay.py.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];
const MIDDLE_GREY = "rgb(128 128 128)";
const WEAK = 0.1; // of the scale: below it hardly anything is to be seen
const STRONG = 0.8; // of the highest value: what is named beside its place
const NAMED = 3; // places at most

/** Inferno of a value 0 to 1: red, green, blue. */
export function inferno(value) {
  const place = Math.min(1, Math.max(0, value)) * (INFERNO.length - 1);
  const below = Math.min(INFERNO.length - 2, Math.floor(place));
  return INFERNO[below].map((low, channel) =>
    Math.round(low + (place - below) * (INFERNO[below + 1][channel] - low)));
}

/** A picture of a PNG in base64, decoded. */
export async function picture(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

/** The map's cells as a small canvas: colour, and an opacity that grows with the heat. */
export function cells({ grid, scale }) {
  const canvas = blank(grid[0].length, grid.length);
  const values = grid.flat().map((value) => Math.min(1, value / scale));
  const pixels = values.flatMap((value) => [...inferno(value), Math.round(255 * value)]);
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(Uint8ClampedArray.from(pixels), canvas.width), 0, 0);
  return canvas;
}

/** Image, and a map over it with the opacity 0 to 1; a smaller map is enlarged without smoothing. */
export function draw(canvas, image, map, opacity) {
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
}

/** From weak to strong along a canvas, over a grey image and with the map's opacity. */
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

/** Where the map is strong, in words, for those who do not see it. */
export function where({ grid, scale }) {
  const highest = Math.max(...grid.flat());
  if (highest < WEAK * scale) return "The map is nearly empty: little in this image spoke for pneumonia.";
  const found = grid.flatMap((line, row) => line.map((value, column) => (
    { value, ninth: place((row + 0.5) / grid.length, (column + 0.5) / line.length) })));
  const strong = found.filter(({ value }) => value >= STRONG * highest);
  strong.sort((one, other) => other.value - one.value);
  const ninths = [...new Set(strong.map(({ ninth }) => ninth))].slice(0, NAMED);
  const listed = new Intl.ListFormat("en").format(ninths.map((ninth) => `the ${ninth}`));
  return `The map is strongest at ${listed} of the picture.`;
}

/** A ninth of the picture, by shares of its height and width. */
function place(down, across) {
  const height = ["upper", "middle", "lower"][Math.floor(3 * down)];
  const side = ["left", "centre", "right"][Math.floor(3 * across)];
  return height === "middle" && side === "centre" ? "centre" : `${height} ${side}`;
}

function blank(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
