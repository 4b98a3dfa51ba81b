// Accuracy and ε by round, as drawings with their figures in words beside them.

import { svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 110;
const LEFT = 34;
const BOTTOM = 18;
const TOP = 8;

/**
 * A line over rounds; `limit` is drawn across. Holes (rounds without the figure) end a line.
 *
 * @param {{ label: string, rounds: number, points: [number, number | null][], top: number, limit?: number | null, limitLabel?: string, tick: (value: number) => string, colour: string }} given
 * @returns {SVGElement}
 */
export function chart({ label, rounds, points, top, limit, limitLabel, tick, colour }) {
  const x = (/** @type {number} */ round) => LEFT + ((WIDTH - LEFT - 8) * round) / Math.max(1, rounds);
  const y = (/** @type {number} */ value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, value / top));
  const known = points.filter(([, value]) => value !== null);
  const path = known.map(
    ([round, value], at) => `${at === 0 ? "M" : "L"}${x(round).toFixed(1)} ${y(Number(value)).toFixed(1)}`,
  );
  const text = (/** @type {number} */ at, /** @type {number} */ up, /** @type {string} */ words, anchor = "end") => {
    const made = svg("text", { x: at, y: up, "text-anchor": anchor });
    made.textContent = words;
    return made;
  };
  const drawn = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: `chart ${colour}` },
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH - 8, y1: y(0), y2: y(0) }),
    text(LEFT - 5, y(0) + 3, tick(0)),
    text(LEFT - 5, y(top) + 6, tick(top)),
    text(LEFT, HEIGHT - 4, "0", "middle"),
    text(WIDTH - 8, HEIGHT - 4, `round ${rounds}`),
  );
  if (limit !== null && limit !== undefined) {
    drawn.append(svg("line", { class: "limit", x1: LEFT, x2: WIDTH - 8, y1: y(limit), y2: y(limit) }));
    if (limitLabel !== undefined) drawn.append(text(WIDTH - 10, y(limit) + 11, limitLabel));
  }
  drawn.append(svg("path", { class: "curve", d: path.join("") }));
  const last = known.at(-1);
  if (last !== undefined) drawn.append(svg("circle", { class: "dot", cx: x(last[0]), cy: y(Number(last[1])), r: 3 }));
  return drawn;
}
