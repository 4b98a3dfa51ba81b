/**
 * From pooled features to the rows that a head reads, as `device/whitening.py`: half whitened by a linear map fitted on
 * public data, cut to a length, and the bias's constant. Each row depends on its own features alone.
 */

import { InputError } from "../errors.ts";

/** See `Whitening` in `device/whitening.py`: arrays in C order. */
export class Whitening {
  readonly #projection: Float32Array;

  /**
   * @param mean (f,) subtracted from pooled features.
   * @param values (f, k) int8; with `scale` exactly the projection.
   * @param scale (f,)
   * @param bound L2 length that no row exceeds, its constant not counted.
   * @throws InputError when shapes do not fit.
   */
  constructor(
    readonly mean: Float32Array,
    values: Int8Array,
    scale: Float32Array,
    readonly bound: number,
  ) {
    if (mean.length !== scale.length || mean.length === 0 || values.length % mean.length !== 0) {
      throw new InputError("mean, projection and scale of a whitening do not fit one another");
    }
    this.components = values.length / mean.length;
    this.#projection = Float32Array.from(values, (v, i) => v * (scale[Math.floor(i / this.components)] ?? NaN));
  }

  /** k: numbers in a row, its constant not counted. */
  readonly components: number;

  /** One row, (k + 1,). @throws InputError when `pooled` is not (f,). */
  row(pooled: Float32Array, constant: number): Float32Array {
    if (pooled.length !== this.mean.length) throw new InputError(`expected ${this.mean.length} features`);
    const row = new Float32Array(this.components + 1);
    for (const [i, value] of pooled.entries()) {
      const centred = Math.fround(value - (this.mean[i] ?? NaN));
      for (let k = 0; k < this.components; k++) {
        const product = Math.fround(centred * (this.#projection[i * this.components + k] ?? NaN));
        row[k] = (row[k] ?? 0) + product;
      }
    }
    const length = Math.hypot(...row);
    if (length > this.bound) {
      const factor = Math.fround(this.bound / length);
      for (let k = 0; k < this.components; k++) row[k] = (row[k] ?? NaN) * factor;
    }
    row[this.components] = constant;
    return row;
  }
}
