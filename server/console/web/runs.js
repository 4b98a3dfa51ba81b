// The run that is shown: how far it is, what it reached and spent, round by round.

import { decide } from "./actions.js";
import { chart } from "./charts.js";
import { byId, el, fill, keyed, say, set } from "./dom.js";
import { mayAct } from "./session.js";
import { all, one, touch, watch } from "./store.js";
import { amount, epsilon, guarantee, percent } from "./words.js";

const UNDER_WAY = new Set(["preparing", "running", "finishing"]);
const ROUNDS = 6; // that are listed
let chosen = "";

/** The run that is shown: the chosen one, else the newest. */
export const shown = () => one(`run/${chosen}`) ?? runs()[0];

/** @returns {any[]} newest first */
const runs = () => all("run").sort((a, b) => (a.started < b.started ? 1 : -1));

export function start() {
  const pick = /** @type {HTMLSelectElement} */ (byId("run-pick"));
  pick.addEventListener("change", () => {
    chosen = pick.value === runs()[0]?.id ? "" : pick.value; // who looks at the newest sees the next one, too
    touch("run");
  });
  const parts = build();
  byId("run").append(parts.all);
  watch(["run", "round"], () => {
    keyed(pick, runs(), {
      key: (run) => run.id,
      build: (run) => el("option", { value: run.id }),
      update: (option, run) => say(option, `${run.id} · ${run.state}`),
    });
    const run = shown();
    parts.all.hidden = run === undefined;
    parts.none.hidden = run !== undefined;
    if (run === undefined) return;
    if (pick.value !== run.id) pick.value = run.id;
    update(parts, run);
  });
}

function build() {
  const parts = {
    title: el("h3"),
    state: el("p", { class: "state" }),
    progress: el("progress", { "aria-label": "Rounds that are finished" }),
    tiles: el("dl", { class: "tiles" }),
    charts: el("div", { class: "charts" }),
    rounds: el("tbody"),
    buttons: el("p", { class: "buttons" }),
    notices: el("ul", { class: "notices" }),
    none: el("p", { class: "note" }, "There is no run in this folder yet."),
    all: el("div", { class: "card" }),
  };
  const head = ["round", "accuracy", "ε", "used", "flagged", "not used", "seconds"];
  const table = el(
    "table",
    {},
    el("caption", { class: "away" }, "Rounds, the newest first"),
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
    parts.rounds,
  );
  parts.all.append(
    el("div", { class: "heading" }, parts.title, parts.state),
    parts.progress,
    parts.notices,
    parts.tiles,
    parts.charts,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rounds" }, table),
    parts.buttons,
  );
  byId("run").append(parts.none);
  return parts;
}

/** @param {ReturnType<typeof build>} parts @param {any} run */
function update(parts, run) {
  const rounds = all(`round/${run.id}`).sort((a, b) => b.round - a.round);
  const state = run.paused === null ? run.state : "paused";
  say(parts.title, run.id);
  const at = UNDER_WAY.has(run.state) ? `${state} · ${run.stage}` : state;
  say(parts.state, run.paused === null ? at : `paused by ${run.paused.by}: ${run.paused.why}`);
  set(parts.state, "data-state", state);
  set(parts.progress, "max", run.rounds);
  set(parts.progress, "value", run.done);
  const told = run.error === null ? run.notices : [run.error.what, ...run.notices];
  fill(parts.notices, ...told.map((/** @type {string} */ what) => el("li", {}, what)));
  fill(
    parts.tiles,
    ...tiles(run).map(([name, value, note]) =>
      el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "note" }, note)),
    ),
  );
  fill(parts.charts, ...drawings(run, [...rounds].reverse()));
  keyed(parts.rounds, rounds.slice(0, ROUNDS), {
    key: (round) => round.key,
    build: () => el("tr", {}, ...Array.from({ length: 7 }, () => el("td"))),
    update: (row, round) =>
      [
        String(round.round),
        percent(round.accuracy),
        epsilon(round.epsilon_max),
        String(round.accepted),
        String(round.flagged.length),
        Object.keys(round.dropped).length + (round.skipped ? " (skipped)" : ""),
        round.seconds.toFixed(1),
      ].forEach((words, at) => say(/** @type {Element} */ (row.children[at]), words)),
  });
  buttons(parts.buttons, run);
}

/** @param {any} run @returns {[string, string, string][]} */
function tiles(run) {
  const base = run.base_accuracy === null ? "" : `${percent(run.base_accuracy)} before training; held-out devices`;
  const asked = run.asked === 0 ? "nobody is asked now" : `${run.answered} of ${amount(run.asked, "device")} answered`;
  const budget = run.budget === null ? "" : ` of ${run.budget}`;
  return [
    ["Round", `${run.done} of ${run.rounds}`, asked],
    ["Accuracy", percent(run.accuracy), base],
    ["ε, at most", `${epsilon(run.epsilon)}${budget}`, guarantee(run)],
    ["Fleet", run.simulated ? "simulated" : (run.scope ?? "–"), `${run.scenario} by engine ${run.engine}`],
  ];
}

/** @param {any} run @param {any[]} rounds oldest first */
function drawings(run, rounds) {
  const accuracy = /** @type {[number, number | null][]} */ (rounds.map((one) => [one.round, one.accuracy]));
  const spent = /** @type {[number, number | null][]} */ (rounds.map((one) => [one.round, one.epsilon_max]));
  if (run.base_accuracy !== null) accuracy.unshift([0, run.base_accuracy]);
  const figures = [
    el(
      "figure",
      {},
      el("figcaption", {}, "Accuracy by round"),
      chart({
        label: `Accuracy by round, now ${percent(run.accuracy)}`,
        rounds: run.rounds,
        points: accuracy,
        top: 1,
        tick: (value) => `${100 * value} %`,
        colour: "sea",
      }),
    ),
  ];
  if (run.budget !== null)
    figures.push(
      el(
        "figure",
        {},
        el("figcaption", {}, `ε by round, ${guarantee(run)}`),
        chart({
          label: `ε by round, now ${epsilon(run.epsilon)} of ${run.budget}`,
          rounds: run.rounds,
          points: [[0, 0], ...spent],
          top: run.budget * 1.15,
          limit: run.budget,
          limitLabel: `budget ${run.budget}`,
          tick: (value) => value.toFixed(1).replace(/\.0$/, ""),
          colour: "sky",
        }),
      ),
    );
  return figures;
}

/** @param {HTMLElement} place @param {any} run */
function buttons(place, run) {
  const wanted = [];
  if (mayAct() && run.paused !== null) wanted.push("resume");
  else if (mayAct() && ["preparing", "running"].includes(run.state)) wanted.push("pause");
  if (mayAct() && run.state === "complete" && !run.simulated) wanted.push("publish");
  keyed(place, wanted, {
    key: (action) => action,
    build: (action) =>
      el(
        "button",
        { type: "button", onclick: () => decide(action, shown()) },
        `${action[0]?.toUpperCase()}${action.slice(1)}…`,
      ),
    update: () => undefined,
  });
}
