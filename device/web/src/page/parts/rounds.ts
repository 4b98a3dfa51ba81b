/** What joined when: each round that this phone was asked for, with what it did to the model on the owner's examples. */

import type { PhoneView, RoundSeen } from "../../agent/phone.ts";
import { fill, h, setText, show } from "../dom.ts";
import { modelInWords, moment, percent, roundInWords } from "../words.ts";

/** One for the page. */
export class Rounds {
  readonly element: HTMLElement;
  readonly #list = h("ol", { class: "rounds" });
  readonly #none = h("p", { class: "empty" }, "None yet. A round begins when the federation asks this phone.");
  readonly #model = h("p", { class: "model" });
  #shown = "";

  constructor() {
    this.element = h(
      "section",
      { "aria-labelledby": "rounds-title" },
      h("h2", { id: "rounds-title" }, "Rounds"),
      h(
        "p",
        { class: "lead" },
        "A phone works only while its page is open and in front: otherwise the browser stops it. Nothing is lost then; it goes on when you are back.",
      ),
      this.#model,
      this.#none,
      this.#list,
    );
  }

  update(view: PhoneView): void {
    const now = JSON.stringify([view.rounds, view.model]);
    if (now === this.#shown) return;
    this.#shown = now;
    show(this.#model, view.model !== null);
    setText(this.#model, view.model === null ? "" : modelInWords(view.model));
    show(this.#none, view.rounds.length === 0);
    this.#list.replaceChildren(...view.rounds.map(item));
  }
}

function item(seen: RoundSeen): HTMLElement {
  const known = seen.before !== null || seen.after !== null;
  return h(
    "li",
    { class: seen.refused === null ? "round" : "round refused" },
    h(
      "div",
      { class: "round-head" },
      h("h3", {}, `Round ${seen.round}`),
      h("time", { datetime: new Date(seen.at).toISOString() }, moment(seen.at)),
    ),
    h("p", {}, roundInWords(seen)),
    ...(known
      ? [
          h("p", { class: "caption" }, "Right on your own examples"),
          h("dl", { class: "accuracies" }, ...measure("before", seen.before), ...measure("after", seen.after)),
        ]
      : []),
    h("p", { class: "caption run" }, `Run ${seen.run}`),
  );
}

/** How many of the owner's own examples the model had right. */
function measure(word: string, share: number | null): readonly HTMLElement[] {
  const bar = h("i", { class: "meter", "aria-hidden": "true" });
  fill(bar, share ?? 0);
  const said = share === null ? "not yet" : percent(share);
  return [h("dt", {}, word), h("dd", {}, bar, h("span", {}, said))];
}
