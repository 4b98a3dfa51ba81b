/** The phone itself, behind the seam: what it keeps, its place, its examples, and the loop that takes part. */

import { Bases } from "../delivery/base.ts";
import { RefusedError, SkerryError } from "../errors.ts";
import { Ledger, openLedger } from "../storage/ledger.ts";
import { Alarm } from "./alarm.ts";
import { Desk } from "./desk.ts";
import { Examples } from "./examples.ts";
import { FleetCalls } from "./fleet.ts";
import { Journal } from "./journal.ts";
import { GatewayLine } from "./line.ts";
import { fingerprintOf, type Keys } from "./keys.ts";
import { Leaving } from "./leaving.ts";
import { invitationOf } from "./link.ts";
import { Loop, reasonOf, YieldedError, type Hooks } from "./loop.ts";
import type { Parts } from "./parts.ts";
import { Participant } from "./participant.ts";
import { forgotten } from "./participation.ts";
import type { Activity, Guess, Membership, PhoneView, Picture, Reason, StoredExample, Terms } from "./phone.ts";
import { Releases, type Around } from "./releases.ts";
import { Rounds } from "./rounds.ts";
import { Standing, type Member } from "./standing.ts";
import { Upkeep } from "./upkeep.ts";
import { FAILED, FIRST_VIEW, HIDDEN, PAUSED, policyOf, privacyOf, storageOf } from "./view.ts";

const [HEARTBEAT_S, WAITING_MS] = [30, 5000];

export class Device {
  view: PhoneView = FIRST_VIEW;
  readonly #alarm = new Alarm();
  readonly #standing: Standing;
  readonly #examples: Examples;
  readonly #bases: Bases;
  readonly #leaving: Leaving;
  #ledger: Ledger | undefined;
  #lost = false;
  #ended: Reason | null = null;
  #line: GatewayLine | undefined;
  #paused = false;
  #visible = true;
  #serving: Promise<void> | undefined;
  #left = false;

  private constructor(
    private readonly parts: Parts,
    private readonly rounds: Rounds,
    private readonly releases: Releases,
    private readonly changed: (view: PhoneView) => void,
  ) {
    this.#standing = new Standing(parts.database, new Desk(parts.ask), parts.clock);
    this.#examples = new Examples(parts.database, parts.loadNetwork);
    this.#bases = new Bases(parts.database);
    this.#leaving = new Leaving(new Desk(parts.ask), parts.clock);
  }

  /** Opens what is kept, and goes on where it was. */
  static async open(parts: Parts, changed: (view: PhoneView) => void): Promise<Device> {
    const [rounds, releases] = [await Rounds.open(parts.database), await Releases.open(parts.database)];
    const device = new Device(parts, rounds, releases, changed);
    await device.#openLedger();
    device.#paused = (await parts.database.get("state", "paused")) === true;
    await device.#bases.here(device.rounds.head?.digest); // so that the page knows of a model that was kept
    await device.refresh({});
    device.#serve();
    return device;
  }

  async enrol(text: string, name: string, terms: Terms): Promise<void> {
    this.#checkNotLost();
    if (this.#ended !== null) await this.#serving; // what ended winds down before another place takes its keys
    try {
      if (!(await this.#standing.waiting())) await this.#apply(text, name, terms);
      this.#ended = null;
      await this.#standing.ask();
    } finally {
      await this.refresh({ reason: null });
      this.#serve();
    }
  }

  /** Applies; the ledger begins with the promise that it is for, in the same step. */
  async #apply(text: string, name: string, terms: Terms): Promise<void> {
    const invitation = invitationOf(text, this.parts.origin);
    const policy = policyOf(terms);
    const begun = this.#ledger?.untouched === false;
    if (begun && JSON.stringify(this.#ledger?.policy) !== JSON.stringify(policy)) {
      const mend = "accept the same terms as before: a budget is not started anew";
      throw new RefusedError("other_promise", "this phone's ledger was begun with another promise", mend);
    }
    const first = begun ? [] : [Ledger.beginning(name, policy, this.parts.clock())];
    if (!begun) await this.parts.witness.forget(); // of a promise that nothing was spent of
    await this.#standing.apply(invitation, name, terms, first, this.#ended !== null);
    await this.#openLedger();
  }

  async addExample(picture: Picture, label: number): Promise<void> {
    this.#checkNotLost();
    await this.#examples.add(picture, label, this.parts.clock());
    await this.refresh({});
  }

  async removeExample(id: number): Promise<void> {
    await this.#examples.remove(id);
    await this.refresh({});
  }

  examples(): Promise<StoredExample[]> {
    return this.#examples.all();
  }

  async guess(picture: Picture): Promise<Guess | null> {
    const base = await this.#bases.here(this.rounds.head?.digest);
    if (base === undefined) return null;
    const released = this.releases.headOver(base, this.rounds.headMade);
    const { vector, round } = released === undefined ? this.rounds.headOver(base) : { ...released, round: 0 };
    const guess = await this.#examples.guess(base, vector, round, picture);
    return released === undefined ? guess : { ...guess, version: released.version };
  }

  async pause(paused: boolean): Promise<void> {
    this.#paused = paused;
    await this.parts.database.write([{ store: "state", key: "paused", value: paused }]);
    await this.refresh(paused ? { activity: "paused", reason: PAUSED } : {});
    this.#alarm.ring();
  }

  /** Whether the page is in the foreground: in the background nothing is begun. */
  show(visible: boolean): void {
    this.#visible = visible;
    this.#alarm.ring();
  }

  async leave(erase: boolean): Promise<void> {
    this.#left = true;
    this.#alarm.ring();
    await this.#serving;
    try {
      await this.#leaving.tell(this.#standing);
    } catch (error) {
      this.#left = false; // nothing was erased: it goes on
      this.#serve();
      throw error;
    }
    const { database, witness } = this.parts;
    const answer = erase ? [] : await forgotten(database);
    await database.clear(["state", "examples", "files", "releases", ...(erase ? (["ledger"] as const) : [])], answer);
    if (erase) await witness.forget();
    this.#examples.forget();
    this.#bases.forget();
    this.releases.forget();
    [this.#left, this.#lost, this.#paused, this.#ended] = [false, false, false, null];
    [this.rounds.seen, this.rounds.head] = [[], undefined];
    await this.#openLedger();
    await this.refresh({ activity: "idle", reason: null, progress: null });
  }

  /** Looks at what is kept and tells the page. */
  async refresh(also: Partial<PhoneView>): Promise<void> {
    const [keys, member, terms] = [
      await this.#standing.keys(),
      await this.#standing.member(),
      await this.#standing.terms(),
    ];
    const off = this.#line?.off ?? this.#standing.offset;
    this.#tell({
      membership: await this.#membership(member),
      name: keys?.name ?? "",
      fingerprint: keys === undefined ? "" : await fingerprintOf(keys),
      federation: member?.federation ?? "",
      paused: this.#paused,
      rounds: this.rounds.seen,
      privacy: privacyOf(this.#ledger, terms),
      examples: await this.#examples.count(),
      storage: storageOf(this.#lost, await this.parts.persisted()),
      clockOffsetSeconds: off === undefined ? null : Math.round(off / 1000),
      ...{ base: this.#bases.shown, model: this.releases.shown },
      ...also,
    });
  }

  #tell(also: Partial<PhoneView>): void {
    this.view = { ...this.view, ...also };
    this.changed(this.view);
  }

  async #membership(member: Member | undefined): Promise<Membership> {
    if (this.#ended?.code === "revoked") return "revoked";
    if (this.#ended !== null) return "ended";
    if (member !== undefined) return "member";
    if (await this.#standing.waiting()) return "waiting";
    return this.#ledger?.untouched === false ? "ended" : "none";
  }

  async #openLedger(): Promise<void> {
    const enrolled = (await this.#standing.member()) !== undefined || (await this.#standing.waiting());
    const { ledger, lost } = await openLedger(this.parts.database, this.parts.witness, enrolled);
    [this.#ledger, this.#lost] = [ledger, lost];
  }

  #checkNotLost(): void {
    if (!this.#lost) return;
    const what = "this browser has thrown away the phone's ledger, so nobody knows what was spent of its examples";
    throw new RefusedError("storage_lost", what, "leave and erase; the same examples are not to be used again");
  }

  /** Waits for the application's decision, then takes part, until the owner leaves or the federation ends it. */
  #serve(): void {
    if (this.#serving !== undefined || this.#lost) return;
    this.#serving = this.#served()
      .catch(() => {
        this.#tell({ activity: "offline", reason: FAILED, progress: null }); // a fault of ours: it is not hidden
      })
      .finally(() => {
        this.#serving = undefined;
      });
  }

  async #served(): Promise<void> {
    while (!this.#left && (await this.#standing.waiting())) {
      await this.#alarm.sleep(WAITING_MS * (0.8 + 0.4 * this.parts.random()));
      if (!this.#mayWork()) continue;
      try {
        await this.#standing.ask();
        await this.refresh({ reason: null });
      } catch (error) {
        if (!(error instanceof SkerryError)) throw error;
        await this.refresh({ reason: reasonOf(error) });
      }
    }
    const [keys, ledger] = [await this.#standing.keys(), this.#ledger];
    if (keys === undefined || ledger === undefined || (await this.#standing.member()) === undefined) return;
    await this.#takePart(keys, ledger);
  }

  async #takePart(keys: Keys, ledger: Ledger): Promise<void> {
    const { database, witness, clock, monotonic, random, ask } = this.parts;
    const line = new GatewayLine(keys.name, keys.device.privateKey, clock, ask);
    this.#line = line;
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.device.publicKey));
    const fleet = new FleetCalls(line, spki, HEARTBEAT_S, (ms) => this.#alarm.sleep(ms));
    const upkeep = new Upkeep(this.#standing, clock);
    const step: Around["step"] = (activity, progress) => {
      this.#step(activity, progress);
    };
    const participant = new Participant({
      ...{ database, witness, clock, line, ledger, bases: this.#bases, rounds: this.rounds },
      ...{ standing: this.#standing, examples: this.#examples },
      step,
    });
    const around: Around = { standing: this.#standing, line, bases: this.#bases, clock, monotonic, step };
    const hooks: Hooks = {
      keepUp: async (doubtful) => {
        const { ended, reason, renewed } = await upkeep.keepUp(doubtful);
        this.#ended = ended ? reason : null;
        if (renewed || reason !== null) await this.refresh({ reason });
        if (this.#mayWork() && (await this.releases.look(around))) await this.refresh({});
      },
      lapse: () => this.#lapse(),
      tell: (activity, reason) => {
        this.#now(activity, reason);
      },
      answer: async (kind, content) => {
        const answer = await participant.answer(kind, content);
        await this.refresh({ progress: null });
        return answer;
      },
    };
    const loop = new Loop(database, new Journal(database), fleet, hooks, this.#alarm, random, monotonic);
    await loop.run(() => !this.#left && this.#ended === null);
  }

  #now(activity: Activity, reason: Reason | null): void {
    const offset = this.#line?.off;
    const same = activity === this.view.activity && reason?.sentence === this.view.reason?.sentence;
    if (same && this.view.progress === null) return;
    this.#tell({
      activity,
      ...{ reason, progress: null },
      ...(offset !== undefined && { clockOffsetSeconds: Math.round(offset / 1000) }),
    });
  }

  #mayWork(): boolean {
    return !this.#left && this.#lapse() === null;
  }

  #lapse(): Reason | null {
    if (this.#ended !== null || this.#paused) return this.#ended ?? PAUSED;
    return this.#visible ? null : HIDDEN;
  }

  /** A step of work is done. @throws YieldedError when it is to stop. */
  #step(activity: Activity, progress: number | null): void {
    if (!this.#mayWork()) throw new YieldedError("the phone may not work now");
    this.#tell({ activity, progress, reason: null });
  }
}
