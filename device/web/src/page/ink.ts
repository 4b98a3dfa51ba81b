/**
 * Ink from a photograph: dark strokes on lighter paper, or light ones on a darker board, under uneven light.
 *
 * The paper's brightness around each pixel is the mean of a wide box; what is left after it is taken away is cut softly
 * at the level that parts it best into two (Otsu 1979).
 */

import type { Picture } from "../agent/phone.ts";

const FAINTEST = 24; // of 255 between ink and paper: less is noise of the sensor
const WIDE = 0.25; // of the picture's side: wider than a stroke, narrower than a shadow

/**
 * @param pixels RGBA, row by row.
 * @returns 0 for paper to 255 for ink; `null` where nothing stands out.
 */
export function inkOfPhoto(pixels: Uint8ClampedArray, width: number, height: number): Picture | null {
  const light = new Float32Array(width * height);
  for (let at = 0; at < light.length; at++) {
    light[at] =
      0.2126 * (pixels[4 * at] ?? 0) + 0.7152 * (pixels[4 * at + 1] ?? 0) + 0.0722 * (pixels[4 * at + 2] ?? 0);
  }
  const darker = paper(light, width, height).map((around, at) => around - (light[at] ?? 0));
  const [low, high] = [Math.abs(quantile(darker, 0.01)), quantile(darker, 0.99)];
  const standing = low > high ? darker.map((value) => -value) : darker;
  if (Math.max(low, high) < FAINTEST) return null;
  const cut = otsu(standing);
  const gray = new Uint8Array(standing.length);
  for (let at = 0; at < gray.length; at++) {
    gray[at] = Math.round(255 * Math.min(1, Math.max(0, ((standing[at] ?? 0) / cut - 0.7) / 0.6)));
  }
  return { width, height, gray };
}

/** Mean of the box around each pixel, by sums over rectangles from the corner. */
function paper(light: Float32Array, width: number, height: number): Float32Array {
  const reach = Math.max(1, Math.round(WIDE * Math.min(width, height)));
  const row = width + 1;
  const sums = new Float64Array(row * (height + 1));
  const sum = (x: number, y: number): number => sums[y * row + x] ?? 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      sums[(y + 1) * row + x + 1] = (light[y * width + x] ?? 0) + sum(x, y + 1) + sum(x + 1, y) - sum(x, y);
    }
  }
  const around = new Float32Array(light.length);
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [Math.max(0, y - reach), Math.min(height, y + reach + 1)];
    for (let x = 0; x < width; x++) {
      const [left, right] = [Math.max(0, x - reach), Math.min(width, x + reach + 1)];
      const total = sum(right, bottom) - sum(left, bottom) - sum(right, top) + sum(left, top);
      around[y * width + x] = total / ((right - left) * (bottom - top));
    }
  }
  return around;
}

function quantile(values: Float32Array, share: number): number {
  const sorted = values.toSorted();
  return sorted[Math.round(share * (sorted.length - 1))] ?? 0;
}

/** The level from 1 to 255 that parts the values into two classes whose means lie farthest apart. */
function otsu(values: Float32Array): number {
  const counts = new Float64Array(256);
  for (const value of values) {
    const level = Math.min(255, Math.max(0, Math.round(value)));
    counts[level] = (counts[level] ?? 0) + 1;
  }
  const total = counts.reduce((sum, count, level) => sum + count * level, 0);
  let [best, apart, below, weight] = [1, -1, 0, 0];
  for (let level = 0; level < 255; level++) {
    const count = counts[level] ?? 0;
    below += count;
    weight += count * level;
    const above = values.length - below;
    if (below === 0 || above === 0) continue;
    const between = below * above * (weight / below - (total - weight) / above) ** 2;
    if (between > apart) [best, apart] = [level + 1, between];
  }
  return best;
}

/** Whether there is any ink to speak of. */
export function blank(picture: Picture): boolean {
  let inked = 0;
  for (const value of picture.gray) if (value > 127) inked += 1;
  return inked < picture.gray.length / 2000;
}
