/** Pooled features of an int8 network as the numbers that they mean, whichever runtime added them up: `device/pooled.py`. */

/** The nearest multiples of a step, each computed in double and then rounded; with a step of 0 as they are. */
export function onGrid(pooled: Float32Array, step: number): Float32Array {
  return step === 0 ? pooled : pooled.map((value) => Math.floor(value / step + 0.5) * step);
}
