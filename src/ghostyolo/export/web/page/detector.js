// A detector as the page sees it: pictures in, detections out, the work in worker.js.

/** The lowest threshold that the page offers: what scores less is never looked at. */
export const FLOOR = 0.05;

export class Detector {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #number = 0;

  /**
   * Loads the network.
   *
   * @param {object} [wish] - runOn: "webgpu" or "wasm"; threads; both are chosen where they are left out
   * @returns {Promise<object>} runOn, threads, gpu (whether WebGPU is there)
   */
  open(wish = {}) {
    this.#worker.onmessage = ({ data }) => this.#settle(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const reason = event.message || "the page's worker could not be started: a browser of 2023 or later is needed";
      for (const id of [...this.#waiting.keys()]) this.#settle({ kind: "failed", id, reason });
    };
    return this.#ask({ kind: "open", ...wish });
  }

  /**
   * Finds objects.
   *
   * @param {ImageBitmap} bitmap - goes to the worker and comes back in the answer
   * @param {number} [floor] - least score
   * @returns {Promise<object>} bitmap, width, height, milliseconds {before, network, after},
   *   detections [{box: corners in pixels, score, label}], the best first
   */
  detect(bitmap, floor = FLOOR) {
    return this.#ask({ kind: "detect", bitmap, floor }, [bitmap]);
  }

  close() {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Error("closed"));
    this.#waiting.clear();
  }

  #ask(message, transfer = []) {
    const id = message.kind === "open" ? undefined : ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...message, id }, transfer);
    });
  }

  #settle(answer) {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.kind === "failed") waiting?.reject(new Error(answer.reason));
    else waiting?.resolve(answer);
  }
}

/** Decodes a picture as Python does: turned as its camera says, colours as they are stored. */
export function decodePicture(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/** What `ghostyolo predict --json` writes of a picture. */
export function pictureRecord(name, width, height, detections, classNames) {
  const rounded = (value, digits) => Number(value.toFixed(digits));
  return {
    image: name,
    width,
    height,
    objects: detections.map(({ box, score, label }) => ({
      box_xyxy: box.map((corner) => rounded(corner, 2)),
      score: rounded(score, 5),
      class_id: label,
      class: classNames[label],
    })),
  };
}
