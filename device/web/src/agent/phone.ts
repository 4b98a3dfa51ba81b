/**
 * What a page sees of the device that it shows: the seam between the phone's core and everything that is drawn.
 *
 * The core gives one `Phone` per page (`openPhone`, `index.ts`); heavy work runs in a Worker behind it. All methods may
 * reject with a `SkerryError`, whose `what` and `mend` are sentences for people.
 */

/** What the text of an invitation holds, for a person to look at before anything is asked of anybody. */
export interface InviteLink {
  /** The invitation's one word, `skerry-enrol:…`; secret. */
  readonly text: string;
  readonly federation: string;
  /** Of the gateway, such as `https://fleet.example`; empty where this page's own is meant. */
  readonly address: string;
  readonly deviceClass: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
}

/** What the owner allows, shown and accepted at enrolment; it never changes as long as there is a ledger. */
export interface Terms {
  readonly task: "digits";
  readonly unit: "example";
  readonly relation: "add/remove";
  /** The most that is ever given away of these examples, over all runs. */
  readonly epsilon: number;
  readonly delta: number;
}

export const USUAL_TERMS: Terms = { task: "digits", unit: "example", relation: "add/remove", epsilon: 8, delta: 1e-5 };

/** Why something is as it is: `code` is stable, `sentence` is for people. */
export interface Reason {
  readonly code: string;
  readonly sentence: string;
}

/**
 * A grey picture, row by row, as in the Python task: 0 is paper and 255 is ink. A photograph of dark ink on light paper
 * must be inverted before. 8 to 128 pixels a side; the core finds the ink's box and prepares it.
 */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly gray: Uint8Array<ArrayBuffer>;
}

/** An example of the owner's; it never leaves this browser. */
export interface StoredExample {
  readonly id: number;
  readonly picture: Picture;
  readonly label: number;
  /** Milliseconds since the epoch. */
  readonly added: number;
}

/** What the newest model that the phone holds makes of a picture. */
export interface Guess {
  /** Of each class; they sum to one. */
  readonly probabilities: readonly number[];
  readonly best: number;
  /** The round that the head is of; 0 for the one that public data gave, and for a released one. */
  readonly round: number;
  /** Of the released model, where its head is the newest. */
  readonly version?: number;
}

/** A round that this phone was asked for. */
export interface RoundSeen {
  readonly run: string;
  readonly round: number;
  /** When it was answered, milliseconds since the epoch. */
  readonly at: number;
  /** How many examples took part; 0 when it was refused. */
  readonly examples: number;
  /** Why it was refused; `null` when it was followed. */
  readonly refused: Reason | null;
  /**
   * Share of the owner's own examples that the head got right when it came (`before`) and when the next one of its run
   * came (`after`); `null` where that is not known. They stay here.
   */
  readonly before: number | null;
  readonly after: number | null;
}

export type Membership = "none" | "waiting" | "member" | "revoked" | "ended";
export type Activity = "idle" | "asking" | "fetching" | "training" | "answering" | "paused" | "offline";

/** All that there is to see; a new object whenever something changed. */
export interface PhoneView {
  /** `ended`: the owner left, or the certificate expired; a ledger may still be there. */
  readonly membership: Membership;
  readonly name: string;
  /** Of the device key, hexadecimal, as the operator sees it; empty before there is one. */
  readonly fingerprint: string;
  readonly federation: string;
  readonly classes: readonly string[];
  readonly activity: Activity;
  /** Whether the owner has paused it; what is under way may still come to its end. */
  readonly paused: boolean;
  /** Share of the activity that is done, 0 to 1; `null` where it is not known. */
  readonly progress: number | null;
  /** Why it does not go on, or why the last thing failed; `null` when all is well. */
  readonly reason: Reason | null;
  /** Newest first. */
  readonly rounds: readonly RoundSeen[];
  readonly privacy: {
    readonly unit: "example";
    readonly relation: "add/remove";
    readonly epsilon: number;
    readonly spent: number;
    readonly left: number;
    readonly delta: number;
  };
  readonly examples: number;
  /** `lost`: the browser has thrown away keys or ledger; these examples are never trained on again here. */
  readonly storage: "persisted" | "may be evicted" | "lost";
  /** By how much the gateway's clock is ahead of this one's; `null` before it was told. */
  readonly clockOffsetSeconds: number | null;
  readonly base: { readonly digest: string; readonly bytes: number } | null;
  /** The released model: its version (0 for none) and when it was installed; `refused`: why a newer one was turned away. */
  readonly model: { readonly version: number; readonly at: number; readonly refused: Reason | null } | null;
}

/** One device in a browser. */
export interface Phone {
  /** The last state. */
  readonly view: PhoneView;
  /** Is called at once and at every change; what is returned ends that. */
  subscribe(listener: (view: PhoneView) => void): () => void;
  /** Applies; until it is decided `view.membership` says `waiting`. Called again while waiting, it asks at once. */
  enrol(link: InviteLink, name: string, terms: Terms): Promise<void>;
  addExample(picture: Picture, label: number): Promise<void>;
  removeExample(id: number): Promise<void>;
  /** Oldest first. */
  examples(): Promise<readonly StoredExample[]>;
  /** `null` before any base is here. */
  guess(picture: Picture): Promise<Guess | null>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /**
   * The federation is told; once it has said, signed, that the phone is out, keys, examples, answers and bases go. Where
   * it cannot be told nothing is erased (`not_told`); called again, all goes without telling. The ledger too with `erase`, and with it the proof of what was spent.
   */
  leave(erase: boolean): Promise<void>;
}
