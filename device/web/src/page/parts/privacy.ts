/** What was spent and what is left, what this phone is to the federation, and the way out. */

import type { Phone, PhoneView } from "../../agent/phone.ts";
import { button, fill, h, icon, setText, show } from "../dom.ts";
import { bytes, epsilon, left, oneIn, spentInWords } from "../words.ts";
import { Leaving } from "./leaving.ts";
import type { Host } from "./teach.ts";

const EVICTED =
  "The browser may throw this page’s memory away when space runs short. Installing the page makes that unlikely. " +
  "If it happens, this phone says so and stops, rather than forget what was spent.";

/** One for the page. */
export class Privacy {
  readonly element: HTMLElement;
  readonly #left = h("strong", { class: "figure" });
  readonly #meter = h("i", { class: "meter budget", "aria-hidden": "true" });
  readonly #spent = h("p", { class: "caption" });
  readonly #words = h("p", {});
  readonly #facts = h("dl", { class: "facts" });
  readonly #storage = h("p", { class: "caption" });
  readonly #install: HTMLButtonElement;
  readonly #leaving: Leaving;
  #shown = "";

  constructor(phone: Phone, host: Host) {
    this.#leaving = new Leaving(phone, host);
    this.#install = button({ class: "wide" }, () => void this.#offer?.prompt(), "Install this page");
    show(this.#install, false);
    addEventListener("beforeinstallprompt", (event) => {
      event.preventDefault();
      this.#offer = event as InstallOffer;
      show(this.#install, true);
    });
    this.element = h(
      "section",
      { "aria-labelledby": "privacy-title" },
      h("h2", { id: "privacy-title" }, "Privacy"),
      h("div", { class: "card" }, h("p", { class: "figure-line" }, this.#left, " of the budget is left"), this.#meter, this.#spent, this.#words),
      h("h3", {}, "What leaves this phone"),
      h(
        "ul",
        { class: "plain" },
        h("li", {}, "After a round: the change to the last layer of the model, each example’s part cut to the same size, with noise, sealed for the coordinator."),
        h("li", {}, "Signed requests for work, with this phone’s name and the time."),
        h("li", {}, "Never: drawings, photographs, labels, or how well the model does on them."),
      ),
      h("h3", {}, "This phone"),
      this.#facts,
      this.#storage,
      this.#install,
      h("h3", {}, "Leave"),
      h("p", {}, "Keys, examples and models are deleted from this phone. What was sent before cannot be called back."),
      button({ class: "danger wide", "data-action": "leave" }, () => { this.#leaving.open(); }, icon("trash"), "Leave and erase"),
      this.#leaving.element,
      h(
        "p",
        { class: "caption licences" },
        "Licences of what is in this page: ",
        h("a", { href: "./licenses.txt" }, "libraries"),
        ", ",
        h("a", { href: "./licenses-onnxruntime.txt" }, "ONNX Runtime"),
      ),
    ); // prettier-ignore
  }

  #offer: InstallOffer | null = null;

  update(view: PhoneView): void {
    const { privacy } = view;
    setText(this.#left, `ε ${left(privacy.left)}`);
    fill(this.#meter, privacy.epsilon === 0 ? 0 : privacy.spent / privacy.epsilon);
    setText(
      this.#spent,
      `${epsilon(privacy.spent)} of ε = ${epsilon(privacy.epsilon)} spent, at δ = ${oneIn(privacy.delta)}`,
    );
    setText(this.#words, spentInWords(privacy));
    setText(this.#storage, view.storage === "may be evicted" ? EVICTED : "");
    const facts: readonly (readonly [string, string])[] = [
      ["Name", view.name],
      ["Federation", view.federation],
      ["Protected", "one example, by adding or removing it"],
      ["Model", view.base === null ? "not here yet" : bytes(view.base.bytes)],
      ["Memory", STORAGE[view.storage]],
      [
        "Trust",
        "a browser: whoever runs the gateway also gives it this page, so it counts as a weaker class of device",
      ],
    ];
    const now = JSON.stringify(facts);
    if (now === this.#shown) return;
    this.#shown = now;
    this.#facts.replaceChildren(...facts.flatMap(([word, what]) => [h("dt", {}, word), h("dd", {}, what)]));
  }
}

/** Chromium's offer to install a page; no standard, so in no library of types. */
interface InstallOffer extends Event {
  readonly prompt: () => Promise<unknown>;
}

const STORAGE: Readonly<Record<PhoneView["storage"], string>> = {
  persisted: "kept until you leave",
  "may be evicted": "may be thrown away by the browser",
  lost: "thrown away by the browser",
};
