// ---- What the server says of its model, as boxtune.serving writes it ----

const { names, thresholds, limits } = JSON.parse(byId("data").textContent);

const LOWEST = 0.05;  // asked for from the server; the slider shows what is above it
const OTHERS = 0.5;  // the threshold of a class that the model does not name
const AT_A_TIME = 2;  // requests under way
const SHORTEST = 1280, LONGEST = 2048, FRAME_SIDE = 1280;  // pixels of what is drawn here, and of a frame that is sent
const MOST_DRAWN = 16_000_000;  // pixels of an image that is saved; more, and some browsers draw nothing
const MOST_ROWS = 50, MOST_ERRORS = 8, MOST_TRIES = 20;

const token = new URLSearchParams(location.search).get("token");
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const nextTurn = () => new Promise((resolve) => { requestAnimationFrame(resolve); });
const milliseconds = (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
const mebibytes = (bytes) => `${Math.ceil(10 * bytes / 2 ** 20) / 10} MiB`;

// ---- State ----

let images = [];  // { name, blob, answer: { width, height, detections, seconds }, error, ms, picture, cell }
let current = null;  // one of them, or the camera's last frame
let ownThresholds = true;
const hidden = new Set();  // names of classes

const scoreFrom = (name) => ownThresholds ? thresholds[name] ?? OTHERS : Number(byId("threshold").value);
const isShown = ({ name, score }) => !hidden.has(name) && score >= scoreFrom(name) - 1e-6;
const shownOf = (image) => (image?.answer?.detections ?? []).filter(isShown);
const colorOf = (name) => color(Math.max(names.indexOf(name), 0));

// ---- Asking the server ----

class Refused extends Error {}

/** Return what the server finds in an image; one that is busy is asked again. */
async function ask(blob, name) {
  if (blob.size > limits.image_bytes) {
    throw new Refused(`${name}: it has ${mebibytes(blob.size)}; this server takes ${mebibytes(limits.image_bytes)}. Choose a smaller one.`);
  }
  for (let tries = 1; ; tries++) {
    const response = await post(blob, name);
    if (response.status === 503 && tries < MOST_TRIES) {
      await wait(1000 * (Number(response.headers.get("Retry-After")) || 1));
      continue;
    }
    const answer = await response.json().catch(() => ({ error: `${name}: the server answers ${response.status}.` }));
    if (!response.ok) throw new Refused(answer.error);
    return answer.images[0];
  }
}
async function post(blob, name) {
  const body = new FormData();
  body.append("image", blob, name);
  try {
    return await fetch(`detect?min_score=${LOWEST}`, { method: "POST", body, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  } catch {
    throw new Refused(`${name}: the server does not answer. Is it still running?`);
  }
}

// ---- Images: sent a few at a time ----

const pending = [];
let underWay = 0, numAnswered = 0, startedAt = 0;

function add(files) {
  if (!files.length) return;
  stopCamera();
  if (!underWay) [startedAt, numAnswered] = [performance.now(), 0];
  const added = [...files].map((file) => ({ name: file.name || "pasted image", blob: file, answer: null, error: "", ms: 0 }));
  for (const image of added) {
    image.cell = element("button", { type: "button", "aria-label": image.name, click: () => look(image) }, "…");
    byId("strip").append(element("li", {}, image.cell));
  }
  images.push(...added);
  pending.push(...added);
  if (current === null || !images.includes(current)) look(added[0]);
  pump();
}
function pump() {
  while (underWay < AT_A_TIME && pending.length) {
    underWay++;
    send(pending.shift()).finally(() => { underWay--; pump(); });
  }
  tellProgress();
}
async function send(image) {
  const start = performance.now();
  try {
    image.answer = await ask(image.blob, image.name);
  } catch (error) {
    image.error = error.message;
    if (images.includes(image)) complain(image.error);
  }
  image.ms = performance.now() - start;
  numAnswered++;
  await showCell(image);
  if (image === current) await show();
}
function tellProgress() {
  const left = pending.length + underWay, seconds = (performance.now() - startedAt) / 1000;
  const speed = numAnswered > 1 ? `: ${(numAnswered / seconds).toFixed(1)} images/s` : "";
  if (left) say(`${many(left, "image")} to go.`);
  else if (numAnswered) say(`${many(numAnswered, "image")} in ${milliseconds(1000 * seconds)}${speed}.`);
}
const say = (text) => { byId("status").textContent = text; };

async function showCell(image) {
  image.cell.setAttribute("aria-label", image.error ? `${image.name}: failed` : image.name);
  image.cell.classList.toggle("failed", Boolean(image.error));
  const small = await createImageBitmap(image.blob, { resizeHeight: 144, resizeQuality: "medium" }).catch(() => null);
  if (!small) {
    image.cell.textContent = image.error ? "failed" : "no picture";
    return;
  }
  const canvas = element("canvas", { width: small.width, height: small.height, "aria-hidden": "true" });
  canvas.getContext("2d").drawImage(small, 0, 0);
  small.close();
  image.cell.replaceChildren(canvas);
}

function complain(message) {
  const item = element("li", {}, element("span", {}, message));
  item.append(element("button", { type: "button", class: "button plain", "aria-label": "Dismiss this error", click: () => item.remove() }, "×"));
  byId("errors").append(item);
  while (byId("errors").children.length > MOST_ERRORS) byId("errors").firstChild.remove();
}

function clear() {
  stopCamera();
  images = [];
  pending.length = 0;
  numAnswered = 0;
  current?.picture?.close?.();
  current = null;
  byId("strip").replaceChildren();
  byId("errors").replaceChildren();
  say("");
  show();
}

// ---- One image ----

async function look(image) {
  stopCamera();
  current?.picture?.close?.();
  if (current) current.picture = null;
  current = image;
  await show();
}

/** Show the current image; its pixels are decoded by the browser, and kept while it is shown. */
async function show() {
  const image = current;
  if (image?.blob && !image.picture) {
    const picture = await createImageBitmap(image.blob).catch(() => null);
    if (image !== current) {
      picture?.close();
      return;
    }
    image.picture = picture;
  }
  byId("results").hidden = image === null;
  byId("clear").hidden = !images.length;
  for (const one of images) {
    if (one === image) one.cell.setAttribute("aria-current", "true");
    else one.cell.removeAttribute("aria-current");
  }
  if (image) draw();
}

/** Draw the current image with what is shown of its detections, and tell of them. */
function draw() {
  const image = current, found = shownOf(image), canvas = byId("canvas");
  const { width, height } = sizeOf(image);
  const longest = Math.max(width, height);
  const scale = Math.min(LONGEST, Math.max(SHORTEST, longest)) / longest;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const perPixel = canvas.width / (canvas.clientWidth || canvas.width);  // of the canvas, for each of the screen
  paint(canvas, image, found, scale, perPixel);
  canvas.setAttribute("aria-label", `${image.name}: ${counted(found)}`);
  byId("name").replaceChildren(...breakable(image.name));
  byId("about").textContent = aboutOf(image);
  byId("count").textContent = digits.format(found.length);
  for (const id of ["png", "jpeg", "json"]) byId(id).disabled = !image.answer;
  showClasses();
  byId("table").replaceChildren(tableOf(image, found));
}
function sizeOf({ answer, picture }) {
  return answer ?? (picture ? { width: picture.width, height: picture.height } : { width: 640, height: 400 });
}
function counted(found) {
  const counts = Map.groupBy ? [...Map.groupBy(found, ({ name }) => name)] : [];
  return counts.map(([name, some]) => `${some.length} ${name}`).join(", ") || many(found.length, "detection");
}
function aboutOf({ answer, error, ms, picture, fps }) {
  if (error) return "No answer: see the error above.";
  if (!answer) return "Waiting for the server …";
  const size = `${answer.width} × ${answer.height} pixels`;
  const speed = fps ? `${fps.toFixed(1)} images/s, ` : "";
  const unseen = picture ? "" : " This browser cannot show the image itself.";
  return `${size}. ${speed}${milliseconds(ms)} there and back, ${milliseconds(1000 * answer.seconds)} of it at the server.${unseen}`;
}

/** Paint an image and boxes; lines are `unit` times two pixels of the canvas wide. */
function paint(canvas, image, found, scale, unit) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#2a2c2f";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (image.picture) context.drawImage(image.picture, 0, 0, canvas.width, canvas.height);
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const one of found.toReversed?.() ?? [...found].reverse()) paintBox(context, one, scale, unit);  // the best on top
}
function paintBox(context, { name, score, ymin, xmin, ymax, xmax }, scale, unit) {
  const [x, y, width, height] = [xmin, ymin, xmax - xmin, ymax - ymin].map((length) => length * scale);
  for (const [style, line] of [["rgb(0 0 0 / .5)", 4], [colorOf(name), 2]]) {
    context.strokeStyle = style;
    context.lineWidth = line * unit;
    context.strokeRect(x, y, width, height);
  }
  const label = `${name} ${Math.round(100 * score)}%`;
  const high = 19 * unit, wide = Math.min(context.measureText(label).width + 10 * unit, context.canvas.width);
  const left = Math.max(0, Math.min(x - unit, context.canvas.width - wide));
  const top = y >= high ? y - high : y;
  context.fillStyle = colorOf(name);
  context.fillRect(left, top, wide, high);
  context.fillStyle = "#10141c";
  context.fillText(label, left + 5 * unit, top + high / 2, wide - 8 * unit);
}

function tableOf(image, found) {
  if (!found.length) return element("p", { class: "empty" }, image.answer ? "Nothing reaches this score." : "");
  const heads = ["Class", "Score", "x", "y", "Width", "Height"];
  const rows = found.slice(0, MOST_ROWS).map(({ name, score, ymin, xmin, ymax, xmax }) => withHeads(element("tr", {},
    element("td", {}, element("span", { class: "swatch", "--color": colorOf(name) }), name),
    ...[score.toFixed(2), ...[xmin, ymin, xmax - xmin, ymax - ymin].map((length) => digits.format(Math.round(length)))]
      .map((text) => element("td", { class: "number" }, text))), heads));
  const head = element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", class: i ? "number" : null }, text)));
  const table = element("table", { class: "upright" }, element("thead", {}, head), element("tbody", {}, ...rows));
  const more = found.length - MOST_ROWS;
  return element("div", {}, scrolling("Detections, in pixels", table), more > 0 ? element("p", { class: "small muted" }, `and ${digits.format(more)} more`) : null);
}

// ---- Scores and classes ----

const classes = new Map();  // by name: its row's parts
function addClass(name) {
  const box = element("input", { type: "checkbox", checked: true, change: () => { hide(name, !box.checked); draw(); } });
  const count = element("span", { class: "pill" }, "0"), from = element("span", { class: "from" });
  const label = element("label", {}, box, element("span", { class: "swatch", "--color": colorOf(name) }), element("span", { class: "what" }, name), from, count);
  byId("classes").append(element("li", {}, label));
  classes.set(name, { box, count, from });
}
function hide(name, isHidden) {
  if (isHidden) hidden.add(name);
  else hidden.delete(name);
}
function showClasses() {
  const counts = new Map();
  for (const { name, score } of current?.answer?.detections ?? []) {
    if (!classes.has(name)) addClass(name);
    if (score >= scoreFrom(name) - 1e-6) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  for (const [name, { box, count, from }] of classes) {
    box.checked = !hidden.has(name);
    count.textContent = String(counts.get(name) ?? 0);
    from.textContent = `from ${scoreFrom(name).toFixed(2)}`;
  }
  byId("from").textContent = ownThresholds ? "the model's thresholds" : Number(byId("threshold").value).toFixed(2);
  byId("own").hidden = ownThresholds;
}
function hideAll(isHidden) {
  for (const name of classes.keys()) hide(name, isHidden);
  draw();
}

// ---- Saving ----

async function saveImage(type, ending) {
  const image = current, { width, height } = sizeOf(image);
  const scale = Math.min(1, Math.sqrt(MOST_DRAWN / (width * height)));
  const canvas = element("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
  paint(canvas, image, shownOf(image), scale, Math.max(1, Math.max(canvas.width, canvas.height) / 900));
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, type, 0.92); });
  if (blob) save(blob, `${plainName(image)}-detections.${ending}`);
  else complain(`${image.name}: this browser cannot save an image of ${width} × ${height} pixels.`);
}
function saveJson() {
  const all = images.includes(current) ? images : [current];
  const written = all.map((image) => image.answer
    ? { name: image.name, width: image.answer.width, height: image.answer.height, detections: shownOf(image) }
    : { name: image.name, error: image.error || "not answered yet" });
  save(new Blob([JSON.stringify({ images: written }, null, 1)], { type: "application/json" }), "detections.json");
}
const plainName = ({ name }) => name.replace(/\.\w+$/, "").replace(/[^\w.-]+/g, "_").slice(0, 80) || "image";
function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => { URL.revokeObjectURL(link.href); }, 10_000);
}

// ---- Camera: a frame is sent when the one before is answered, so that none pile up ----

let camera = null;  // { stream, devices }
async function startCamera(deviceId = null) {
  stopCamera();
  const wanted = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: "environment" } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...wanted, width: { ideal: FRAME_SIDE } } });
  } catch (error) {
    complain(`The camera: ${{ NotAllowedError: "this page may not use it. Allow it in the browser's settings.", NotFoundError: "there is none." }[error.name] ?? error.message}`);
    return;
  }
  camera = { stream };
  const video = byId("video");
  video.srcObject = stream;
  await video.play().catch(() => {});
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  if (camera?.stream !== stream) return;
  byId("camera").textContent = "Stop the camera";
  byId("camera").setAttribute("aria-pressed", "true");
  byId("other-camera").hidden = devices.length < 2;
  camera.devices = devices.map((device) => device.deviceId);
  say("The camera is on.");
  watch(camera);
}
function stopCamera() {
  if (!camera) return;
  for (const track of camera.stream.getTracks()) track.stop();
  camera = null;
  byId("video").srcObject = null;
  byId("camera").textContent = "Use the camera";
  byId("camera").removeAttribute("aria-pressed");
  byId("other-camera").hidden = true;
  say("The camera is off.");
}
function otherCamera() {
  const used = camera.stream.getVideoTracks()[0].getSettings().deviceId;
  startCamera(camera.devices[(camera.devices.indexOf(used) + 1) % camera.devices.length]);
}

async function watch(own) {
  const video = byId("video");
  let fps = 0;
  while (camera === own) {
    await nextTurn();  // never, while the page is not seen
    if (camera !== own || !video.videoWidth) continue;
    const start = performance.now(), picture = frameOf(video);
    try {
      const blob = await new Promise((resolve) => { picture.toBlob(resolve, "image/jpeg", 0.85); });
      const answer = await ask(blob, "camera.jpg");
      if (camera !== own) return;
      const ms = performance.now() - start;
      fps = fps ? 0.8 * fps + 0.2 * (1000 / ms) : 1000 / ms;
      current = { name: "Camera", answer, ms, fps, picture };
      await show();
    } catch (error) {
      if (camera !== own) return;
      complain(error.message);
      stopCamera();
    }
  }
}
function frameOf(video) {
  const scale = Math.min(1, FRAME_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = element("canvas", { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// ---- The controls ----

for (const name of names) addClass(name);
const asked = `curl ${token ? '-H "Authorization: Bearer $TOKEN" ' : ""}-F image=@photo.jpg ${new URL("detect", location.href.split("?")[0])}`;
byId("programs").append(card("From a program", "The answer is JSON; the images are in its order.", element("pre", { tabindex: "0" }, asked)));
byId("all-or-none").hidden = names.length < 2;
byId("threshold").value = names.length ? Math.min(...names.map((name) => thresholds[name])) : OTHERS;
showClasses();
if (!navigator.mediaDevices?.getUserMedia) {
  byId("camera").disabled = true;
  byId("no-camera").hidden = false;
}

byId("files").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = "";  // so that the same files can be chosen again
});
byId("camera").addEventListener("click", () => { camera ? stopCamera() : startCamera(); });
byId("other-camera").addEventListener("click", otherCamera);
byId("clear").addEventListener("click", clear);
byId("threshold").addEventListener("input", () => { ownThresholds = false; draw(); });
byId("own").addEventListener("click", () => { ownThresholds = true; draw(); });
byId("all").addEventListener("click", () => hideAll(false));
byId("none").addEventListener("click", () => hideAll(true));
byId("png").addEventListener("click", () => saveImage("image/png", "png"));
byId("jpeg").addEventListener("click", () => saveImage("image/jpeg", "jpg"));
byId("json").addEventListener("click", saveJson);

document.addEventListener("paste", (event) => { add(event.clipboardData.files); });
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
addEventListener("resize", () => { if (current) draw(); });
