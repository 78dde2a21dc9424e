// ---- The data: columns, as boxtune.report.data_page writes them ----

const data = JSON.parse(document.getElementById("data").textContent);

const images = {
  name: data.images.name,
  part: integers(data.images.part),
  width: integers(data.images.width),
  height: integers(data.images.height),
  preview: integers(data.images.preview),  // 0, or the number of the preview from 1 on
  objects: integers(data.images.objects),  // those of image p: from objects[p] to objects[p + 1]
};
const objects = {
  class: integers(data.objects.class),
  box: floats(data.objects.box),  // four fractions each: ymin, xmin, ymax, xmax
  flags: integers(data.objects.flags),
};
const findings = { ...data.findings, kind: integers(data.findings.kind) };
const fit = data.fit && {
  ...data.fit, shape: floats(data.fit.shape), size: floats(data.fit.size), iou: floats(data.fit.iou),
};
const doubts = data.doubts && {
  ...data.doubts, kind: integers(data.doubts.kind), score: floats(data.doubts.score), image: integers(data.doubts.image),
  object: integers(data.doubts.object),  // the doubted object, counted from 1 on; 0 where a label is missing
  seen: integers(data.doubts.seen),  // the class that the model sees, counted from 1 on; 0 where it sees nothing
  seenScore: floats(data.doubts.seen_score), seenBox: floats(data.doubts.seen_box),
};
const classes = data.classes.name, kinds = data.kinds, parts = data.parts;
const numImages = images.name.length, numObjects = objects.class.length;
const FLAGS = ["difficult", "truncated", "crowd", "group"];

const objectsOf = (image) => range(images.objects[image], images.objects[image + 1]);
const numObjectsOf = (image) => images.objects[image + 1] - images.objects[image];

const imageOf = new Uint32Array(numObjects);
for (let p = 0; p < numImages; p++) imageOf.fill(p, images.objects[p], images.objects[p + 1]);

// Findings and images, both ways.
const imagesOf = [], findingsOf = new Map();
{
  const links = integers(data.findings.links), linked = integers(data.findings.images);
  findings.kind.forEach((_, finding) => {
    imagesOf.push(Array.from(linked.subarray(links[finding], links[finding + 1])));
    for (const image of imagesOf[finding]) {
      if (!findingsOf.has(image)) findingsOf.set(image, []);
      findingsOf.get(image).push(finding);
    }
  });
}

// Of each image its doubts, the strongest first, as all of them are.
const doubtsOf = new Map();
for (const [doubt, image] of (doubts?.image ?? []).entries()) {
  if (!doubtsOf.has(image)) doubtsOf.set(image, []);
  doubtsOf.get(image).push(doubt);
}

/** Width and height of an object in pixels of its image. */
function pixels(object) {
  const image = imageOf[object];
  const [ymin, xmin, ymax, xmax] = objects.box.subarray(4 * object, 4 * object + 4);
  return [(xmax - xmin) * images.width[image], (ymax - ymin) * images.height[image]];
}
function area(object) {
  const [width, height] = pixels(object);
  return width * height;
}
const unmatched = (object) => fit !== null && fit.iou[object] < fit.threshold;

// ---- State ----

const NEUTRAL = { view: "overview", search: "", class: "", part: "", finding: "", doubt: "", size: "", fit: "", sort: "", zoom: "", open: "" };
const FILTERS = ["search", "class", "part", "finding", "doubt", "size", "fit"], KEPT = [];
const NO_FILTERS = Object.fromEntries([...FILTERS, "sort"].map((name) => [name, ""]));
const VIEWS = { overview: showOverview, findings: showFindings, ...(doubts && { doubts: showDoubts }), images: showGallery };

// Filters that are neither a class nor a finding: no name of those has a line break.
const EMPTY = "\nempty", ANY = "\nany", NONE = "\nnone";
const MEANINGFUL = {
  __proto__: null,
  search: () => true,
  class: (value) => value === EMPTY || classes.includes(value),
  part: (value) => parts.includes(value),
  finding: (value) => value === ANY || value === NONE || kinds.some((kind) => kind.name === value),
  doubt: (value) => doubts !== null && (value === ANY || doubts.kinds.includes(value)),
  size: (value) => Object.hasOwn(SIZES, value),
  fit: (value) => fit !== null && value === "unmatched",
  sort: (value) => Object.hasOwn(SORTS, value),
  zoom: (value) => Number(value) > 0,
  open: (value) => /^\d+$/.test(value) && Number(value) < numImages,
};

// ---- Choosing images ----

let emphasized = () => true;  // of an object: does it fit the filters?

const chosenBy = () => JSON.stringify([...FILTERS, "sort"].map((name) => state[name]));
function chooseImages() {
  const ofObject = objectTests();
  emphasized = (object) => ofObject.every((test) => test(object));
  const tests = imageTests();
  if (ofObject.length) tests.push((image) => objectsOf(image).some(emphasized));
  const fitting = range(0, numImages).filter((image) => tests.every((test) => test(image)));
  return state.sort ? sortedBy(fitting, SORTS[state.sort].key) : fitting;
}

const SIZES = {
  small: { name: "Small, below 32² pixels", fits: (size) => size < 32 ** 2 },
  medium: { name: "Medium, 32² to 96²", fits: (size) => size >= 32 ** 2 && size <= 96 ** 2 },
  large: { name: "Large, above 96²", fits: (size) => size > 96 ** 2 },
};
const SORTS = {
  objects: { name: "Most objects first", key: (image) => -numObjectsOf(image) },
  smallest: { name: "Smallest object first", key: (image) => least(image, area) },
  ...(doubts && { doubt: { name: "Most doubtful first", key: (image) => doubtsOf.get(image)?.find(fitsDoubt) ?? Infinity } }),
  ...(fit && { fit: { name: "Worst anchor first", key: (image) => least(image, (object) => fit.iou[object]) } }),
};

function least(image, key) {
  let lowest = Infinity;
  for (let o = images.objects[image]; o < images.objects[image + 1]; o++) {
    if (emphasized(o)) lowest = Math.min(lowest, key(o));
  }
  return lowest;
}

function objectTests() {
  const tests = [];
  const number = classes.indexOf(state.class);
  if (number >= 0) tests.push((object) => objects.class[object] === number);
  if (state.size) tests.push((object) => SIZES[state.size].fits(area(object)));
  if (state.fit) tests.push(unmatched);
  return tests;
}
function imageTests() {
  const tests = [nameTest()].filter(Boolean);
  const part = parts.indexOf(state.part);
  if (part >= 0) tests.push((image) => images.part[image] === part);
  if (state.class === EMPTY) tests.push((image) => numObjectsOf(image) === 0);
  if (state.finding) tests.push(findingTest());
  if (state.doubt) tests.push((image) => doubtsOf.get(image)?.some(fitsDoubt));
  return tests;
}
const fitsDoubt = (doubt) => ["", ANY, doubts.kinds[doubts.kind[doubt]]].includes(state.doubt);
function findingTest() {
  if (state.finding === ANY) return (image) => findingsOf.has(image);
  if (state.finding === NONE) return (image) => !findingsOf.has(image);
  const number = kinds.findIndex((kind) => kind.name === state.finding);
  return (image) => findingsOf.get(image)?.some((finding) => findings.kind[finding] === number);
}

// ---- Overview ----

function showOverview() {
  const view = byId("overview");
  if (view.childElementCount) return;
  view.append(figures(), element("div", { class: "cards" },
    classCard(), element("div", { class: "stack" }, countCard(), ratioCard()), sizeCard(), fit && fitCard()));
}

function figures() {
  const rows = [
    ["Images", numImages], ["Objects", numObjects], ["Classes", classes.length],
    ...["error", "warning", "note"].map((severity) => {
      const number = findings.kind.reduce((sum, kind) => sum + (kinds[kind].severity === severity), 0);
      return [`${severity[0].toUpperCase()}${severity.slice(1)}s`, number];
    }),
  ];
  return element("dl", { class: "figures" }, ...rows.map(([name, number]) =>
    element("div", {}, element("dt", {}, name),
      element("dd", { class: name === "Errors" && number ? "error" : null }, digits.format(number)))));
}

function classCard() {
  const counts = classes.map(() => ({ objects: parts.map(() => 0), images: 0, last: -1 }));
  objects.class.forEach((number, object) => {
    const image = imageOf[object], count = counts[number];
    count.objects[images.part[image]]++;
    if (count.last !== image) count.images++;
    count.last = image;
  });
  const total = (number) => counts[number].objects.reduce((sum, count) => sum + count, 0);
  const order = range(0, classes.length).sort((a, b) => total(b) - total(a) || a - b);
  const most = Math.max(1, ...order.slice(0, 1).map(total));
  const body = element("tbody");
  const heads = ["Class", ...(parts.length > 1 ? [...parts, "total"] : ["objects"]), "images"];
  const table = element("table", { class: "upright" }, element("thead", {}, element("tr", {},
    ...heads.map((head, i) => element("th", { scope: "col", class: i ? "number" : null }, head)),
    element("th", { class: "fraction", "aria-hidden": "true" }))), body);
  const made = card("Classes", null, partLine(), scrolling("Table of classes", table));
  made.append(listing(body, order, (number) => withHeads(classRow(number, counts[number], total(number), most), [...heads, ""]), 15, 200));
  made.classList.add("wide");
  return made;
}

function partLine() {
  const numbers = parts.map((_, part) => images.part.reduce((sum, other) => sum + (other === part), 0));
  return parts.length > 1 ? element("p", {}, parts.map((name, i) => `${many(numbers[i], "image")} in ${name}`).join(", ")) : null;
}

function classRow(number, count, total, most) {
  const filter = () => go({ ...NO_FILTERS, view: "images", class: classes[number] }, { push: true });
  const name = element("button", { type: "button", class: "link", click: filter },
    element("span", { class: "swatch", "--color": color(number) }), element("span", {}, classes[number]));
  const unknown = number < data.classes.known ? null : element("span", { class: "badge error" }, "not in the label map");
  const columns = [...(parts.length > 1 ? count.objects : []), total, count.images];
  const bar = element("span", { "--color": color(number) });
  bar.style.width = `${100 * total / most}%`;
  return element("tr", {}, element("td", {}, name, unknown),
    ...columns.map((value) => element("td", { class: "number" }, digits.format(value))),
    element("td", { class: "fraction", "aria-hidden": "true" }, bar));
}

/** Return a histogram: counts with a text each, and ticks [fraction of the width, text]. */
function histogram(label, counts, texts, ticks, low = () => false) {
  const highest = Math.max(1, ...counts);
  const bars = counts.map((count, i) => {
    const height = count ? `max(2px, ${100 * count / highest}%)` : "0px";
    return element("span", { title: `${texts[i]}: ${digits.format(count)}`, class: low(i) ? "low" : null, "--height": height });
  });
  const marks = ticks.map(([fraction, text]) => {
    const mark = element("span", { class: fraction <= 0.001 || fraction >= 0.999 ? "edge" : null }, text);
    mark.style.left = `${100 * fraction}%`;
    return mark;
  });
  const summary = counts.map((count, i) => count && `${texts[i]}: ${digits.format(count)}`).filter(Boolean).join("; ");
  return element("div", {}, element("div", { class: "bars", role: "img", "aria-label": `${label}. ${summary}` }, ...bars),
    element("div", { class: "ticks", "aria-hidden": "true" }, ...marks));
}

function quantile(sorted, fraction) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))] : 0;
}

/** The least of 1, 2, 5, 10, 20, 50, ... that is `step` or more. */
function roundStep(step) {
  for (let unit = 1; ; unit *= 10) {
    for (const factor of [1, 2, 5]) if (factor * unit >= step) return factor * unit;
  }
}

function countCard() {
  const numbers = Uint32Array.from(range(0, numImages), numObjectsOf);
  const sorted = numbers.slice().sort();
  const most = sorted.at(-1) ?? 0;
  const step = roundStep((most + 1) / 30), bins = Math.floor(most / step) + 1;
  const counts = Array(bins).fill(0);
  for (const number of numbers) counts[Math.floor(number / step)]++;
  const texts = counts.map((_, i) => `${step > 1 ? `${i * step} to ${(i + 1) * step - 1}` : i} objects`);
  const every = Math.max(1, Math.ceil(bins / 8));
  const ticks = range(0, bins).filter((i) => i % every === 0).map((i) => [(i + 0.5) / bins, String(i * step)]);
  const about = `Half of the images have ${many(quantile(sorted, 0.5), "object")} or fewer, one has ${digits.format(most)}.`;
  return card("Objects in an image", numImages ? about : "There is no image.", histogram("Objects in an image", counts, texts, ticks));
}

/** Width and height of an object in [0, 1]: as the detector sees it if there are anchors, else within its image. */
function fractions(object) {
  if (fit) return [fit.size[2 * object + 1], fit.size[2 * object]];
  const [ymin, xmin, ymax, xmax] = objects.box.subarray(4 * object, 4 * object + 4);
  return [xmax - xmin, ymax - ymin];
}

function ratioCard() {
  const perOctave = 4, octaves = 3;
  const counts = Array(2 * perOctave * octaves).fill(0);
  const bin = (ratio) => Math.max(0, Math.min(counts.length - 1, Math.floor((Math.log2(ratio) + octaves) * perOctave)));
  for (let object = 0; object < numObjects; object++) {
    const [width, height] = fit ? fractions(object) : pixels(object);
    counts[bin(width / height)]++;
  }
  const named = (exponent) => exponent < 0 ? `1:${+(2 ** -exponent).toFixed(1)}` : `${+(2 ** exponent).toFixed(1)}:1`;
  const texts = counts.map((_, i) => `${named(i / perOctave - octaves)} to ${named((i + 1) / perOctave - octaves)}`);
  const ticks = range(-octaves, octaves + 1).map((exponent) => [(exponent + octaves) / (2 * octaves), named(exponent)]);
  const anchors = fit ? [...new Set(range(0, fit.shape.length / 2).map((s) => named(Math.log2(fit.shape[2 * s + 1] / fit.shape[2 * s]))))] : [];
  const about = fit
    ? `Width to height, as the detector sees them. Its anchors have ${anchors.slice(0, 8).join(", ")}.`
    : "Width to height, in pixels.";
  return card("Shapes", about, histogram("Width to height", counts, texts, ticks));
}

function fitCard() {
  const bins = 20, counts = Array(bins).fill(0);
  for (const iou of fit.iou) counts[Math.min(bins - 1, Math.floor(iou * bins))]++;
  const missed = range(0, numObjects).filter(unmatched).sort((a, b) => fit.iou[a] - fit.iou[b]);
  const texts = counts.map((_, i) => `IoU ${(i / bins).toFixed(2)} to ${((i + 1) / bins).toFixed(2)}`);
  const ticks = range(0, 6).map((i) => [i / 5, (i / 5).toFixed(1)]);
  const made = card("Objects and anchors", fitText(missed.length), histogram("Best IoU of every object with an anchor", counts, texts, ticks,
    (i) => (i + 1) / bins <= fit.threshold + 1e-9), missed.length ? missedCrops(missed) : null);
  made.classList.add("wide");
  return made;
}

function fitText(numMissed) {
  const threshold = +fit.threshold.toFixed(3);
  if (threshold === 0) return "The matcher has no threshold: every anchor is trained on the object that it overlaps most.";
  if (numMissed === 0) return `Every object overlaps an anchor with an IoU of ${threshold} or more.`;
  return `${many(numMissed, "object")} of ${digits.format(numObjects)} (${percent(numMissed / numObjects)}) overlap no anchor with an IoU of`
    + ` ${threshold} or more. Training holds at most the nearest anchor against each of them, so they are learnt slowly or not at all:`
    + " other scales or aspect ratios of the anchors, or a larger input, would help.";
}

function missedCrops(missed) {
  const filter = { ...NO_FILTERS, fit: "unmatched", sort: "fit" };
  const list = element("ul", { class: "crops", "aria-label": "Objects without an anchor" });
  const few = innerWidth < 600 ? 6 : 18;
  const more = listing(list, missed, (object) => crop(object, () => openObject(object, filter)), few);
  const numIn = new Set(missed.map((object) => imageOf[object])).size;
  const all = button(`Show ${many(numIn, "image")}`, () => go({ ...filter, view: "images" }, { push: true }));
  return element("div", {}, list, element("div", { class: "row" }, all, more));
}

/** Return an object with some of its surroundings, cut from its preview. */
function crop(object, click) {
  const size = pixels(object), name = classes[objects.class[object]], iou = fit.iou[object].toFixed(2);
  const label = `${name}, ${by(size)} pixels, best IoU ${iou}, in ${images.name[imageOf[object]]}`;
  return element("li", {}, element("button", { type: "button", click, "aria-label": label },
    cutout(imageOf[object], [[boxOf(object), "line", color(objects.class[object])]]),
    element("span", {}, name), element("br"), element("span", { class: "muted" }, `IoU ${iou} · ${by(size)}`)));
}
const boxOf = (object) => objects.box.subarray(4 * object, 4 * object + 4);

/** Return a square piece of a preview around some boxes: each its four fractions, the class of its line and its color. */
function cutout(image, boxes) {
  const width = images.width[image], height = images.height[image];
  const ymin = height * Math.min(...boxes.map(([box]) => box[0])), xmin = width * Math.min(...boxes.map(([box]) => box[1]));
  const ymax = height * Math.max(...boxes.map(([box]) => box[2])), xmax = width * Math.max(...boxes.map(([box]) => box[3]));
  const side = 1.5 * Math.max(xmax - xmin, ymax - ymin);
  const view = [(xmin + xmax - side) / 2, (ymin + ymax - side) / 2, side, side];
  return drawing("svg", { viewBox: view.join(" "), "aria-hidden": "true" },
    drawing("image", { href: preview(image), width, height, preserveAspectRatio: "none" }),
    ...boxes.flatMap(([[top, left, bottom, right], name, shade]) => ["halo", name].map((line) => drawing("rect", { class: line, "--color": shade,
      x: left * width, y: top * height, width: (right - left) * width, height: (bottom - top) * height }))));
}

// ---- Box sizes: width against height, on logarithmic axes ----

function sizeCard() {
  const canvas = element("canvas", { role: "img", "aria-label": sizeSummary() });
  const tip = element("div", { class: "tip", hidden: true });
  const plot = element("div", { class: "plot" }, canvas, tip);
  const whole = fit ? "the detector's input" : "the image";
  const legend = element("p", { class: "legend" },
    fit && element("span", { class: "cross" }, many(fit.shape.length / 2, "anchor shape")),
    fit && range(0, numObjects).some(unmatched) ? element("span", { class: "ring" }, "no anchor is near enough") : null,
    element("span", {}, "Click on a point to see it in its image."));
  const made = card("Sizes", `Width against height of every object, as fractions of ${whole}. ${sizeSummary()}`, plot, sizeButtons(), legend);
  const chart = new SizeChart(canvas);
  new ResizeObserver(() => chart.draw()).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.draw());
  canvas.addEventListener("pointermove", (event) => showTip(tip, chart.nearest(event), chart));
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("click", (event) => {
    const object = chart.nearest(event);
    if (object >= 0) openObject(object, NO_FILTERS);
  });
  return made;
}

function showTip(tip, object, chart) {
  tip.hidden = object < 0;
  if (object < 0) return;
  const iou = fit ? `, IoU ${fit.iou[object].toFixed(2)}` : "";
  tip.textContent = `${classes[objects.class[object]]}, ${by(pixels(object))} px${iou}`;
  const [x, y] = chart.place(object);
  tip.style.left = `${Math.max(90, Math.min(chart.canvas.clientWidth - 90, x))}px`;
  tip.style.top = `${y}px`;
}

function sizeSummary() {
  const sides = range(0, numObjects).map((object) => Math.sqrt(area(object))).sort((a, b) => a - b);
  if (!sides.length) return "There is no object.";
  const [low, middle, high] = [0.1, 0.5, 0.9].map((fraction) => Math.round(quantile(sides, fraction)));
  return `In pixels of the images, half of the objects are smaller than ${middle}², and four in five lie between ${low}² and ${high}².`;
}

function sizeButtons() {
  const counts = Object.fromEntries(Object.keys(SIZES).map((name) => [name, 0]));
  for (let object = 0; object < numObjects; object++) {
    const size = area(object);
    for (const name in SIZES) counts[name] += SIZES[name].fits(size);
  }
  return element("div", { class: "row" }, ...Object.keys(SIZES).map((name) =>
    button(`${digits.format(counts[name])} ${name}`, () => go({ ...NO_FILTERS, view: "images", size: name }, { push: true }),
      { title: SIZES[name].name, disabled: !counts[name], "aria-label": `${digits.format(counts[name])} objects: ${SIZES[name].name}. Show the images` })));
}

class SizeChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.low = 1;
    this.high = 1;
    for (let object = 0; object < numObjects; object++) this.low = Math.min(this.low, ...fractions(object));
    if (fit) this.high = Math.max(1, ...fit.shape);
    this.low = Math.log(Math.min(0.1, Math.max(0.001, this.low)) * 0.9);
    this.high = Math.log(this.high * 1.08);
  }

  x(fraction) { return this.left + (Math.log(fraction) - this.low) / (this.high - this.low) * (this.right - this.left); }
  y(fraction) { return this.bottom - (Math.log(fraction) - this.low) / (this.high - this.low) * (this.bottom - this.top); }
  place(object) {
    const [width, height] = fractions(object);
    return [this.x(Math.max(width, 0.001)), this.y(Math.max(height, 0.001))];
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const scale = devicePixelRatio;
    [this.canvas.width, this.canvas.height] = [width * scale, height * scale];
    [this.left, this.top, this.right, this.bottom] = [60, 8, width - 10, height - 40];
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    this.drawAxes(pen);
    this.drawObjects(pen);
    if (fit) this.drawAnchors(pen);
  }

  drawAxes(pen) {
    const style = getComputedStyle(document.documentElement);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillStyle = style.getPropertyValue("--muted");
    pen.strokeStyle = style.getPropertyValue("--line");
    for (const fraction of [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1].filter((fraction) => Math.log(fraction) >= this.low)) {
      const x = Math.round(this.x(fraction)) + 0.5, y = Math.round(this.y(fraction)) + 0.5;
      line(pen, [x, this.top, x, this.bottom], [this.left, y, this.right, y]);
      const text = `${+(100 * fraction).toFixed(1)}%`;
      pen.textAlign = "center";
      pen.fillText(text, x, this.bottom + 17);
      pen.textAlign = "right";
      pen.fillText(text, this.left - 7, y + 4);
    }
    pen.setLineDash([3, 4]);
    line(pen, [this.left, this.bottom, this.right, this.top]);
    pen.setLineDash([]);
    pen.textAlign = "center";
    pen.fillText("width", (this.left + this.right) / 2, this.bottom + 35);
    pen.save();
    pen.translate(11, (this.top + this.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("height", 0, 0);
    pen.restore();
  }

  drawObjects(pen) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const radius = numObjects > 2000 ? 2 : 3;
    pen.globalAlpha = Math.max(0.12, Math.min(0.75, 600 / numObjects));
    const shades = classes.map((_, number) => dark ? color(number) : `color-mix(in oklab, ${color(number)}, black 22%)`);
    const late = [];
    for (let object = 0; object < numObjects; object++) {
      const [x, y] = this.place(object);
      pen.fillStyle = shades[objects.class[object]];
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
      if (unmatched(object)) late.push([x, y]);
    }
    pen.globalAlpha = Math.max(0.08, Math.min(0.9, 600 / Math.max(1, late.length)));
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--error");
    pen.lineWidth = 1.5;
    for (const [x, y] of late) {
      pen.beginPath();
      pen.arc(x, y, radius + 1.5, 0, 7);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
  }

  drawAnchors(pen) {
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    pen.lineWidth = 2;
    for (let s = 0; s < fit.shape.length; s += 2) {
      const x = this.x(fit.shape[s + 1]), y = this.y(fit.shape[s]);
      line(pen, [x - 5, y, x + 5, y], [x, y - 5, x, y + 5]);
    }
  }

  /** The object nearest a pointer, -1 if none is near. */
  nearest(event) {
    let best = -1, least = 14 ** 2;
    for (let object = 0; object < numObjects; object++) {
      const [x, y] = this.place(object);
      const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (distance < least) [best, least] = [object, distance];
    }
    return best;
  }
}

function line(pen, ...lines) {
  pen.beginPath();
  for (const [x1, y1, x2, y2] of lines) {
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
  }
  pen.stroke();
}

// ---- Findings ----

const SEVERITIES = { error: "Errors", warning: "Warnings", note: "Notes" };

function showFindings() {
  const view = byId("findings");
  if (view.childElementCount) return;
  const byKind = kinds.map(() => []);
  for (const [finding, kind] of findings.kind.entries()) byKind[kind].push(finding);
  for (const [severity, title] of Object.entries(SEVERITIES)) {
    const found = range(0, kinds.length).filter((kind) => kinds[kind].severity === severity && byKind[kind].length);
    if (!found.length) continue;
    view.append(element("h2", { class: "severity" }, title), ...found.map((kind) => kindCard(kinds[kind], byKind[kind])));
  }
  if (!findings.kind.length) view.append(element("p", { class: "empty" }, "Everything is as it should be: there are no findings."));
}

function kindCard(kind, members) {
  const seen = new Set(members.flatMap((finding) => imagesOf[finding]));
  const filter = { ...NO_FILTERS, finding: kind.name };
  const list = element("ul", { class: "places" });
  const fill = () => { if (!list.childElementCount) list.after(listing(list, members, (finding) => place(finding, filter), 50)); };
  return element("article", { class: "kind", "aria-label": kind.name },
    element("header", {}, element("span", { class: `badge ${kind.severity}` }, kind.severity),
      element("h3", {}, kind.name), element("span", { class: "pill" }, digits.format(members.length))),
    element("p", { class: "advice" }, kind.advice),
    kind.flags ? element("p", { class: "flags" }, "To copy: ", element("code", {}, kind.flags)) : null,
    element("p", { class: "action" }, "What convert does: ", element("b", {}, kind.action)),
    seen.size ? button(`Show ${many(seen.size, "image")}`, () => go({ ...filter, view: "images" }, { push: true }),
      { "aria-label": `Show ${many(seen.size, "image")}: ${kind.name}` }) : null,
    element("details", { toggle: fill, open: members.length <= 3 }, element("summary", {}, many(members.length, "finding")), list));
}

function place(finding, filter) {
  const image = imagesOf[finding][0];
  const where = [findings.file[finding], findings.location[finding]].filter((part) => part && part !== ".").join(", ");
  return element("li", {},
    image === undefined ? null : element("button", { type: "button", class: "thumb", "aria-label": `Look at ${images.name[image]}`,
      click: () => openImage(image, filter) }, thumbnail(image)),
    element("div", {}, where ? element("div", { class: "where" }, ...breakable(where)) : null, element("div", {}, ...breakable(findings.message[finding]))));
}

// ---- Doubts: labels against which a model speaks ----

const seenBoxOf = (doubt) => doubts.seenBox.subarray(4 * doubt, 4 * doubt + 4);
const seenOf = (doubt) => `${classes[doubts.seen[doubt] - 1]} ${doubts.seenScore[doubt].toFixed(2)}`;

/** What is doubted, in a sentence. */
function doubtText(doubt) {
  const label = doubts.object[doubt] ? classes[objects.class[doubts.object[doubt] - 1]] : "";
  return {
    missing: () => `The model sees ${seenOf(doubt)} where nothing is labelled.`,
    surplus: () => `The model sees no ${label} here.`,
    "wrong class": () => `The label is ${label}, the model sees ${seenOf(doubt)}.`,
    misplaced: () => `The model sees ${seenOf(doubt)} elsewhere than the label ${label}.`,
  }[doubts.kinds[doubts.kind[doubt]]]();
}

let doubtsShown = null;  // the kind whose doubts are listed

function showDoubts() {
  const view = byId("doubts");
  if (view.childElementCount && doubtsShown === state.doubt) return;
  doubtsShown = state.doubt;
  const some = range(0, doubts.kind.length).filter(fitsDoubt);
  const list = element("ul", { class: "crops doubts", "aria-label": "Doubts, the strongest first" });
  const more = listing(list, some, doubtCard, 24, 120);
  view.replaceChildren(...[
    ...doubts.about.map((text) => element("p", { class: "doubts-about" }, text)),
    doubts.kind.length ? kindButtons() : null,
    doubts.kind.length ? element("p", { class: "legend" }, element("span", { class: "labelled" }, "label"), element("span", { class: "sees" }, "what the model sees")) : null,
    list, more, some.length ? null : element("p", { class: "empty" }, "The model doubts no label."),
  ].filter(Boolean));
}

function kindButtons() {
  const counts = doubts.kinds.map((_, kind) => doubts.kind.reduce((sum, other) => sum + (other === kind), 0));
  const choice = (value, text, number) => button(`${text} `, () => go({ doubt: value }),
    { "aria-pressed": String(state.doubt === value || (value === "" && state.doubt === ANY)), disabled: !number, "aria-label": `${text}: ${many(number, "doubt")}` });
  const made = [choice("", "All", doubts.kind.length), ...doubts.kinds.map((kind, i) => choice(kind, kind, counts[i]))];
  [doubts.kind.length, ...counts].forEach((number, i) => { made[i].append(element("span", { class: "pill" }, digits.format(number))); });
  return element("div", { class: "row kinds", role: "group", "aria-label": "Kind of doubt" }, ...made);
}

function doubtCard(doubt) {
  const image = doubts.image[doubt], object = doubts.object[doubt] - 1, kind = doubts.kinds[doubts.kind[doubt]];
  const boxes = [
    ...(object >= 0 ? [[boxOf(object), "line", color(objects.class[object])]] : []),
    ...(doubts.seen[doubt] ? [[seenBoxOf(doubt), "seen", "#fff"]] : []),
  ];
  const open = () => { openImage(image, { ...NO_FILTERS, doubt: state.doubt || ANY, sort: "doubt" }); if (object >= 0) setHot(object); };
  const label = `${kind}, ${doubts.score[doubt].toFixed(2)}: ${doubtText(doubt)} ${images.name[image]}`;
  return element("li", {}, element("button", { type: "button", click: open, "aria-label": label }, cutout(image, boxes),
    element("b", {}, `${kind} ${doubts.score[doubt].toFixed(2)}`), element("br"), element("span", {}, doubtText(doubt)), element("br"),
    element("span", { class: "muted" }, basename(images.name[image]))));
}

// ---- Images ----

function makeFilters() {
  const counted = (name, number) => `${name} (${digits.format(number)})`;
  const ofClass = new Uint32Array(classes.length), ofPart = new Uint32Array(parts.length), ofKind = new Map();
  for (const number of objects.class) ofClass[number]++;
  for (const part of images.part) ofPart[part]++;
  for (const members of findingsOf.values()) {
    for (const kind of new Set(members.map((finding) => kinds[findings.kind[finding]].name))) ofKind.set(kind, (ofKind.get(kind) ?? 0) + 1);
  }
  const size = Object.entries(SIZES).map(([value, { name }]) => [value, name]);
  const sort = Object.entries(SORTS).map(([value, { name }]) => [value, name]);
  const found = [...ofKind].map(([name, number]) => [name, counted(name, number)]);
  byId("filters").append(...[
    searchBox(),
    unfolder(),
    control("class", "Class", select(["All", ""], classes.map((name, i) => [name, counted(name, ofClass[i])]), [[EMPTY, "Without objects"]])),
    parts.length > 1 ? control("part", "Part", select(["All", ""], parts.map((name, i) => [name, counted(name, ofPart[i])]))) : null,
    control("finding", "Finding", select(["With or without", ""], [[ANY, counted("With any", findingsOf.size)], [NONE, "Without"]], found)),
    doubts ? control("doubt", "Doubt", select(["With or without", ""], [[ANY, counted("With any", doubtsOf.size)]], doubts.kinds.map((kind) => [kind, kind]))) : null,
    control("size", "Object size", select(["All", ""], size)),
    fit ? control("fit", "Anchors", select(["All objects", ""], [["unmatched", "Without an anchor"]])) : null,
    control("sort", "Order", select(["As read", ""], sort)),
  ].filter(Boolean));
}

const CAPTION = 26;
const GALLERY_COVER = { narrow: 100, wide: 150 };

function makeCell(position, width, height) {
  const image = chosen[position], name = images.name[image], severity = worst(image);
  const number = numObjectsOf(image), about = findingsOf.get(image)?.length ?? 0;
  return galleryCell(position, width, height, {
    label: `${name}, ${many(number, "object")}${about ? `, ${many(about, "finding")}` : ""}`,
    drawn: overlay(image),
    below: element("span", { class: "caption" }, severity ? element("span", { class: `dot ${severity}` }) : null,
      element("span", { class: "name" }, basename(name)), element("span", {}, digits.format(number))),
  });
}

function worst(image) {
  const severities = new Set(findingsOf.get(image)?.map((finding) => kinds[findings.kind[finding]].severity));
  return Object.keys(SEVERITIES).find((severity) => severities.has(severity)) ?? null;
}

/** Draw the boxes of an image: one path for each class, so that a thousand boxes are few elements. */
function overlay(image, shown = () => true) {
  const byClass = new Map(), others = [];
  for (const object of objectsOf(image)) {
    if (!shown(object)) continue;
    const number = objects.class[object];
    if (!emphasized(object)) others.push(object);
    else if (byClass.has(number)) byClass.get(number).push(object);
    else byClass.set(number, [object]);
  }
  const path = (members, name, number) => drawing("path", { class: name, d: members.map(outline).join(""), "--color": color(number) });
  return drawing("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    others.length ? path(others, "other", 0) : null,
    ...[...byClass].flatMap(([number, members]) => [path(members, "halo", number), path(members, "line", number)]),
    ...seenPaths(image));
}
/** What the model sees, where that is doubted which is labelled. */
function seenPaths(image) {
  const seen = (doubtsOf.get(image) ?? []).filter((doubt) => doubts.seen[doubt] && fitsDoubt(doubt));
  if (!seen.length) return [];
  const d = seen.map((doubt) => outlined(seenBoxOf(doubt))).join("");
  return [drawing("path", { class: "halo", d }), drawing("path", { class: "seen", d })];
}
const outline = (object) => outlined(boxOf(object));
function outlined([ymin, xmin, ymax, xmax]) {
  return `M${xmin.toFixed(5)} ${ymin.toFixed(5)}H${xmax.toFixed(5)}V${ymax.toFixed(5)}H${xmin.toFixed(5)}Z`;
}

// ---- One image ----

const hidden = new Set();  // objects whose boxes are switched off
let hot = -1;  // the object that the pointer or the keyboard is at

function openObject(object, filters) {
  openImage(imageOf[object], filters);
  setHot(object);
}

function showImage(image) {
  hidden.clear();
  hot = -1;
  showHead(image, [parts.length > 1 ? parts[images.part[image]] : "",
    `${by([images.width[image], images.height[image]])} pixels`, many(numObjectsOf(image), "object")]);
  byId("image-doubts").replaceChildren(...(doubtsOf.get(image) ?? []).filter(fitsDoubt).slice(0, 100).map(aboutDoubt));
  byId("image-findings").replaceChildren(...(findingsOf.get(image) ?? []).slice(0, 100).map(aboutImage));
  byId("objects").replaceChildren();
  byId("more-objects").replaceChildren(listing(byId("objects"), objectsOf(image), objectRow, 100));
  byId("objects").parentElement.scrollTop = 0;
  drawFrame();
}

function aboutImage(finding) {
  const kind = kinds[findings.kind[finding]];
  return element("li", { class: kind.severity }, element("b", {}, `${kind.severity}: ${kind.name}`), findings.message[finding]);
}

function aboutDoubt(doubt) {
  const object = doubts.object[doubt] - 1;
  return element("li", { class: "warning", pointerenter: () => setHot(object), pointerleave: () => setHot(-1) },
    element("b", {}, `${doubts.kinds[doubts.kind[doubt]]} ${doubts.score[doubt].toFixed(2)}`), doubtText(doubt));
}

function objectRow(object) {
  const name = classes[objects.class[object]];
  const flags = FLAGS.filter((_, bit) => objects.flags[object] >> bit & 1).join(", ");
  const box = element("input", { type: "checkbox", "aria-label": `Box of ${name}, ${by(pixels(object))} pixels`,
    input: () => toggle(object, box.checked), focus: () => setHot(object) });
  box.checked = !hidden.has(object);
  const iou = fit && element("span", { class: unmatched(object) ? "iou bad" : "iou" }, `IoU ${fit.iou[object].toFixed(2)}`);
  return element("li", { "data-object": object, pointerenter: () => setHot(object), pointerleave: () => setHot(-1) },
    element("label", {}, box, element("span", { class: "swatch", "--color": color(objects.class[object]) }),
      element("span", { class: "what" }, name, flags ? element("span", { class: "muted small" }, ` ${flags}`) : null),
      element("span", { class: "size" }, `${by(pixels(object))} px`), iou));
}

function toggle(object, visible) {
  if (visible) hidden.delete(object);
  else hidden.add(object);
  drawFrame();
}

function drawFrame() {
  const frame = byId("frame");
  frame.style.setProperty("--aspect", images.width[viewed] / images.height[viewed]);
  const drawn = overlay(viewed, (object) => !hidden.has(object));
  if (hot >= 0 && !hidden.has(hot)) drawn.append(drawing("path", { class: "hot", d: outline(hot) }));
  const source = preview(viewed);
  const img = source ? element("img", { src: source, alt: `${images.name[viewed]}, ${many(numObjectsOf(viewed), "object")}` }) : noPreview();
  const old = frame.querySelector("img");
  frame.replaceChildren(old && old.src === source ? old : img, drawn, names());
}

/** Return the names of the boxes; where they would hide the image, only that of the box pointed at. */
function names() {
  const visible = objectsOf(viewed).filter((object) => !hidden.has(object) && emphasized(object));
  const { clientWidth, clientHeight } = byId("frame");
  const few = byId("labels").checked && visible.length * 6000 < clientWidth * clientHeight ? visible : [];
  const named = hot >= 0 && !few.includes(hot) && !hidden.has(hot) ? [...few, hot] : few;
  return element("div", { class: "labels", "aria-hidden": "true" }, ...named.map((object) => {
    const [ymin, xmin] = objects.box.subarray(4 * object, 4 * object + 2);
    const label = element("span", { class: ymin < 0.04 ? "inside" : null, "--color": color(objects.class[object]) }, classes[objects.class[object]]);
    label.style.left = `${100 * xmin}%`;
    label.style.top = `${100 * ymin}%`;
    return label;
  }));
}

function setHot(object) {
  if (hot === object || viewed < 0) return;
  hot = object;
  for (const row of byId("objects").children) row.classList.toggle("hot", Number(row.dataset.object) === hot);
  drawFrame();
}

/** The smallest box under the pointer. */
function pointedAt(event) {
  const frame = byId("frame").getBoundingClientRect();
  const x = (event.clientX - frame.left) / frame.width, y = (event.clientY - frame.top) / frame.height;
  const under = objectsOf(viewed).filter((object) => {
    const [ymin, xmin, ymax, xmax] = objects.box.subarray(4 * object, 4 * object + 4);
    return xmin <= x && x <= xmax && ymin <= y && y <= ymax && !hidden.has(object);
  });
  return under.length ? under.reduce((best, other) => area(other) < area(best) ? other : best) : -1;
}

function watchFrame() {
  byId("frame").addEventListener("pointermove", (event) => setHot(pointedAt(event)));
  byId("frame").addEventListener("pointerleave", () => setHot(-1));
  byId("frame").addEventListener("click", (event) => {
    setHot(pointedAt(event));
    byId("objects").querySelector(".hot")?.scrollIntoView({ block: "nearest" });
  });
}

// ---- Keyboard and switches ----

function switchBoxes(visible) {
  document.documentElement.classList.toggle("no-boxes", !visible);
  byId("boxes").checked = byId("all-boxes").checked = visible;
}
function switchNames(visible) {
  byId("labels").checked = visible;
  if (viewed >= 0) drawFrame();
}

const KEYS = {
  b: () => switchBoxes(!byId("boxes").checked),
  n: () => switchNames(!byId("labels").checked),
};

// ---- Start ----

function listenHere() {
  byId("clear").addEventListener("click", () => go({ ...NO_FILTERS, sort: state.sort }));
  byId("boxes").addEventListener("input", (event) => switchBoxes(event.target.checked));
  byId("all-boxes").addEventListener("input", (event) => switchBoxes(event.target.checked));
  byId("labels").addEventListener("input", (event) => switchNames(event.target.checked));
  watchFrame();
}

/** Put in the previews that had not been read yet when the page was first drawn. */
function complete() {
  clearCells();
  byId("overview").replaceChildren();
  byId("findings").replaceChildren();
  byId("doubts").replaceChildren();
  if (viewed >= 0) drawFrame();
  show();
}

byId("num-findings").textContent = digits.format(findings.kind.length);
byId("num-doubts").textContent = digits.format(doubts?.kind.length ?? 0);
byId("to-doubts").hidden = doubts === null;
byId("num-images").textContent = digits.format(numImages);
tellOfPreviews("those with findings came first, the others were drawn");
makeFilters();
start(KEYS);
