// Verdicts with their reasons and what they rest on: each score against its limits, in a sentence.

import { byId, el, fill, keyed } from "./dom.js";
import { shown } from "./runs.js";
import { all, watch } from "./store.js";

const MOST = 30;

export function start() {
  watch(["verdict", "run"], () => {
    const some = all(`verdict/${shown()?.id}`).sort((a, b) => b.round - a.round || a.device.localeCompare(b.device));
    keyed(byId("verdicts"), some.slice(0, MOST), { key: (one) => one.key, build: evidence, update: () => undefined });
    if (some.length === 0) fill(byId("verdicts"), el("li", { class: "note" }, "No verdict but acceptance."));
  });
}

/** One verdict; it never changes. @param {any} verdict */
export function evidence(verdict) {
  const reasons = verdict.reasons.length === 0 ? "" : `: ${verdict.reasons.join(", ")}`;
  const proposes = verdict.propose_revocation ? "; proposes revocation" : "";
  const said = el("span", {}, el("strong", {}, verdict.device), ` ${verdict.action}${reasons}${proposes}`);
  const where = el("span", { class: "muted" }, `round ${verdict.round}`);
  if (verdict.scores.length === 0) return el("li", { "data-action": verdict.action }, el("p", {}, said, " ", where));
  return el(
    "li",
    { "data-action": verdict.action },
    el("details", {}, el("summary", {}, said, " ", where), el("ul", { class: "scores" }, ...verdict.scores.map(score))),
  );
}

/** @param {any} one */
function score(one) {
  const beyond = (one.low !== null && one.value < one.low) || (one.high !== null && one.value > one.high);
  const limits = [one.low, one.high].map((limit) => (limit === null ? "" : Number(limit.toPrecision(4))));
  const within = limits.every((limit) => limit === "") ? "" : ` (${limits.join(" … ").trim()})`;
  return el(
    "li",
    { class: beyond ? "beyond" : false },
    el("code", {}, `${one.detector} ${Number(one.value.toPrecision(4))}${within}`),
    beyond ? " beyond its limits: " : " ",
    one.sentence,
  );
}
