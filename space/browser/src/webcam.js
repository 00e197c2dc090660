/** The webcam: frames as fast as the device stylizes them, at the size that it manages. */

import { MetaStyleError } from "./errors.js";

const SLOW = 250; // milliseconds a frame; above, frames get smaller
const FAST = 80; // below, they get larger
const SIDES = [96, 512]; // pixels of the short side

export class Webcam {
  running = false;
  #side = 192;

  /**
   * @param {HTMLVideoElement} video
   * @param {(frame: ImageBitmap) => Promise<number>} show stylizes and shows a frame; gives the milliseconds that it took
   * @param {(error: unknown) => void} fail is told why no frame follows
   */
  constructor(video, show, fail) {
    this.video = video;
    this.show = show;
    this.fail = fail;
  }

  /** @param {number} size */
  async start(size) {
    const constraints = { video: { facingMode: "user", width: { ideal: 2 * size }, height: { ideal: 1.5 * size } } };
    try {
      this.video.srcObject = await navigator.mediaDevices.getUserMedia(constraints);
      await this.video.play();
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      throw new MetaStyleError(`There is no webcam that this page may use (${cause}); allow it, or choose a photo.`);
    }
    this.video.width = this.video.videoWidth;
    this.video.height = this.video.videoHeight;
    this.running = true;
    this.#loop().catch((error) => this.running && this.fail(error)); // after a stop the video has no frame
  }

  stop() {
    this.running = false;
    const stream = this.video.srcObject;
    if (stream instanceof MediaStream) for (const track of stream.getTracks()) track.stop();
    this.video.srcObject = null;
  }

  async #loop() {
    while (this.running) {
      const { videoWidth: width, videoHeight: height } = this.video;
      const scale = this.#side / Math.min(width, height);
      const even = (/** @type {number} */ length) => 4 * Math.max(8, Math.round((length * scale) / 4)); // no padding needed
      const size = { resizeWidth: even(width), resizeHeight: even(height) };
      const ms = await this.show(await createImageBitmap(this.video, { ...size, resizeQuality: "medium" }));
      const [low, high] = SIDES;
      if (ms > SLOW) this.#side = Math.max(low, this.#side * 0.85);
      if (ms < FAST) this.#side = Math.min(high, this.#side * 1.1);
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }
}
