/** The camera: a live picture in a square, one of which is taken; or a picture that is on the phone already. */

import type { Picture } from "../../agent/phone.ts";
import { button, h, icon, setText, show } from "../dom.ts";
import { inkOfPhoto } from "../ink.ts";

const SIDE = 112; // of the picture that ink is looked for in, and that is handed on: the core takes up to 128
const NOTHING = "No digit stands out in the picture. Dark ink on light paper, filling the square, works best.";

/** What the camera tells its owner. */
export interface CameraEvents {
  readonly taken: (ink: Picture) => void;
  readonly said: (sentence: string) => void;
}

/** One for the page; the camera itself is on only while it is shown. */
export class Camera {
  readonly element: HTMLElement;
  readonly #video = h("video", {
    class: "camera-live",
    muted: true,
    playsinline: true,
    "aria-label": "Live picture of the camera",
  });
  readonly #message = h("p", { class: "camera-message", role: "status" });
  readonly #take: HTMLButtonElement;
  readonly #events: CameraEvents;
  #stream: MediaStream | null = null;
  #turn = 0; // of being opened and closed

  constructor(events: CameraEvents) {
    this.#events = events;
    this.#take = button(
      { class: "primary" },
      () => {
        this.#use(this.#video, this.#video.videoWidth, this.#video.videoHeight);
      },
      icon("camera"),
      "Capture",
    );
    const file = h("input", { type: "file", accept: "image/*", class: "unseen", id: "picture-file" });
    file.addEventListener("change", () => {
      const chosen = file.files?.[0];
      file.value = "";
      if (chosen !== undefined) void this.#open(chosen);
    });
    this.element = h(
      "div",
      { class: "camera" },
      h(
        "div",
        { class: "camera-frame" },
        this.#video,
        h("span", { class: "camera-square", "aria-hidden": "true" }),
        this.#message,
      ),
      h(
        "div",
        { class: "row" },
        this.#take,
        file,
        h("label", { class: "button", for: "picture-file" }, icon("picture"), "From files"),
      ),
    );
  }

  /** Turn the camera on, and say so where that is not possible. */
  async open(): Promise<void> {
    const turn = ++this.#turn;
    this.#say("Starting the camera…");
    this.#take.disabled = true;
    let stream: MediaStream;
    try {
      // no such thing in a page without HTTPS, whatever the types say
      const devices = navigator.mediaDevices as MediaDevices | undefined;
      if (devices === undefined) throw new DOMException("", "NotFoundError");
      stream = await devices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 960 } } });
    } catch (error) {
      if (turn === this.#turn) this.#say(cameraFault(error));
      return;
    }
    if (turn !== this.#turn) {
      stop(stream); // it was closed meanwhile
      return;
    }
    this.#stream = stream;
    this.#video.srcObject = stream;
    await this.#video.play().catch(() => undefined); // without a gesture some wait for one: the first picture shows
    this.#say("");
    this.#take.disabled = false;
  }

  close(): void {
    this.#turn += 1;
    if (this.#stream !== null) stop(this.#stream);
    this.#stream = null;
    this.#video.srcObject = null;
  }

  async #open(file: File): Promise<void> {
    try {
      const picture = await createImageBitmap(file);
      this.#use(picture, picture.width, picture.height);
    } catch {
      this.#say("This file is no picture that the browser can read.");
    }
  }

  /** The largest square in the middle. */
  #use(source: CanvasImageSource, width: number, height: number): void {
    const context = h("canvas", { width: SIDE, height: SIDE }).getContext("2d");
    const side = Math.min(width, height);
    if (context === null || side === 0) return;
    context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    const ink = inkOfPhoto(context.getImageData(0, 0, SIDE, SIDE).data, SIDE, SIDE);
    if (ink === null) this.#say(NOTHING);
    else this.#events.taken(ink);
  }

  #say(sentence: string): void {
    setText(this.#message, sentence);
    show(this.#message, sentence !== "");
    if (sentence !== "") this.#events.said(sentence);
  }
}

/** Why there is no picture, and what to do. */
export function cameraFault(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") {
    return "The camera was not allowed. Drawing works without it; to take pictures, allow the camera for this page in the browser’s settings.";
  }
  if (name === "NotFoundError" || name === "OverconstrainedError")
    return "There is no camera here. You can draw, or choose a picture.";
  return "The camera does not start; another app may be using it. You can draw meanwhile.";
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
