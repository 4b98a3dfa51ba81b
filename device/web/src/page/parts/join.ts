/** Before a phone is a member: what an invitation asks of it, the wait for approval, and what is left afterwards. */

import { USUAL_TERMS, type InviteLink, type Phone, type PhoneView } from "../../agent/phone.ts";
import { button, h, setAttribute, setText, show } from "../dom.ts";
import { epsilon, moment, nameFault, oneIn, whyNot } from "../words.ts";
import { Leaving } from "./leaving.ts";
import { Notices } from "./notices.ts";
import type { Host } from "./teach.ts";

/** How an invitation is read; the core's. */
export type ReadInvite = (text: string) => InviteLink;

const TERMS = USUAL_TERMS;
const LOST = [
  "This phone cannot take part",
  "Leave and erase what is left of it. Then an invitation can be used here.",
] as const;

/** One for the page. */
export class Join {
  readonly element: HTMLElement;
  readonly #phone: Phone;
  readonly #read: ReadInvite;
  readonly #title = h("h1", { tabindex: -1 });
  readonly #lead = h("p", { class: "lead" });
  readonly #paste: HTMLFormElement;
  readonly #form: HTMLFormElement;
  readonly #waiting: HTMLElement;
  readonly #over: HTMLElement;
  readonly #notices = new Notices();
  readonly #link = h("input", {
    id: "invite",
    name: "invite",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "invite-fault",
    required: true,
  });
  readonly #linkFault = h("p", { id: "invite-fault", class: "fault", role: "alert" });
  readonly #name = h("input", {
    id: "name",
    name: "name",
    autocomplete: "off",
    maxlength: 64,
    "aria-describedby": "name-fault",
    required: true,
  });
  readonly #nameFault = h("p", { id: "name-fault", class: "fault", role: "alert" });
  readonly #refused = h("p", { class: "fault", role: "alert" });
  readonly #trouble = h("p", { class: "fault", role: "status" });
  readonly #called = h("dd", {});
  readonly #key = h("dd", { class: "key" });
  readonly #until = h("dd", {});
  readonly #where = h("p", { class: "fault" });
  readonly #go = h("button", { class: "primary wide", type: "submit" }, "Allow and join");
  #invite: InviteLink | null = null;
  #membership: PhoneView["membership"] | null = null;
  #lost = false;
  #federation = "";
  #busy = false;

  constructor(phone: Phone, host: Host, read: ReadInvite, suggested: string) {
    this.#phone = phone;
    this.#read = read;
    this.#name.value = suggested;
    this.#paste = this.#pasted();
    this.#form = this.#terms();
    this.#waiting = this.#wait();
    const leaving = new Leaving(phone, host);
    this.#over = h(
      "div",
      { class: "stack over" },
      h("p", { class: "caption" }, "Delete what is still on this phone:"),
      button({ class: "danger wide" }, () => { leaving.open(); }, "Leave and erase"),
      leaving.element,
    ); // prettier-ignore
    this.element = h(
      "section",
      { class: "join" },
      this.#title,
      this.#lead,
      this.#notices.element,
      this.#trouble,
      this.#waiting,
      this.#form,
      this.#paste,
      this.#over,
    );
  }

  /** Take an invitation, from the page's address or a field; what is none says so. */
  open(text: string): boolean {
    try {
      this.#invite = this.#read(text);
    } catch {
      setText(this.#linkFault, "This is not an invitation. Copy all of the link, from https:// to its end.");
      setAttribute(this.#link, "aria-invalid", "true");
      return false;
    }
    setText(this.#linkFault, "");
    setAttribute(this.#link, "aria-invalid", null);
    this.#draw();
    return true;
  }

  update(view: PhoneView): void {
    setText(this.#trouble, view.reason?.sentence ?? "");
    setText(this.#called, view.name);
    setText(this.#key, view.fingerprint.slice(0, 16).replace(/(.{4})(?=.)/g, "$1 ")); // as much as an operator must compare
    this.#notices.update(view);
    const lost = view.storage === "lost";
    if (view.membership === this.#membership && view.federation === this.#federation && lost === this.#lost) return;
    this.#membership = view.membership;
    this.#lost = lost;
    this.#federation = view.federation;
    this.#draw();
  }

  #draw(): void {
    const state = this.#membership ?? "none";
    const invite = this.#invite;
    const over = state === "ended" || state === "revoked";
    const open = (state === "none" || over) && !this.#lost; // an application would be refused
    const [title, lead] = this.#lost ? LOST : this.#said(state, invite);
    setText(this.#title, title);
    setText(this.#lead, lead);
    show(this.#waiting, state === "waiting" && !this.#lost);
    show(this.#form, open && invite !== null);
    show(this.#paste, open && invite === null);
    show(this.#over, over || this.#lost);
    if (invite === null) return;
    const late = invite.expires <= Date.now();
    setText(this.#until, late ? `It ended ${moment(invite.expires)}` : moment(invite.expires));
    setText(this.#where, late ? "This invitation is over. Ask for another one." : elsewhere(invite.address));
    this.#go.disabled = late || this.#busy;
  }

  #said(state: PhoneView["membership"], invite: InviteLink | null): readonly [string, string] {
    if (state === "waiting") {
      return [
        "Waiting for approval",
        `Somebody who runs ${this.#federation} has to let this phone in. You may close the page; it asks again when it is open.`,
      ];
    }
    if (invite !== null) {
      return [
        `Join ${invite.federation}`,
        "Teach a model to read digits together with other devices, without giving your drawings away.",
      ];
    }
    if (state === "revoked")
      return [
        "No longer a member",
        `${this.#federation} has taken back this phone’s place. It is asked for nothing more, and nothing more leaves it.`,
      ];
    if (state === "ended")
      return [
        "This phone has left",
        "With another invitation it can join again. If the privacy record is still here, its budget goes on.",
      ];
    return ["Join with an invitation", "Open the link or scan the code that you were given. Or paste the link here."];
  }

  #pasted(): HTMLFormElement {
    const form = h(
      "form",
      { class: "stack", novalidate: true },
      h("label", { for: "invite" }, "Invite link"),
      this.#link,
      this.#linkFault,
      h("button", { class: "primary wide", type: "submit" }, "Read the invitation"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.open(this.#link.value)) this.#title.focus();
      else this.#link.focus();
    });
    return form;
  }

  #terms(): HTMLFormElement {
    const fact = (word: string, what: string | HTMLElement): readonly HTMLElement[] => [
      h("dt", {}, word),
      typeof what === "string" ? h("dd", {}, what) : what,
    ];
    const form = h(
      "form",
      { class: "stack", novalidate: true },
      h(
        "div",
        { class: "card" },
        h("h2", {}, "What this phone allows"),
        h(
          "dl",
          { class: "facts" },
          ...fact("Task", "reading digits that you draw or photograph"),
          ...fact("Leaves", "changes to the model’s last layer, with noise; no drawings"),
          ...fact("Budget", `ε = ${epsilon(TERMS.epsilon)} at δ = ${oneIn(TERMS.delta)}, over all rounds`),
          ...fact("Protects", "each single example, whether it is there or not"),
          ...fact("Valid until", this.#until),
        ),
      ),
      this.#where,
      h("label", { for: "name" }, "Name of this phone"),
      this.#name,
      h("p", { class: "caption" }, "Those who run the federation see it. It need not be yours."),
      this.#nameFault,
      this.#refused,
      this.#go,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    return form;
  }

  async #submit(): Promise<void> {
    const invite = this.#invite;
    const fault = nameFault(this.#name.value);
    setText(this.#nameFault, fault ?? "");
    setAttribute(this.#name, "aria-invalid", fault === null ? null : "true");
    if (fault !== null || invite === null || this.#busy) {
      this.#name.focus();
      return;
    }
    this.#working(true);
    setText(this.#refused, "");
    try {
      await this.#phone.enrol(invite, this.#name.value, TERMS);
      this.#invite = null; // used: nothing keeps its token
    } catch (error) {
      setText(this.#refused, whyNot(error).sentence);
    }
    this.#working(false);
    this.#draw();
  }

  #working(busy: boolean): void {
    this.#busy = busy;
    this.#go.disabled = busy;
    setAttribute(this.#go, "aria-busy", busy ? "true" : null);
    setText(this.#go, busy ? "Making keys and asking…" : "Allow and join");
  }

  #wait(): HTMLElement {
    return h(
      "div",
      { class: "stack" },
      h("div", { class: "waiting-mark", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
      h("dl", { class: "facts card" }, h("dt", {}, "This phone"), this.#called, h("dt", {}, "Its key"), this.#key),
      h("p", { class: "caption" }, "Your invitation is used: nobody else can join by it."),
    );
  }
}

/** What is wrong with an invitation of another place. */
function elsewhere(address: string): string {
  if (address === "" || (URL.canParse(address) && new URL(address).origin === location.origin)) return "";
  return `This invitation is for ${address}: open its link there.`;
}
