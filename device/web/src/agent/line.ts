/**
 * The line to the gateway: each request is signed with the phone's enrolled key. A phone whose clock is off signs by the
 * gateway's time once it was told; only signatures use that, everything else goes by the phone's own clock.
 */

import { concat, fromUtf8, toBase64Url, utf8, type Bytes } from "../bytes.ts";
import { SkerryError } from "../errors.ts";
import { signedDer } from "../security/csr.ts";
import { signRequest } from "../security/http_signature.ts";

const TIMEOUT_MS = 30_000;
const LONGEST_REFUSAL = 1 << 16;
const LONGEST_WAIT_S = 600;

/** What kind of failure a call is; each is met differently (`device/agent/calls.py`). */
export type Fault = "unreachable" | "unknown" | "wrong_clock" | "not_registered" | "still_online" | "gone";

/** A call did not do what it was for; the phone goes on. */
export class CallFailedError extends SkerryError {
  override readonly name: string = "CallFailedError";

  constructor(
    readonly fault: Fault,
    what: string,
    /** Seconds that the server asks to wait. */
    readonly retryAfter = 0,
  ) {
    super(what);
  }
}

/** An answer is longer than anything that was to come: no more of it is read. */
export class TooLongError extends CallFailedError {
  override readonly name: string = "TooLongError";
}

/** An answer that came. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly content: Bytes;
}

/** Asks an HTTPS server, as `fetch` does. */
export type Fetch = (path: string, init: RequestInit) => Promise<Response>;

export class GatewayLine {
  /** By how many ms the gateway's clock is ahead of the phone's, as far as it was told. */
  off: number | undefined;

  constructor(
    readonly name: string,
    private readonly key: CryptoKey,
    private readonly clock: () => number,
    private readonly ask: Fetch,
  ) {}

  /** The gateway's time, ms. */
  get now(): number {
    return this.clock() + (this.off ?? 0);
  }

  /** ECDSA over a text, in DER: the SuperLink's own header. */
  async sign(text: string): Promise<Bytes> {
    return signedDer(this.key, utf8(text));
  }

  /** The answer to a signed POST. @throws CallFailedError */
  async post(path: string, body: Bytes, headers: Record<string, string>, longest: number): Promise<Bytes> {
    const answer = await this.#asked("POST", path, body, headers, longest);
    if (answer.status !== 200) throw this.#failure(answer);
    return answer.content;
  }

  /** The answer to a signed GET, 200, 206, 404 or 416. @throws CallFailedError */
  async get(path: string, headers: Record<string, string>, longest: number): Promise<Answer> {
    const answer = await this.#asked("GET", path, new Uint8Array(), headers, longest);
    if (![200, 206, 404, 416].includes(answer.status)) throw this.#failure(answer);
    return answer;
  }

  async #asked(
    method: "GET" | "POST",
    path: string,
    body: Bytes,
    headers: Record<string, string>,
    longest: number,
  ): Promise<Answer> {
    const nonce = toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
    const about = { method, path, keyId: this.name, created: Math.floor(this.now / 1000), nonce };
    const signed = await signRequest(about, body, this.key);
    try {
      const answer = await this.ask(path, {
        method,
        headers: { ...headers, ...signed },
        ...(method === "POST" && { body }),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const most = answer.ok ? longest : LONGEST_REFUSAL;
      return { status: answer.status, headers: answer.headers, content: await whole(answer, most) };
    } catch (error) {
      if (error instanceof SkerryError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new CallFailedError("unreachable", `the gateway does not answer: ${why}`);
    }
  }

  #failure({ status, headers, content }: Answer): CallFailedError {
    const { reason, what } = refusalOf(content);
    const wait = Math.min(Number(headers.get("retry-after") ?? 0) || 0, LONGEST_WAIT_S);
    if (reason === "wrong_clock") this.#learnTime(headers);
    const said = reason === "" ? `the SuperLink answers ${status}: ${what}` : `${reason}: ${what}`;
    return new CallFailedError(faultOf(reason, status), said, wait);
  }

  #learnTime(headers: Headers): void {
    const told = Date.parse(headers.get("date") ?? "");
    if (Number.isFinite(told)) this.off = told - this.clock();
  }
}

/** The gateway's own refusals are JSON; the SuperLink's are not. */
export function refusalOf(content: Bytes): { reason: string; what: string } {
  try {
    const { error } = JSON.parse(fromUtf8(content)) as { error?: { reason?: unknown; what?: unknown } };
    if (typeof error?.reason === "string" && typeof error.what === "string") {
      return { reason: error.reason.slice(0, 100), what: error.what.slice(0, 300) };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  return { reason: "", what: new TextDecoder().decode(content.subarray(0, 300)) };
}

/** The body, if it is no longer than that; else no more than that is read of it. @throws TooLongError */
export async function whole(answer: Response, most: number): Promise<Bytes> {
  const reader = (answer.body as ReadableStream<Uint8Array> | null)?.getReader();
  const parts: Uint8Array[] = [];
  for (let size = 0; reader !== undefined;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      void reader.cancel().catch(() => undefined);
      throw new TooLongError("unreachable", `the answer has more than ${most} bytes`);
    }
    parts.push(value);
  }
  return concat(parts);
}

function faultOf(reason: string, status: number): Fault {
  if (reason === "wrong_clock") return "wrong_clock";
  if (reason === "not_signed" || reason === "not_authentic") return "unknown";
  if (reason === "other_node" || (reason === "" && status === 401)) return "not_registered";
  if (reason !== "") return "unreachable";
  if (status === 412) return "still_online";
  return status >= 400 && status < 500 && status !== 429 ? "gone" : "unreachable";
}
