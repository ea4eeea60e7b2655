// The page: files, camera and video in; boxes, counts and JSON out.

import { decodePicture, Detector, FLOOR, pictureRecord } from "./detector.js";
import { drawDetections } from "./drawing.js";

const MOST_DETECTIONS = 300; // as in Python
const MANY_CLASSES = 12;
const by = (id) => document.getElementById(id);
const wish = new URLSearchParams(location.search); // ?run-on=wasm&threads=2

let network, detector;
let source = null; // {name, video or null, frame, stop()}: what is looked at
let latest = null; // the last answer of the detector, with its bitmap
const hidden = new Set(); // labels that are not shown
let ticks = []; // times of the last answers

await start();

async function start() {
  try {
    network = await (await fetch("detector.json")).json();
    describe();
    await open(wish.get("run-on") ?? undefined);
    say(source ? "" : "Ready.");
    for (const id of ["open", "camera", "run-on"]) by(id).disabled = false;
    by("example").hidden = !network.example;
    connect();
  } catch (error) {
    complain(`The detector cannot be loaded: ${error.message}`);
  }
}

async function open(runOn) {
  detector?.close();
  detector = new Detector();
  const opened = await detector.open({ runOn, threads: Number(wish.get("threads")) || undefined });
  const names = { wasm: "WebAssembly", webgpu: "WebGPU" };
  const threads = opened.runOn === "wasm" ? `, ${opened.threads} ${opened.threads === 1 ? "thread" : "threads"}` : "";
  by("engine").textContent = names[opened.runOn] + threads;
  by("engine").title = self.crossOriginIsolated ? "" : "The server sends no COOP and COEP headers, so there is one thread.";
  by("engine").hidden = false;
  by("run-on").replaceChildren(...(opened.gpu ? ["webgpu", "wasm"] : ["wasm"]).map((one) => new Option(names[one], one)));
  by("run-on").value = opened.runOn;
}

function describe() {
  document.title = by("title").textContent = `${network.title} detector`;
  const { class_names: names, confidence } = network;
  by("threshold").value = confidence;
  by("about").textContent = `${network.model}, ${names.length} ${names.length === 1 ? "class" : "classes"}, ` +
    `${network.imgsz} pixels. Made with ghostyolo ${network.version}; ONNX Runtime Web ${network.runtime} (MIT).` +
    network.licences.map((line) => ` ${line}.`).join("");
  by("search").hidden = names.length <= MANY_CLASSES;
  by("classes").replaceChildren(...names.map((name, label) => {
    const item = document.createElement("li");
    const row = item.appendChild(document.createElement("label"));
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    box.onchange = () => { hidden[box.checked ? "delete" : "add"](label); show(); };
    const colour = Object.assign(document.createElement("span"), { className: "colour" });
    colour.style.background = network.colours[label % network.colours.length];
    row.append(box, colour, Object.assign(document.createElement("span"), { className: "name", textContent: name }),
      document.createElement("output"));
    return item;
  }));
}

function connect() {
  const view = by("view");
  by("open").onclick = by("empty").onclick = () => by("file").click();
  by("file").onchange = () => { take(by("file").files); by("file").value = ""; };
  by("camera").onclick = useCamera;
  by("example").onclick = async () => take([new File([await (await fetch(network.example)).blob()], network.example)]);
  by("stop").onclick = stop;
  by("threshold").oninput = show;
  by("download").onclick = download;
  by("all").onclick = () => chooseAll(true);
  by("none").onclick = () => chooseAll(false);
  by("search").oninput = () => {
    const wanted = by("search").value.trim().toLowerCase();
    network.class_names.forEach((name, label) => {
      by("classes").children[label].hidden = !name.toLowerCase().includes(wanted);
    });
  };
  by("run-on").onchange = changeEngine;
  by("play").onclick = () => (source.video.paused ? source.video.play() : source.video.pause());
  by("seek").oninput = () => { source.video.currentTime = by("seek").value * source.video.duration; };
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && source?.stop) stop(); });
  addEventListener("dragover", (event) => { event.preventDefault(); by("dropping").hidden = false; });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) by("dropping").hidden = true; });
  addEventListener("drop", (event) => {
    event.preventDefault();
    by("dropping").hidden = true;
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
    else complain("That was no file: drop a picture or a video of this device.");
  });
  new ResizeObserver(() => show()).observe(view);
  show();
}

function chooseAll(checked) {
  hidden.clear();
  network.class_names.forEach((_, label) => {
    by("classes").children[label].querySelector("input").checked = checked;
    if (!checked) hidden.add(label);
  });
  show();
}

async function changeEngine() {
  by("run-on").disabled = true;
  say("Starting.");
  try {
    await open(by("run-on").value);
    say("Ready.");
    if (source?.picture) await look(source, source.picture);
    else if (source?.video) watch(source);
  } catch (error) {
    complain(error.message);
  }
  by("run-on").disabled = false;
}

/** Looks at the first of these files. */
async function take(files) {
  const file = files[0];
  const rest = files.length > 1 ? ` (the first of ${files.length} files)` : "";
  if (file.type.startsWith("video/")) return watchFile(file, rest);
  let bitmap;
  try {
    bitmap = await decodePicture(file);
  } catch {
    return complain(`${file.name} is no picture or video that this browser can read.`);
  }
  bitmap.close();
  stop();
  source = { name: file.name, video: null, picture: file };
  say(`${file.name}${rest}`);
  return look(source, file);
}

async function look(from, picture) {
  try {
    settle(from, await detector.detect(await decodePicture(picture)));
  } catch (error) {
    if (error.message !== "closed") complain(error.message);
  }
}

async function watchFile(file, rest) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, loop: false });
  const url = (video.src = URL.createObjectURL(file));
  try {
    await video.play();
  } catch {
    URL.revokeObjectURL(url);
    return complain(`${file.name} is no video that this browser can play.`);
  }
  stop();
  source = { name: file.name, video, stop: () => { video.pause(); URL.revokeObjectURL(url); } };
  video.onplay = video.onpause = () => { by("play").textContent = video.paused ? "Play" : "Pause"; };
  by("player").hidden = false;
  say(`${file.name}${rest}`);
  return watch(source);
}

async function useCamera() {
  if (!navigator.mediaDevices) {
    return complain("The browser gives the camera to pages from https or localhost only.");
  }
  let stream;
  try {
    const video = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } };
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    const reasons = { NotAllowedError: "its use was refused", NotFoundError: "there is none", NotReadableError: "another program uses it" };
    return complain(`The camera cannot be used: ${reasons[error.name] ?? error.message}.`);
  }
  stop();
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, srcObject: stream });
  source = { name: "camera", video, stop: () => stream.getTracks().forEach((track) => track.stop()) };
  stream.getVideoTracks()[0].onended = () => { if (source?.video === video) { stop(); complain("The camera was taken away."); } };
  await video.play();
  say("Camera");
  return watch(source);
}

/** Looks at the newest frame of a video again and again, until another source is chosen. */
async function watch(from) {
  const { video } = from;
  const engine = detector;
  by("stop").hidden = by("rate-box").hidden = false;
  let seen = -1;
  while (source === from && detector === engine) {
    if (video.currentTime === seen || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
      await new Promise(requestAnimationFrame);
      continue;
    }
    seen = video.currentTime;
    try {
      const answer = await engine.detect(await createImageBitmap(video));
      if (source === from) settle(from, answer, seen);
    } catch (error) {
      if (error.message === "closed") return;
      stop();
      return complain(error.message);
    }
  }
}

function settle(from, answer, seconds) {
  if (source !== from) return answer.bitmap.close();
  latest?.bitmap.close();
  latest = { ...answer, seconds };
  const { before, network: inside, after } = answer.milliseconds;
  by("milliseconds").textContent = (before + inside + after).toFixed(0);
  by("milliseconds").title = `before the network ${before.toFixed(1)}, network ${inside.toFixed(1)}, after ${after.toFixed(1)} ms`;
  const now = performance.now();
  ticks = [...ticks.filter((tick) => now - tick < 3000), now];
  if (ticks.length > 1) by("rate").textContent = (1000 * (ticks.length - 1) / (now - ticks[0])).toFixed(1);
  if (seconds !== undefined && Number.isFinite(from.video.duration)) {
    by("seek").value = seconds / from.video.duration;
    by("time").textContent = `${clock(seconds)} / ${clock(from.video.duration)}`;
  }
  return show();
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** The detections that the threshold and the chosen classes leave. */
function shown() {
  const confidence = Math.max(Number(by("threshold").value), FLOOR);
  return latest.detections.filter(({ score, label }) => score > confidence && !hidden.has(label)).slice(0, MOST_DETECTIONS);
}

function show() {
  by("threshold-value").textContent = `${Math.round(100 * by("threshold").value)} %`;
  if (!latest) return;
  const detections = shown();
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  by("count").textContent = detections.length;
  network.class_names.forEach((_, label) => {
    const row = by("classes").children[label];
    row.querySelector("output").textContent = counts.get(label) ?? "";
    row.classList.toggle("found", counts.has(label));
  });
  const words = [...counts].map(([label, count]) => `${network.class_names[label]}: ${count}`);
  by("canvas").setAttribute("aria-label", `${source?.name ?? "picture"}. ${words.join(", ") || "nothing found"}`);
  if (source && !source.video) say(`${source.name}. ${words.join(", ") || "nothing found"}`);
  by("canvas").hidden = false;
  by("empty").hidden = true;
  by("download").disabled = false;
  drawDetections(by("canvas"), latest.bitmap, detections, network);
}

function download() {
  const record = pictureRecord(source?.name ?? "picture", latest.width, latest.height, shown(), network.class_names);
  if (latest.seconds !== undefined) record.seconds = Number(latest.seconds.toFixed(3));
  const blob = new Blob([JSON.stringify([record], null, 2) + "\n"], { type: "application/json" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "detections.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Stops camera or video; what was found last stays to be looked at. */
function stop() {
  source?.stop?.();
  source = source && { name: source.name, video: null, picture: source.picture };
  ticks = [];
  by("stop").hidden = by("player").hidden = by("rate-box").hidden = true;
}

function say(text) {
  by("message").textContent = text;
  by("message").classList.remove("wrong");
}

function complain(text) {
  say(text);
  by("message").classList.add("wrong");
}
