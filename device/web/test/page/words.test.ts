/** The page's words: what a person reads follows from the phone's state, and never promises more than there is. */

import { describe, expect, it } from "vitest";
import type { PhoneView } from "../../src/agent/phone.ts";
import { BudgetExceededError, SkerryError } from "../../src/errors.ts";
import {
  atWork,
  bytes,
  duration,
  epsilon,
  left,
  moment,
  nameFault,
  noticesOf,
  oneIn,
  roundInWords,
  spentInWords,
  statusOf,
  whyNot,
} from "../../src/page/words.ts";
import { EMPTY } from "./memory_phone.ts";

const member = (change: Partial<PhoneView> = {}): PhoneView => ({
  ...EMPTY,
  membership: "member",
  examples: 3,
  ...change,
});

describe("the status line", () => {
  it("does not flicker between asking and waiting", () => {
    expect(statusOf(member({ activity: "asking" }))).toEqual(statusOf(member({ activity: "idle" })));
  });

  it("asks for examples where there are none", () => {
    expect(statusOf(member({ examples: 0 })).title).toBe("No examples yet");
    expect(statusOf(member({ examples: 0, activity: "fetching" })).title).toBe("Fetching the model");
  });

  it("tells the reason why it does not go on, but not over a pause that its owner wanted", () => {
    const reason = { code: "no_network", sentence: "The gateway does not answer." };
    expect(statusOf(member({ activity: "offline", reason }))).toMatchObject({
      tone: "trouble",
      detail: reason.sentence,
    });
    expect(statusOf(member({ activity: "paused", reason })).detail).not.toBe(reason.sentence);
  });

  it("tells a pause whatever else is told, and that nothing is done only once that is so", () => {
    expect(statusOf(member({ paused: true, activity: "idle" })).title).toBe("Paused");
    expect(statusOf(member({ paused: true, activity: "answering" })).title).toBe("Pausing");
  });

  it("keeps the screen on only while a member works", () => {
    const working = (["idle", "asking", "fetching", "training", "answering", "paused", "offline"] as const).filter(
      (activity) => atWork(member({ activity })),
    );
    expect(working).toEqual(["fetching", "training", "answering"]);
    expect(atWork(member({ activity: "training", membership: "revoked" }))).toBe(false);
  });
});

describe("numbers", () => {
  it("round what was spent up and what is left down", () => {
    expect([epsilon(2.131), epsilon(2), epsilon(0)]).toEqual(["2.14", "2", "0"]);
    expect([left(5.869), left(5.8), left(0.004), left(10)]).toEqual(["5.86", "5.8", "0", "10"]);
    expect([epsilon(10), epsilon(100)]).toEqual(["10", "100"]);
  });

  it("say δ, time and size as people do", () => {
    expect(oneIn(1e-5)).toBe("1 in 100,000");
    expect([duration(59), duration(3600), duration(7300), duration(86_400)]).toEqual([
      "59 seconds",
      "1 hour",
      "2 hours",
      "1 day",
    ]);
    expect([bytes(900), bytes(4_312_000)]).toEqual(["1 KB", "4.3 MB"]);
  });
});

describe("privacy in words", () => {
  it("says the factor e^ε with δ, and nothing before anything left", () => {
    expect(spentInWords(EMPTY.privacy)).toMatch(/^Nothing was spent/);
    const said = spentInWords({ ...EMPTY.privacy, spent: 1, left: 7 });
    expect(said).toContain("2.8 at most"); // e, rounded up: never less than it is
    expect(said).toContain("1 in 100,000");
  });
});

describe("notices", () => {
  it("tell a clock that is off, and in which direction", () => {
    expect(noticesOf(member({ clockOffsetSeconds: 30 }))).toEqual([]);
    expect(noticesOf(member({ clockOffsetSeconds: 7300 }))[0]?.title).toBe("This phone’s clock is 2 hours behind");
    expect(noticesOf(member({ clockOffsetSeconds: -7300 }))[0]?.title).toBe("This phone’s clock is 2 hours ahead");
  });

  it("tell that memory was thrown away", () => {
    expect(noticesOf(member({ storage: "lost" })).map(({ code }) => code)).toEqual(["lost"]);
    expect(noticesOf(member({ storage: "may be evicted" }))).toEqual([]); // told where storage is told
  });
});

it("tells why a round was refused", () => {
  const round = { run: "r", round: 1, at: 0, examples: 0, before: null, after: null };
  expect(roundInWords({ ...round, refused: { code: "budget", sentence: "it costs too much." } })).toMatch(
    /it costs too much\.$/,
  );
  expect(roundInWords({ ...round, examples: 1, refused: null })).toBe("1 example took part");
});

it("says what failed and how to mend it", () => {
  expect(whyNot(new SkerryError("it broke", "mend it"))).toEqual({
    code: "SkerryError",
    sentence: "It broke. Mend it.",
  });
  expect(whyNot(new BudgetExceededError("over", "too much."))).toEqual({ code: "over", sentence: "Too much." });
  expect(whyNot("what?").sentence).toBe("what?");
});

it("takes a name that can be a device's, and says what is wrong with another", () => {
  for (const name of ["phone-k3v9", "A.b_c-1", "a".repeat(64)]) expect(nameFault(name)).toBeNull();
  for (const name of ["", "  ", " a", "a/b", "a\\b", ".a", "a\u0007", "Ännes Telefon", "a".repeat(65)])
    expect(nameFault(name)).not.toBeNull();
  expect(nameFault("Ännes Telefon")).toMatch(/letters, digits, dots/); // what a name may be, not only that this is none
});

it("says a time that no calendar knows", () => {
  expect(moment(Number.MAX_SAFE_INTEGER)).toBe("never");
});
