/**
 * From a picture of a digit to what the network reads, as the Python task `digits` (`device/tasks/digits.py`): prepared
 * as NIST prepared the writers' digits, counted in 4×4 blocks to the 8×8 that a writer's digit is, and enlarged to 64×64
 * in three equal channels. Every step is exact in float32.
 */

import { InputError } from "../errors.ts";
import { normalisedBitmap, SIZE, type Gray } from "./nist.ts";

export const CLASSES: readonly string[] = Array.from("0123456789");
/** Channels, height and width of what the network reads. */
export const INPUT_SHAPE: readonly [number, number, number] = [3, 64, 64];
const BLOCKS = 8;
const LARGEST = 128;
const [MEAN, SCALE] = [127, 128]; // of EfficientNet-Lite0

/** @throws InputError when it is no picture that is taken here. */
export function checkPicture({ width, height, gray }: Gray): void {
  const fits = [width, height].every((side) => Number.isInteger(side) && side >= BLOCKS && side <= LARGEST);
  if (!fits || gray.length !== width * height) {
    throw new InputError(`a picture has ${BLOCKS} to ${LARGEST} pixels a side, and one byte for each`);
  }
}

/** 8×8 bytes, 255 for a full block. @throws InputError when the picture cannot be used, or has no ink. */
export function prepared(picture: Gray): Uint8Array<ArrayBuffer> {
  checkPicture(picture);
  const bitmap = normalisedBitmap(picture);
  const side = SIZE / BLOCKS;
  return Uint8Array.from({ length: BLOCKS * BLOCKS }, (_, i) => {
    const [top, left] = [Math.floor(i / BLOCKS) * side, (i % BLOCKS) * side];
    let count = 0;
    for (let y = top; y < top + side; y++) {
      for (let x = left; x < left + side; x++) count += bitmap[y * SIZE + x] ?? 0;
    }
    return Math.round((count * 255) / 16); // only 8 of 16 is a half, which goes to 128 in Python too
  });
}

/** (3, 64, 64) float32 of 8×8 bytes, each channel the same. */
export function networkInput(blocks: Uint8Array): Float32Array {
  const [channels, size] = [INPUT_SHAPE[0], INPUT_SHAPE[1]];
  const places = Array.from({ length: size }, (_, i) => {
    const centre = Math.min(Math.max(((i + 0.5) * BLOCKS) / size - 0.5, 0), BLOCKS - 1);
    const first = Math.floor(centre);
    return { first, second: Math.min(first + 1, BLOCKS - 1), share: centre - first };
  });
  const plane = new Float32Array(size * size);
  places.forEach((row, y) => {
    places.forEach((column, x) => {
      const between = (line: number): number =>
        (blocks[line * BLOCKS + column.first] ?? 0) * (1 - column.share) +
        (blocks[line * BLOCKS + column.second] ?? 0) * column.share;
      const value = between(row.first) * (1 - row.share) + between(row.second) * row.share;
      plane[y * size + x] = (value - MEAN) / SCALE;
    });
  });
  const input = new Float32Array(channels * plane.length);
  for (let channel = 0; channel < channels; channel++) input.set(plane, channel * plane.length);
  return input;
}
