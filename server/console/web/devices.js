// The fleet: one tile a device, by what it does now; who looks closer sees evidence, budget, and what can be decided.

import { decide } from "./actions.js";
import { byId, el, fill, keyed, say, set } from "./dom.js";
import { shown as shownRun } from "./runs.js";
import { mayAct } from "./session.js";
import { all, one, touch, watch } from "./store.js";
import { evidence } from "./verdicts.js";
import { epsilon, moment, short } from "./words.js";

/** Each state with a sign of its own: colour alone tells nobody. Gravest first. */
const STATES = new Map([
  ["revoked", "✕"],
  ["denied", "✕"],
  ["quarantined", "⊘"],
  ["hot", "▲"],
  ["pending", "?"],
  ["left", "↩"],
  ["training", "●"],
  ["resting", "‖"],
  ["idle", "○"],
]);
/** @typedef {[HTMLElement, HTMLElement, HTMLElement, HTMLElement, HTMLElement]} Five */
/** @type {string | null} */
let only = null;
let open = "";

export function start() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("device"));
  dialog.addEventListener("close", () => (open = ""));
  watch(["device", "budget", "run"], () => {
    const everybody = inView();
    chips(everybody);
    const spent = new Map(all(`budget/${shownRun()?.id}`).map((budget) => [whose(budget, budget.device), budget]));
    const some = everybody.filter((device) => only === null || device.state === only);
    keyed(byId("devices"), some, {
      key: (device) => device.key,
      build: (device) => tile(device.key),
      update: (element, device) => show(element, device, spent.get(whose(device, device.name))),
    });
    if (some.length === 0) fill(byId("devices"), el("p", { class: "note" }, "There is no such device."));
  });
  watch(["device", "budget", "verdict"], () => {
    if (open !== "") details(dialog, open);
  });
}

/** One device of all: an enrolled one and simulated ones may have one name. @param {any} fact @param {string} name */
const whose = (fact, name) => JSON.stringify([fact.simulated, fact.scope, name]);

/** The devices of the federation, and of the shown run where that is a simulation. */
function inView() {
  const run = shownRun();
  const order = [...STATES.keys()];
  return all("device")
    .filter((device) => !device.simulated || (run?.simulated && device.scope === run.scope))
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.name.localeCompare(b.name));
}

/** @param {any[]} everybody */
function chips(everybody) {
  const counted = new Map([...STATES.keys()].map((state) => [state, 0]));
  for (const device of everybody) counted.set(device.state, (counted.get(device.state) ?? 0) + 1);
  const there = [...counted].filter(([state, count]) => count > 0 || state === only);
  keyed(byId("states"), there, {
    key: ([state]) => state,
    build: ([state]) =>
      el(
        "button",
        {
          type: "button",
          class: "chip",
          "data-state": state,
          onclick: () => {
            only = only === state ? null : state;
            touch("device");
          },
        },
        el("span", { "aria-hidden": "true" }, STATES.get(state)),
        " ",
        el("span"),
      ),
    update: (chip, [state, count]) => {
      say(/** @type {Element} */ (chip.lastElementChild), `${count} ${state}`);
      set(chip, "aria-pressed", only === state ? "true" : "false");
    },
  });
}

/** @param {string} key */
function tile(key) {
  return el(
    "button",
    { type: "button", class: "device", onclick: () => look(key) },
    el("span", { class: "sign", "aria-hidden": "true" }),
    el("span", { class: "name" }),
    el("span", { class: "word" }),
    el("span", { class: "meter" }, el("span")),
    el("span", { class: "spent" }),
  );
}

/** @param {HTMLElement} element @param {any} device @param {any} budget */
function show(element, device, budget) {
  const [sign, name, word, meter, spent] = /** @type {Five} */ (/** @type {unknown} */ ([...element.children]));
  set(element, "data-state", device.state);
  say(sign, STATES.get(device.state) ?? "·");
  say(name, device.name);
  say(word, device.state);
  const share = budget?.budget ? budget.epsilon / budget.budget : 0;
  meter.hidden = !budget?.budget;
  /** @type {HTMLElement} */ (meter.firstElementChild).style.width = `${Math.min(100, 100 * share)}%`;
  set(meter, "data-full", share >= 0.9);
  say(spent, budget?.budget ? `ε ${epsilon(budget.epsilon)} of ${budget.budget}` : "");
}

/** @param {string} key */
function look(key) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("device"));
  open = key;
  dialog.replaceChildren(
    el(
      "form",
      { method: "dialog", class: "heading" },
      el("h2", { id: "device-title" }),
      el("button", { class: "quiet" }, "Close"),
    ),
    el("dl", { class: "facts" }),
    el("p", { class: "buttons" }),
    el("h3", {}, "Evidence"),
    el("ol", { class: "verdicts" }),
  );
  details(dialog, key);
  dialog.showModal();
}

/** @param {HTMLDialogElement} dialog @param {string} key */
function details(dialog, key) {
  const device = one(key);
  if (device === undefined) return;
  const [head, facts, buttons, , verdicts] = /** @type {Five} */ (/** @type {unknown} */ ([...dialog.children]));
  say(/** @type {Element} */ (head.firstElementChild), device.name);
  fill(facts, ...rows(device).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  const found = all("verdict")
    .filter((verdict) => whose(verdict, verdict.device) === whose(device, device.name))
    .sort((a, b) => b.round - a.round);
  keyed(verdicts, found, { key: (verdict) => verdict.key, build: evidence, update: () => undefined });
  if (found.length === 0)
    fill(verdicts, el("li", { class: "note" }, "No verdict but acceptance, in the runs that are shown."));
  keyed(buttons, mayAct() ? possible(device) : [], {
    key: (action) => action,
    build: (action) =>
      el(
        "button",
        { type: "button", onclick: () => decide(action, one(key)) },
        `${action[0]?.toUpperCase()}${action.slice(1)}…`,
      ),
    update: () => undefined,
  });
}

/** @param {any} device */
function possible(device) {
  if (device.enrolment === "pending") return ["approve", "deny"];
  const enrolled = device.enrolment === "enrolled";
  if (!enrolled && device.enrolment !== null) return [];
  return [device.quarantine === null ? "quarantine" : "appeal", ...(enrolled ? ["revoke"] : [])];
}

/** @param {any} device @returns {[string, string][]} */
function rows(device) {
  const spent = one(`budget/${shownRun()?.id}/${device.name}`);
  const budget = spent && whose(spent, spent.device) === whose(device, device.name) ? spent : undefined;
  const told = device.told;
  return /** @type {[string, string][]} */ (
    [
      ["state", device.why === null ? device.state : `${device.state}, ${device.why}`],
      ["scope", `${device.simulated ? "simulated" : "enrolled"} · ${device.scope}`],
      device.class && ["class", [device.class, ...device.tags].join(", ")],
      device.fingerprint && ["key", short(device.fingerprint, 32)],
      device.certificate_ends && ["certificate", `until ${moment(device.certificate_ends)} UTC`],
      ["standing", `${device.standing.toFixed(2)} (0.50: nothing is known)`],
      ["judged", `${device.judged}, ${device.rejected} of them rejected`],
      ["last seen", device.seen === null ? "never" : `${moment(device.seen)} UTC`],
      budget && [
        "asked to spend",
        budget.budget
          ? `ε ${epsilon(budget.epsilon)} of ${budget.budget} in ${budget.rounds} rounds, ${budget.receipts} receipts`
          : `${budget.rounds} rounds, no privacy promised`,
      ],
      told && [
        "it told",
        `${told.activity}; battery ${told.battery}, memory ${told.free_memory}, disk ${told.free_disk}; ${moment(told.at)} UTC`,
      ],
    ].filter(Boolean)
  );
}
