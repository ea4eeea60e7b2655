// Runs the network beside the page, so that the page never stalls.
//
// Messages in:  {kind: "open", runOn, threads}, then {kind: "detect", id, bitmap, floor}.
// Messages out: {kind: "opened", ...}, {kind: "detected", id, bitmap, detections, ...}, {kind: "failed", id, reason}.

import { boxToImage, networkInput, planLetterbox } from "./letterbox.js";
import { selectDetections } from "./selection.js";

const here = new URL(".", import.meta.url);
const MOST_THREADS = 4;
let ort, session, network;
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });

self.onmessage = async ({ data }) => {
  try {
    const result = data.kind === "open" ? await open(data) : await detect(data);
    self.postMessage(result, result.bitmap ? [result.bitmap] : []);
  } catch (error) {
    self.postMessage({ kind: "failed", id: data.id, reason: error?.message ?? String(error) });
  }
};

async function open({ runOn, threads }) {
  network = await (await fetched("detector.json")).json();
  const file = new Uint8Array(await (await fetched(network.file)).arrayBuffer());
  const gpu = await hasGpu();
  if (runOn === "webgpu" && !gpu) throw new Error("This browser offers no WebGPU here.");
  if (gpu && runOn !== "wasm") {
    try {
      ort = await import("./onnxruntime/ort.webgpu.min.mjs");
      await start(file, "webgpu", 1);
      return { kind: "opened", runOn: "webgpu", threads: 1, gpu };
    } catch (error) {
      if (runOn === "webgpu") throw error;
      console.warn("WebGPU cannot run this network; WebAssembly does:", error);
    }
  }
  // Threads share memory, which browsers allow only to pages that are isolated from others by two headers.
  const most = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency ?? 1) : 1;
  const count = Math.max(1, Math.min(threads ?? most, self.crossOriginIsolated ? 64 : 1));
  ort = await import("./onnxruntime/ort.wasm.min.mjs");
  await start(file, "wasm", count);
  return { kind: "opened", runOn: "wasm", threads: count, gpu };
}

async function start(file, provider, threads) {
  ort.env.wasm.wasmPaths = new URL("onnxruntime/", here).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(file, { executionProviders: [provider] });
  // The first run is several times slower than those after it: it is better spent while the page loads.
  const { width, height } = planLetterbox(network.imgsz, network.imgsz, network);
  await answer(new Float32Array(network.in_channels * height * width), width, height);
}

async function answer(input, width, height) {
  return session.run({ images: new ort.Tensor("float32", input, [1, network.in_channels, height, width]) });
}

async function fetched(name) {
  const answer = await fetch(new URL(name, here));
  if (!answer.ok) throw new Error(`${name} is missing beside this page (${answer.status}).`);
  return answer;
}

async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter.isFallbackAdapter && !adapter.info?.isFallbackAdapter;
}

async function detect({ id, bitmap, floor }) {
  const { width, height } = bitmap;
  const begin = performance.now();
  const plan = planLetterbox(width, height, network);
  const input = networkInput(pixelsOf(bitmap), plan, network);
  const ready = performance.now();
  const { boxes, scores } = await answer(input, plan.width, plan.height);
  const answered = performance.now();
  const limits = { confidence: floor, iou: network.iou, nms: network.nms };
  const detections = selectDetections(boxes.data, scores.data, network.class_names.length, limits)
    .map(({ box, score, label }) => ({ box: boxToImage(box, plan, width, height), score, label }))
    .filter(({ box }) => box[2] > box[0] && box[3] > box[1]);
  const milliseconds = { before: ready - begin, network: answered - ready, after: performance.now() - answered };
  return { kind: "detected", id, bitmap, width, height, detections, milliseconds };
}

function pixelsOf(bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}
