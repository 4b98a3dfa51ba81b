// How figures read: the same words as on the terminal and in the report.

/** @param {number | null | undefined} value */
export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

/** An ε with two decimals, rounded up: never shown as less than was spent. @param {number | null | undefined} value */
export const epsilon = (value) =>
  value === null || value === undefined ? "–" : (Math.ceil(value * 100 - 1e-9) / 100).toFixed(2);

/** A δ as 1e-5. @param {number | null} value */
export const delta = (value) => (value === null ? "–" : value.toExponential().replace("e-0", "e-"));

/** @param {any} run */
export const guarantee = (run) =>
  run.unit === "none" ? "no privacy guarantee" : `δ = ${delta(run.delta)}, ${run.unit} level, ${run.relation}`;

/** @param {number | null | undefined} ms */
export const moment = (ms) =>
  ms === null || ms === undefined ? "–" : new Date(ms).toISOString().slice(0, 16).replace("T", " ");

/** @param {number} count @param {string} noun */
export const amount = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** @param {string} text @param {number} [most] */
export const short = (text, most = 16) => (text.length > most ? `${text.slice(0, most)}…` : text);
