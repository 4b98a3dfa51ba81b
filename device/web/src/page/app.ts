/** The whole page for one phone: joining until it is a member, then four places under one status line. */

import type { Phone, PhoneView } from "../agent/phone.ts";
import { Awake } from "./awake.ts";
import { button, h, icon, setAttribute, setText, show } from "./dom.ts";
import { Examples } from "./parts/examples.ts";
import { Join, type ReadInvite } from "./parts/join.ts";
import { Privacy } from "./parts/privacy.ts";
import { Rounds } from "./parts/rounds.ts";
import { StatusLine } from "./parts/status.ts";
import { Teach, type Host } from "./parts/teach.ts";
import { Toast } from "./parts/toast.ts";
import { atWork, whyNot } from "./words.ts";

const PLACES = [
  ["teach", "Teach", "pen"],
  ["examples", "Examples", "grid"],
  ["rounds", "Rounds", "rounds"],
  ["privacy", "Privacy", "shield"],
] as const;
type Place = (typeof PLACES)[number][0];

/** What the page is told from outside. */
export interface Surroundings {
  readonly readInvite: ReadInvite;
  /** An invitation that the page was opened with; `null` for none. */
  readonly invite: string | null;
  /** A name for the phone until its owner says another. */
  readonly suggested: string;
}

/** Show a phone in an element of the page. */
export function mount(root: HTMLElement, phone: Phone, { readInvite, invite, suggested }: Surroundings): void {
  const toast = new Toast();
  const whispers = h("p", { class: "unseen", role: "status" });
  const host: Host = {
    attempt: async (work) => {
      try {
        await work;
        return true;
      } catch (error) {
        toast.say(whyNot(error).sentence);
        return false;
      }
    },
    say: (sentence, back) => {
      toast.say(sentence, back);
    },
    whisper: (sentence) => {
      setText(whispers, sentence);
    },
  };
  const join = new Join(phone, host, readInvite, suggested);
  const status = new StatusLine(phone, host);
  const teach = new Teach(phone, host);
  const parts = { teach, examples: new Examples(phone, host), rounds: new Rounds(), privacy: new Privacy(phone, host) };
  const awake = new Awake(host.whisper);

  const tabs = new Map<Place, HTMLButtonElement>();
  const go = (place: Place): void => {
    for (const [name] of PLACES) {
      show(parts[name].element, name === place);
      const tab = tabs.get(name);
      if (tab !== undefined) setAttribute(tab, "aria-current", name === place ? "page" : null);
    }
    if (place !== "teach") teach.hidden();
    scrollTo(0, 0);
  };
  for (const [name, word, drawing] of PLACES) {
    tabs.set(name, button({ class: "tab" }, () => { go(name); }, icon(drawing), h("span", {}, word))); // prettier-ignore
  }
  const federation = h("span", { class: "federation" });
  const nav = h("nav", { class: "tabs", "aria-label": "Places" }, ...tabs.values());
  const member = h("div", { class: "member" }, status.element, ...PLACES.map(([name]) => parts[name].element));
  const title = h("h1", { class: "unseen" }, "skerry on this phone");
  root.replaceChildren(
    h("header", { class: "top" }, mark(), h("span", { class: "brand" }, "skerry"), federation),
    h("main", {}, title, join.element, member),
    nav,
    toast.element,
    whispers,
  );
  go("teach");
  if (invite !== null) join.open(invite);

  const update = (view: PhoneView): void => {
    const inside = view.membership === "member";
    setText(federation, view.membership === "none" ? "" : view.federation);
    show(join.element, !inside);
    show(title, inside); // else the join part has its own
    show(member, inside);
    show(nav, inside);
    join.update(view);
    if (inside) for (const part of [status, ...Object.values(parts)]) part.update(view);
    awake.want(atWork(view));
  };
  phone.subscribe(update);
}

/** The mark: an islet under a light. */
function mark(): HTMLElement {
  return h("img", { src: "./icon.svg", alt: "", width: 28, height: 28 });
}
