// What an operator decides: said in words, confirmed with a reason, and entered in the federation's log.

import { byId, el, say } from "./dom.js";
import { post } from "./session.js";

/** @type {Record<string, { title: (name: string) => string, what: string, button: string, type?: boolean, extra?: () => HTMLElement[] }>} */
const DECISIONS = {
  quarantine: {
    title: (name) => `Quarantine ${name}`,
    what: "Runs with defence.remember = true do not ask it until an appeal; others do, and say so.",
    button: "Quarantine",
  },
  appeal: {
    title: (name) => `Lift the quarantine of ${name}`,
    what: "The verdicts stay, and so does this decision. A share of what was held against it is taken back.",
    button: "Lift",
    extra: () => [
      el(
        "label",
        {},
        "Share that is taken back, 0 to 1 ",
        el("input", { name: "restore", type: "number", min: "0", max: "1", step: "0.1", value: "0.5", required: true }),
      ),
    ],
  },
  approve: {
    title: (name) => `Let ${name} in`,
    what: "It gets its certificate when it asks again. Compare the fingerprint with the one that the device shows.",
    button: "Let in",
    extra: () => [
      el(
        "label",
        {},
        "Fingerprint, 16 digits or more, as the device shows it ",
        el("input", { name: "fingerprint", autocomplete: "off", minlength: "16", required: true }),
      ),
    ],
  },
  deny: { title: (name) => `Turn ${name} away`, what: "Its keys are not taken again.", button: "Turn away" },
  revoke: {
    title: (name) => `Revoke ${name}`,
    what: "For good: its certificates are listed as revoked and its keys are not taken again. What it has opened stays open to it.",
    button: "Revoke",
    type: true,
  },
  pause: {
    title: (name) => `Pause ${name}`,
    what: "The round under way is finished; then the run waits until it is resumed.",
    button: "Pause",
  },
  resume: { title: (name) => `Resume ${name}`, what: "The run goes on with its next round.", button: "Resume" },
  publish: {
    title: (name) => `Publish ${name}`,
    what: "As the next version in the repository, sealed for the devices that are enrolled now.",
    button: "Publish",
  },
};

/** Asks for a decision about a device or a run. @param {string} action @param {any} subject */
export function decide(action, subject) {
  const decision = DECISIONS[action];
  if (decision === undefined) throw new Error(`there is no decision ${action}`);
  const name = subject.name ?? subject.id;
  const dialog = /** @type {HTMLDialogElement} */ (byId("decide"));
  const error = el("p", { class: "error", role: "alert" });
  const command = el("pre", { tabindex: "0", hidden: true });
  const button = /** @type {HTMLButtonElement} */ (el("button", { class: "grave", type: "submit" }, decision.button));
  const form = /** @type {HTMLFormElement} */ (
    el(
      "form",
      {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void send();
        },
      },
      el("h2", { id: "decide-title" }, decision.title(name)),
      el("p", {}, decision.what),
      ...(decision.extra?.() ?? []),
      decision.type &&
        el(
          "label",
          {},
          `Type ${name} to confirm `,
          el("input", { name: "typed", autocomplete: "off", required: true }),
        ),
      el(
        "label",
        {},
        "Why; kept with the decision, in your name ",
        el("input", { name: "reason", required: true, maxlength: "500", autocomplete: "off" }),
      ),
      error,
      command,
      el(
        "p",
        { class: "buttons" },
        button,
        el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
      ),
    )
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  /** @type {HTMLInputElement | null} */ (form.querySelector("input"))?.focus();

  async function send() {
    const given = /** @type {Record<string, unknown>} */ (Object.fromEntries(new FormData(form)));
    if (decision?.type && given["typed"] !== name) return say(error, `That is not ${name}.`);
    delete given["typed"];
    if (given["restore"] !== undefined) given["restore"] = Number(given["restore"]);
    button.disabled = true;
    const where = subject.scope === undefined || subject.id !== undefined ? {} : { scope: subject.scope };
    const answer = await post(`act/${action}`, { subject: name, ...where, ...given });
    button.disabled = false;
    command.hidden = !answer.told?.error?.command;
    if (!answer.ok) {
      say(command, answer.told?.error?.command ?? "");
      return say(error, `${answer.what[0]?.toUpperCase()}${answer.what.slice(1)}.`);
    }
    dialog.close();
    if (answer.told.note) alert(answer.told.note);
  }
}
