// ---- The data: columns, as boxtune.report.evaluation_page writes them ----

const data = JSON.parse(byId("data").textContent);
const classes = data.classes, kinds = data.kinds;
const CORRECT = kinds.indexOf("correct"), IGNORED = kinds.indexOf("ignored");

const images = {
  name: data.images.name,
  width: integers(data.images.width),
  height: integers(data.images.height),
  preview: integers(data.images.preview),  // 0, or the number of the preview from 1 on
};
const numImages = images.name.length;
const groundtruth = {
  start: integers(data.groundtruth.start),  // objects of image p: from start[p] to start[p + 1]
  box: floats(data.groundtruth.box),  // four pixels each: ymin, xmin, ymax, xmax
  class: integers(data.groundtruth.class),
  flags: integers(data.groundtruth.flags),  // 1: crowd, 2: difficult
};
const numObjects = groundtruth.class.length;
const isCounted = (object) => groundtruth.flags[object] === 0;
const runs = data.runs.map(decodeRun);

function decodeRun(run) {
  const start = integers(run.start), score = floats(run.score);
  const match = absolute(integers(run.match), start), confusion = absolute(integers(run.confusion), start);
  return {
    ...run, start, score, match, confusion, AP50: floats(run.AP50), box: floats(run.box), class: integers(run.class),
    kind: integers(run.kind), iou: floats(run.iou), foundAt: bestScores(match, score), pairedAt: bestScores(confusion, score),
  };
}
/** Objects numbered within their image from 1 on, as numbers within all; -1 for none. */
function absolute(column, start) {
  const numbers = new Int32Array(column.length);
  for (let p = 0; p < numImages; p++) {
    for (let d = start[p]; d < start[p + 1]; d++) numbers[d] = column[d] ? groundtruth.start[p] + column[d] - 1 : -1;
  }
  return numbers;
}
/** The score with which each object is found, -Infinity if it is not. */
function bestScores(found, score) {
  const best = new Float64Array(numObjects).fill(-Infinity);
  found.forEach((object, d) => { if (object >= 0) best[object] = Math.max(best[object], score[d]); });
  return best;
}

/** Classes, those with most objects first. */
const frequent = range(0, classes.length).sort((a, b) => runs[0].per_class[b].num_objects - runs[0].per_class[a].num_objects || a - b);
const run = () => runs[Number(state.run)];
/** What a run is called: of two, the first is the new one. */
const titleOf = (of) => runs.length === 1 ? of.title : `${of === runs[0] ? "Now" : "Before"}: ${of.title}`;
const inTime = (some) => [...some].reverse();
const threshold = () => Math.fround(Number(state.threshold));  // as exact as the scores are
const isWrong = (of, d) => of.kind[d] !== CORRECT && of.kind[d] !== IGNORED;
const isMissed = (of, object) => isCounted(object) && of.foundAt[object] < threshold();

/** Call `visit` with every detection of an image that reaches the threshold. */
function eachKept(of, image, visit) {
  const least = threshold();
  for (let d = of.start[image]; d < of.start[image + 1] && of.score[d] >= least; d++) visit(d);
}
function eachObject(image, visit) {
  for (let object = groundtruth.start[image]; object < groundtruth.start[image + 1]; object++) visit(object);
}

// ---- Counting at a threshold ----

const BACKGROUND = classes.length;  // the last row and column of the matrix
const counted = new Map();  // from a run to its counts at the threshold last asked for

function counts(of) {
  const known = counted.get(of);
  if (known?.at === state.threshold) return known;
  const made = { at: state.threshold, kinds: new Float64Array(kinds.length), matrix: new Float64Array((BACKGROUND + 1) ** 2),
    correct: new Float64Array(classes.length), wrong: new Float64Array(classes.length), missed: new Float64Array(classes.length) };
  for (let p = 0; p < numImages; p++) eachKept(of, p, (d) => countDetection(of, d, made));
  for (let object = 0; object < numObjects; object++) countObject(of, object, made);
  counted.set(of, made);
  return made;
}
function countDetection(of, d, made) {
  const pair = of.confusion[d];
  made.kinds[of.kind[d]]++;
  if (of.kind[d] === CORRECT) made.correct[of.class[d]]++;
  else if (of.kind[d] !== IGNORED) made.wrong[of.class[d]]++;
  if (pair < 0) made.matrix[BACKGROUND * (BACKGROUND + 1) + of.class[d]]++;
  else if (isCounted(pair)) made.matrix[groundtruth.class[pair] * (BACKGROUND + 1) + of.class[d]]++;
}
function countObject(of, object, made) {
  if (!isCounted(object)) return;
  if (of.foundAt[object] < threshold()) made.missed[groundtruth.class[object]]++;
  if (of.pairedAt[object] < threshold()) made.matrix[groundtruth.class[object] * (BACKGROUND + 1) + BACKGROUND]++;
}
const sum = (array) => array.reduce((total, value) => total + value, 0);
const ratio = (part, whole) => whole ? part / whole : null;

/** Precision, recall and F1; null where there is nothing to take the fraction of. */
function quality(correct, wrong, missed) {
  return { precision: ratio(correct, correct + wrong), recall: ratio(correct, correct + missed),
    f1: correct + wrong + missed ? 2 * correct / (2 * correct + wrong + missed) : null };
}
function totals(of) {
  const { correct, wrong, missed } = counts(of);
  const all = { correct: sum(correct), wrong: sum(wrong), missed: sum(missed) };
  return { ...all, ...quality(all.correct, all.wrong, all.missed) };
}
function ofClass(of, number) {
  const { correct, wrong, missed } = counts(of);
  return quality(correct[number], wrong[number], missed[number]);
}

/** The scores that a threshold may have: 0 to 1, or what there is. */
const bounds = { low: 0, high: 1 };
for (const of of runs) {
  for (const score of of.score) {
    bounds.low = Math.min(bounds.low, score);
    bounds.high = Math.max(bounds.high, score);
  }
}
/** Precision, recall and F1 of a class (-1: of all) at a hundred thresholds. */
function tradeOff(of, number) {
  const { low, high } = bounds, bins = 100;
  const found = new Float64Array(bins + 1), mistaken = new Float64Array(bins + 1);
  const bin = (score) => Math.max(0, Math.min(bins, Math.floor((score - low) / (high - low) * bins + 1e-6)));
  of.kind.forEach((kind, d) => {
    if (kind === IGNORED || number >= 0 && of.class[d] !== number) return;
    (kind === CORRECT ? found : mistaken)[bin(of.score[d])]++;
  });
  let objects = 0, correct = 0, wrong = 0;
  for (let t = 0; t < numObjects; t++) objects += isCounted(t) && (number < 0 || groundtruth.class[t] === number);
  return range(0, bins + 1).reverse().map((b) => {
    correct += found[b];
    wrong += mistaken[b];
    return { at: low + b / bins * (high - low), ...quality(correct, wrong, objects - correct) };
  }).reverse();
}

/** The point of the highest F1, null if nothing is right at any threshold. */
const bestTradeOff = (of, number) => tradeOff(of, number).reduce((best, point) => point.f1 > (best?.f1 ?? 0) ? point : best, null);

// ---- Words ----

const NONE_TEXT = "–";
const isNumber = (value) => value !== null && value !== undefined && value >= 0;
const fixed = (value, places = 3) => isNumber(value) ? value.toFixed(places) : NONE_TEXT;
const sign = (value) => value < 0 ? "−" : value > 0 ? "+" : "";
const signed = (value, places = 3) => value === null ? NONE_TEXT : `${sign(value)}${Math.abs(value).toFixed(places)}`;
const shownScore = (value) => String(+Number(value).toFixed(3));

const KINDS = {
  __proto__: null,
  correct: ["Correct", "Right class, and the box overlaps the object well enough (IoU 0.5 or more)."],
  class: ["Wrong class", "The box is right, the class is not."],
  localization: ["Localization", "The class is right, but the box overlaps the object too little (IoU 0.1 to 0.5)."],
  "class and localization": ["Class and localization", "There is an object near, but of another class and not where the box is."],
  duplicate: ["Found twice", "A better scored detection has found this object already."],
  background: ["Nothing there", "There is no object near the box."],
  missed: ["Missed", "An object that no detection of its class finds."],
  ignored: ["Does not count", "It is about a crowd or an object that is marked difficult."],
};
const kindName = (kind) => KINDS[kind]?.[0] ?? kind;

const METRICS = [
  [/^DetectionBoxes_Precision\/mAP$/, "mAP", "How right boxes and classes are, from 0 to 1:"
    + " precision averaged over recalls, classes, and ten demands on the overlap."],
  [/Precision\/mAP@\.50IOU$/, "mAP at IoU 0.5", "The same with a loose demand: a box that overlaps its object by half is right."],
  [/Precision\/mAP@\.75IOU$/, "mAP at IoU 0.75", "The same with a strict demand: boxes have to fit closely."],
  [/Recall\/AR@100$/, "Recall (AR@100)", "The fraction of objects found by up to 100 detections an image, averaged over the ten IoUs."],
  [/mAP@0\.5IOU$/, "mAP at IoU 0.5", "Precision averaged over recalls and classes; a box that overlaps its object by half is right."],
  [/CorLoc/, "CorLoc", "The fraction of images of a class in which one of its objects is found."],
  [/\(small\)$/, "", "Of objects smaller than 32² pixels."],
  [/\(medium\)$/, "", "Of objects between 32² and 96² pixels."],
  [/\(large\)$/, "", "Of objects larger than 96² pixels."],
];
const metricWords = (tag) => METRICS.find(([pattern]) => pattern.test(tag)) ?? [null, "", ""];
const metricName = (tag) => metricWords(tag)[1] || tag;
const HEADLINES = [
  "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU", "DetectionBoxes_Precision/mAP@.75IOU", "DetectionBoxes_Recall/AR@100",
];
function headlines(of) {
  const known = HEADLINES.filter((tag) => tag in of.metrics);
  return known.length ? known : Object.keys(of.metrics).filter((tag) => !/ByCategory|PerClass/.test(tag)).slice(0, 4);
}
const between = ([low, high], shown = (value) => value.toFixed(2)) => `95 % confidence interval ${shown(low)} to ${shown(high)}`;

/** 0.5; where nothing right scores that much, the threshold of the highest F1. */
function usualThreshold() {
  if (runs.some((of) => of.kind.some((kind, d) => kind === CORRECT && of.score[d] >= 0.5))) return "0.5";
  const best = bestTradeOff(runs[0], -1);
  return best ? shownScore(best.at) : "0.5";
}

// ---- State ----

const VIEWS = { results: showResults, confusions: showConfusions, ...(runs.length > 1 && { comparison: showComparison }), images: showImages };
const NEUTRAL = {
  view: "results", search: "", class: "", kind: "", pair: "", scores: "", change: "", sort: "", zoom: "", open: "",
  run: "0", curve: "", threshold: usualThreshold(),
};
const FILTERS = ["search", "class", "kind", "pair", "scores", "change"], KEPT = ["threshold", "run", "curve"];
const NO_FILTERS = Object.fromEntries([...FILTERS, "sort"].map((name) => [name, ""]));

const below = (value, end) => /^\d{1,9}$/.test(value) && Number(value) < end;
const finite = (value) => value.trim() !== "" && Number.isFinite(Number(value));
const MEANINGFUL = {
  __proto__: null,
  search: () => true,
  class: (value) => below(value, classes.length),
  kind: (value) => value === "mistake" || value === "none" || value === "missed" || kinds.includes(value),
  pair: (value) => {
    const [there, found, ...more] = value.split(">");
    const known = (part) => part === "" || below(part, classes.length);
    return more.length === 0 && value.length > 1 && found !== undefined && known(there) && known(found);
  },
  scores: (value) => value.split("~").length === 2 && value.split("~").every(finite),
  change: (value) => runs.length > 1 && ["fixed", "broken"].includes(value),
  sort: (value) => Object.hasOwn(SORTS, value),
  zoom: (value) => Number(value) > 0,
  open: (value) => below(value, numImages),
  run: (value) => below(value, runs.length),
  curve: (value) => below(value, classes.length),
  threshold: finite,
};
const toImages = (filters) => go({ ...NO_FILTERS, ...filters, view: "images" }, { push: true });

// ---- The threshold ----

const thresholdStep = (bounds.high - bounds.low) / 100;

function makeThresholds() {
  for (const input of document.querySelectorAll("[data-threshold]")) {
    [input.min, input.max, input.step] = [bounds.low, bounds.high, thresholdStep];
    input.addEventListener("input", () => slide(input.value));
    input.addEventListener("change", () => setThreshold(input.value));
  }
  if (runs.length === 1) return;
  byId("run").append(...runs.map((of, i) => element("option", { value: String(i) }, titleOf(of))));
  byId("run").addEventListener("input", (event) => go({ run: event.target.value }));
  byId("run").hidden = byId("to-comparison").hidden = false;
}

/** Boxes and counts follow the slider at once; which images are shown is decided when it is let go. */
let sliding = 0;
function slide(value) {
  state = { ...state, threshold: shownScore(value) };
  cancelAnimationFrame(sliding);
  sliding = requestAnimationFrame(() => {
    refresh();
    if (state.view === "images") {
      clearCells();
      renderCells();
    }
    if (viewed >= 0) showImage(viewed);
  });
}
function moveThreshold(steps) {
  const moved = Number(state.threshold) + steps * thresholdStep;
  setThreshold(Math.max(bounds.low, Math.min(bounds.high, moved)));
}
function setThreshold(value) {
  go({ threshold: shownScore(value) });
  if (viewed >= 0) showImage(viewed);
}

/** Draw all that depends on the threshold, or the run, but the images. */
const live = { results: [], confusions: [], comparison: [], images: [] };
function refresh() {
  for (const input of document.querySelectorAll("[data-threshold]")) input.value = state.threshold;
  for (const output of document.querySelectorAll("[data-threshold-value]")) output.textContent = shownScore(state.threshold);
  byId("run").value = state.run;
  byId("counts").replaceChildren(...countWords(totals(run())));
  for (const draw of live[state.view]) draw();
}
function countWords({ correct, wrong, missed, precision, recall, f1 }) {
  const pair = (name, value, less) => element("div", { class: less ? "less" : null }, element("dt", {}, name), element("dd", {}, value));
  return [pair("correct", digits.format(correct)), pair("wrong", digits.format(wrong)), pair("missed", digits.format(missed)),
    pair("precision", fixed(precision, 2), true), pair("recall", fixed(recall, 2), true), pair("F1", fixed(f1, 2))];
}
/** Draw now, and whenever the threshold or the run changes while `view` is shown. */
function follow(view, draw) {
  live[view].push(draw);
  return draw;
}

// ---- Tables ----

const head = (name, note) => element("span", {}, name, element("span", { class: "note" }, note));
const numberCell = (...content) => element("td", { class: "number" }, ...content);
const headRow = (heads) => element("thead", {}, element("tr", {}, ...heads.map((head, i) =>
  element("th", { scope: "col", class: i ? "number" : null }, head))));
const table = (label, heads, body) => scrolling(label, element("table", {}, heads && headRow(heads), body));
const link = (text, click, attributes = {}) => element("button", { type: "button", class: "link", ...attributes, click }, text);

/** Return a table of classes. Columns: name, title, value of a class (to sort by), cell (its content). */
function sortable(label, columns, { sort, few = 25 }) {
  const body = element("tbody"), more = element("div");
  let by = sort, descending = true;
  const heads = columns.map(({ name, title, text }) => element("th", { scope: "col", class: text ? null : "number", title: title ?? null },
    element("button", { type: "button", click: () => turn(name) }, name)));
  function turn(name) {
    descending = by === name ? !descending : !columns.find((column) => column.name === name).text;
    by = name;
    draw();
  }
  function draw() {
    const sorting = columns.find((column) => column.name === by);
    for (const [i, { name }] of columns.entries()) {
      heads[i].setAttribute("aria-sort", name !== by ? "none" : descending ? "descending" : "ascending");
    }
    const order = range(0, classes.length).sort((a, b) => compare(sorting.value(a), sorting.value(b), descending) || a - b);
    body.replaceChildren();
    more.replaceChildren(listing(body, order, (number) => withHeads(element("tr", {}, ...columns.map(({ cell, text }) =>
      element("td", { class: text ? null : "number" }, cell(number)))), columns.map(({ name }) => name)), few, 200));
  }
  const table = element("table", { class: "upright" }, element("thead", {}, element("tr", {}, ...heads)), body);
  return { node: element("div", {}, scrolling(label, table), more), draw };
}
/** Compare numbers or texts; null comes last, whichever way. */
function compare(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return descending ? -order : order;
}
const known = (value) => isNumber(value) ? value : null;
function classButton(number) {
  const made = link("", () => toImages({ class: String(number) }), { title: classes[number] });
  made.append(element("span", { class: "swatch", "--color": shade(number) }), element("span", {}, classes[number]));
  return made;
}

const shadeOf = new Map(frequent.map((number, i) => [number, SHADES[i % SHADES.length]]));
const shade = (number) => shadeOf.get(number);

// ---- Results ----

function showResults() {
  const view = byId("results");
  if (!view.childElementCount) {
    const about = element("p", { class: "about" }), tiles = element("div", { class: "tiles" });
    follow("results", () => {
      about.textContent = aboutRun(run());
      tiles.replaceChildren(...headlines(run()).map(tile));
    });
    view.append(about, tiles, element("div", { class: "cards" },
      ...(data.history ? [historyCard(data.history), learningCard(data.history)] : []), worstCard(), kindCard(), curveCard(), classCard(), tradeCard(), calibrationCard(), groupCard(), numbersCard()));
  }
  refresh();
}
function wide(made) {
  made.classList.add("wide");
  return made;
}

function aboutRun(of) {
  const objects = range(0, numObjects).filter(isCounted).length, others = numObjects - objects;
  return [
    of.title, of.step === null ? "" : `step ${digits.format(of.step)}`, many(numImages, "image"), many(objects, "object"),
    others ? `${digits.format(others)} that do not count` : "", many(classes.length, "class", "classes"), many(of.class.length, "detection"), of.how,
  ].filter(Boolean).join(" · ");
}

function tile(tag) {
  const about = metricWords(tag)[2], name = metricName(tag), value = run().metrics[tag], interval = run().intervals[tag];
  const other = runs.length > 1 ? runs[1 - Number(state.run)].metrics[tag] : null;
  const change = isNumber(value) && isNumber(other) ? value - other : null;
  return element("section", { class: "tile", "aria-label": name },
    element("h2", {}, name),
    element("p", { class: "value" }, fixed(value), change === null ? null : element("small", { class: tone(change) }, ` ${signed(change)}`)),
    interval && isNumber(value) ? element("p", { class: "range" }, between(interval)) : null,
    element("p", {}, isNumber(value) ? about : "There is no object that this number could be about: evaluations write −1 then."));
}

const mark = (x) => ({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: "#8b9097", width: 1.5, dash: "dot" } });

// ---- Results: how the run was made, and how it has learned ----

function historyCard({ model, start, time, command, batch_size, parts, steps }) {
  const size = (part) => part && [many(part.images, "image"), part.objects === null ? "" : many(part.objects, "object")].filter(Boolean).join(", ");
  const facts = [
    ["Model", breakable(model)], ["Weights from", breakable(start)], ["Training", size(parts.training)], ["Validation", size(parts.evaluation)],
    ["Length", steps.length ? `${many(steps.at(-1), "step")} of ${many(batch_size, "image")}` : null],
    ["Started", time.slice(0, 16).replace("T", " ")], ["Command", command && element("code", {}, ...commandWords(command))],
  ];
  return card("The run", null, factList(facts));
}
function learningCard({ steps, losses, evaluated, mean_average_precision, ap50, evaluation_losses }) {
  const here = run().step === null ? [] : [mark(run().step)];
  const shown = (title, lines, range) => {
    const figure = learningFigure(title, lines, range);
    return chart(() => ({ ...figure, layout: { ...figure.layout, shapes: here } }), null);
  };
  const charts = [
    shown("validation", [{ name: "mAP", color: SHADES[0], x: evaluated, y: mean_average_precision },
      { name: "AP50", color: SHADES[1], x: evaluated, y: ap50 }], [0, 1.03]),
    shown("loss", [{ name: "training", color: SHADES[0], x: steps, y: losses },
      { name: "validation", color: SHADES[1], x: evaluated, y: evaluation_losses }]),
  ];
  for (const { draw } of charts) follow("results", draw);
  return card("Learning curve", here.length ? "Dotted: the step that this page is about." : null,
    element("div", { class: "low" }, ...charts.map(({ plot }) => plot)));
}

// ---- Results: the worst mistakes ----

const WORST = 6;
function worstCard() {
  const list = element("ul", { class: "worst" }), more = element("div", { class: "row" });
  const number = (image) => mistakes(tallies(run(), image));
  follow("results", () => {
    const some = sortedBy(range(0, numImages).filter((image) => number(image) > 0), (image) => worstFirst(image, number(image)));
    list.replaceChildren(...some.slice(0, WORST).map(worstImage));
    more.replaceChildren(some.length ? button(`All ${many(some.length, "image")} with mistakes`, () => toImages({ kind: "mistake" }))
      : element("p", { class: "muted" }, "There are no mistakes at this threshold."));
  });
  return wide(card("Worst mistakes", "Images with most mistakes at this threshold.", list, more));
}
function worstImage(image) {
  const name = images.name[image], numbers = tallies(run(), image);
  const frame = element("span", { class: "frame", "--aspect": String(images.width[image] / images.height[image]) },
    thumbnail(image) ?? noPreview(), overlay(run(), image));
  return element("li", {}, element("button", { type: "button", class: "cell", title: name, "aria-label": `${name}: ${tallyWords(numbers)}`,
    click: () => openImage(image, { ...NO_FILTERS, view: "images", kind: "mistake" }) },
  element("span", { class: "mat" }, frame), caption(image, numbers)));
}

// ---- Results: kinds of mistakes ----

function kindCard() {
  const body = element("tbody");
  follow("results", () => body.replaceChildren(...run().error_kinds.map(kindRow)));
  const about = "How many there are at the threshold above, and how much mAP at IoU 0.5 would gain if all mistakes of a kind were fixed."
    + " mAP looks at detections of every score, so the gains do not follow the threshold.";
  const heads = ["Kind", head("Number", "at this threshold"), head("mAP gain", "over all scores")];
  return card("Kinds of mistakes", about, element("div", { id: "kinds" }, table("Kinds of mistakes", heads, body)));
}
function kindRow({ kind, AP50_gain: gain }) {
  const number = kind === "missed" ? sum(counts(run()).missed) : counts(run()).kinds[kinds.indexOf(kind)] ?? 0;
  const most = Math.max(1e-9, ...run().error_kinds.map((row) => row.AP50_gain ?? 0));
  const lower = kind === "missed" ? foundLower(run()) : 0;
  const note = `${KINDS[kind]?.[1] ?? ""}${lower ? ` ${digits.format(lower)} of these ${lower === 1 ? "is" : "are"} found at a lower score.` : ""}`;
  return element("tr", {},
    element("td", {}, link(kindName(kind), () => toImages({ kind })), element("span", { class: "note" }, note)),
    numberCell(digits.format(number)), numberCell(signed(gain), meter(Math.max(0, gain ?? 0) / most)));
}
/** How many objects are missed at the threshold, but not at a lower one. */
const foundLower = (of) => range(0, numObjects).filter((object) => isMissed(of, object) && of.foundAt[object] > -Infinity).length;
function meter(fraction) {
  const filling = element("span");
  filling.style.width = `${100 * fraction}%`;
  return element("span", { class: "meter", "aria-hidden": "true" }, filling);
}

// ---- Results: classes ----

function classCard() {
  const row = (number) => run().per_class[number];
  const metric = (name, key, title) =>
    ({ name, title, value: (number) => known(row(number)[key]), cell: (number) => fixed(row(number)[key]) });
  const now = (name, key, title) => {
    const value = (number) => ofClass(run(), number)[key];
    return { name, title: `${title}, at this threshold`, value, cell: (number) => fixed(value(number), 2) };
  };
  const { node, draw } = sortable("Table of classes", [
    { name: "Class", text: true, value: (number) => classes[number], cell: classButton },
    { name: "Objects", value: (number) => row(number).num_objects, cell: (number) => digits.format(row(number).num_objects) },
    { ...metric("AP", "AP", "Average precision over ten IoUs from 0.5 to 0.95"), cell: (number) => apCell(row(number)) },
    metric("AP50", "AP50", "Average precision at IoU 0.5"),
    metric("AP75", "AP75", "Average precision at IoU 0.75"),
    metric("AR", "AR100", "Average recall of 100 detections an image"),
    now("Precision", "precision", "Share of detections that is correct"),
    now("Recall", "recall", "Share of objects that is found"),
    now("F1", "f1", "Harmonic mean of precision and recall"),
    { ...metric("Best at", "best_threshold", "The threshold with the highest F1"), cell: bestCell },
  ], { sort: "Objects" });
  follow("results", draw);
  return wide(card("Classes", "AP and AR need no threshold; precision, recall and F1 are at the threshold above. “Best at” is the threshold"
    + " with the highest F1 of a class: click it to use it. A class leads to its images.", node));
}
function apCell({ AP, AP_interval: interval }) {
  if (!interval || !isNumber(AP)) return fixed(AP);
  const [low, high] = interval.map((value) => fixed(value, 2));
  return element("span", {}, fixed(AP), element("span", { class: "note", title: between(interval) }, `${low} to ${high}`));
}
function bestCell(number) {
  const { best_threshold: best, f1 } = run().per_class[number];
  if (best === null) return NONE_TEXT;
  const about = `Use the threshold ${shownScore(best)}, the best of ${classes[number]}${isNumber(f1) ? `: F1 ${fixed(f1, 2)}` : ""}`;
  return link(fixed(best, 2), () => go({ threshold: String(best) }), { "aria-label": about });
}

// ---- Results: curves ----

const CURVES = 8;
const curveClasses = () => state.curve === "" ? frequent.slice(0, CURVES) : [Number(state.curve)];

function curveCard() {
  const choice = select([classes.length > CURVES ? `The ${CURVES} with most objects` : "All", ""], classes.map((name, i) => [String(i), name]));
  choice.addEventListener("input", () => go({ curve: choice.value }));
  const { plot, draw } = chart(curveFigure, ({ data: { meta }, customdata }) => toImages(meta, customdata));
  const legend = element("ul", { class: "legend", "aria-label": "Curves" });
  follow("results", () => {
    choice.value = state.curve;
    legend.replaceChildren(...curveClasses().map(curveButton));
    draw();
  });
  return card("Precision against recall", "Each point is a threshold: further right more objects are found, further up fewer detections are wrong."
    + " A point leads to the images behind it, at its threshold." + (runs.length > 1 ? " Dotted: the other run." : ""),
  element("label", {}, "Class ", choice), plot, legend);

  function toImages({ number, of }, score) {
    go({ ...NO_FILTERS, view: "images", class: String(number), run: String(of), threshold: String(score) }, { push: true });
  }
}
function curveButton(number) {
  return element("li", {}, element("button", { type: "button", title: classes[number], "aria-pressed": String(state.curve !== ""),
    click: () => go({ curve: state.curve === "" ? String(number) : "" }) },
  element("span", { class: "swatch", "--color": shade(number) }), element("span", {}, classes[number])));
}
function curveFigure() {
  const shown = curveClasses(), here = Number(state.run), ends = [-0.02, 1.03];
  const others = runs.length > 1 ? shown.map((number) => curveTrace(number, 1 - here, "dot")) : [];
  const precisions = shown.map((number) => `${classes[number]}: AP50 ${fixed(run().per_class[number].AP50, 2)}`);
  return {
    traces: [...others, ...shown.map((number) => curveTrace(number, here, "solid")), ...shown.map(curvePoint)],
    summary: `Precision against recall. ${precisions.join(", ")}`,
    layout: { xaxis: axis("recall: fraction of objects found", { range: ends }), yaxis: axis("precision: fraction correct", { range: ends }) },
  };
}
function curveTrace(number, of, dash) {
  const { score, precision, recall } = runs[of].curves[number];
  return {
    type: "scatter", mode: "lines", x: recall, y: precision, customdata: score, name: plain(classes[number]), meta: { number, of },
    line: { color: shade(number), width: dash === "dot" ? 1.5 : 2, dash },
    hovertemplate: "%{fullData.name}<br>precision %{y:.2f}, recall %{x:.2f}<br>score at least %{customdata:.3f}<extra></extra>",
  };
}
/** Where the threshold is on the curve of a class. */
function curvePoint(number) {
  const { score, precision, recall } = run().curves[number];
  const last = score.findLastIndex((value) => value >= Number(state.threshold));
  return {
    type: "scatter", mode: "markers", hoverinfo: "skip", x: last < 0 ? [] : [recall[last]], y: last < 0 ? [] : [precision[last]],
    marker: { color: shade(number), size: 9, line: { color: "#fff", width: 1.5 } },
  };
}

const tradedClass = () => state.curve === "" ? -1 : Number(state.curve);
function tradeCard() {
  const { plot, draw } = chart(tradeFigure, ({ x }) => go({ threshold: shownScore(x) }));
  const about = element("p"), use = button("", () => go({ threshold: use.value }));
  follow("results", () => {
    const best = bestTradeOff(run(), tradedClass());
    const of = state.curve === "" ? "all classes together" : classes[Number(state.curve)];
    const hint = best
      ? `F1 is highest, ${fixed(best.f1, 2)}, at a threshold of ${shownScore(best.at)}. Click into the chart to set it.`
      : "There is nothing right at any threshold.";
    about.textContent = `Of ${of}. ${hint}`;
    use.hidden = !best;
    use.value = best ? shownScore(best.at) : "";
    use.textContent = `Use ${use.value}`;
    draw();
  });
  return card("Choice of threshold", null, about, plot, element("div", { class: "row" }, use));
}
function tradeFigure() {
  const points = tradeOff(run(), tradedClass()), x = points.map(({ at }) => at);
  const line = (key, name, color) => ({
    type: "scatter", mode: "lines", x, y: points.map((point) => point[key]), name, line: { color, width: 2 },
    hovertemplate: `${name} %{y:.2f}<br>score at least %{x:.2f}<extra></extra>`,
  });
  return {
    traces: [line("precision", "precision", SHADES[0]), line("recall", "recall", SHADES[1]), line("f1", "F1", SHADES[2])],
    summary: "Precision, recall and F1 against the threshold of scores",
    layout: {
      ...LEGEND, shapes: [mark(Number(state.threshold))],
      xaxis: axis("score at least", { range: [bounds.low, bounds.high] }), yaxis: axis("", { range: [0, 1.03] }),
    },
  };
}

// ---- Results: calibration ----

function calibrationCard() {
  const about = element("p"), body = element("tbody");
  const { plot, draw } = chart(calibrationFigure, ({ pointNumber }) => toScores(run().calibration.bins[pointNumber]));
  follow("results", () => {
    about.textContent = calibrationWords(run().calibration);
    plot.hidden = !run().calibration.bins.length;
    body.replaceChildren(...run().calibration.bins.map(binRow));
    draw();
  });
  const rows = table("Table of scores", ["Scores", "Detections", "Mean score", "Correct"], body);
  return card("Are scores what they say?", null, about, plot, element("details", {}, element("summary", {}, "As a table"), rows));
}
function calibrationWords({ error, bins }) {
  if (!bins.length || error === null) return "How often scores are right is known only where there are detections with scores between 0 and 1.";
  return "Of detections with a score near 0.8, 80% should be correct: bars would reach the dotted line."
    + ` On average they are off by ${fixed(error, 2)}. A bar leads to its detections.`;
}
function toScores({ low, high }) {
  const lowered = Number(state.threshold) > low ? { threshold: shownScore(low) } : {};
  toImages({ scores: `${shownScore(low)}~${shownScore(high)}`, ...lowered });
}
function binRow(bin) {
  const name = link(`${shownScore(bin.low)} to ${shownScore(bin.high)}`, () => toScores(bin), { disabled: !bin.count });
  return element("tr", {}, element("td", {}, name), numberCell(digits.format(bin.count)), numberCell(fixed(bin.mean_score, 2)),
    numberCell(bin.precision === null ? NONE_TEXT : percent(bin.precision)));
}
function calibrationFigure() {
  const { bins, error } = run().calibration;
  const bar = {
    type: "bar", x: bins.map(({ low, high }) => (low + high) / 2), y: bins.map(({ precision }) => precision),
    width: bins.map(({ low, high }) => 0.94 * (high - low)), customdata: bins.map(({ count }) => digits.format(count)),
    marker: { color: SHADES[0], opacity: bins.map(({ count }) => count < 10 ? 0.4 : 0.85) },
    hovertemplate: "%{y:.0%} of %{customdata} detections are correct<br>score about %{x:.2f}<extra></extra>",
  };
  const diagonal = { type: "scatter", mode: "lines", x: [0, 1], y: [0, 1], hoverinfo: "skip", line: { color: "#8b9097", width: 1.5, dash: "dot" } };
  return {
    traces: [bar, diagonal], summary: `Share of detections that is correct against their score; mean difference ${fixed(error, 2)}`,
    layout: { xaxis: axis("score", { range: [0, 1] }), yaxis: axis("fraction that are correct", { range: [0, 1.03], tickformat: ".0%" }) },
  };
}

// ---- Results: groups, all numbers ----

const GROUPS = {
  __proto__: null,
  size: ["By size", "Small: the box has less than 32² pixels; large: more than 96²."],
  aspect: ["By shape", "Tall or wide: one side is more than 1.5 times the other."],
  crowding: ["By number of objects", "How many objects there are in the image."],
};
function groupCard() {
  const holder = element("div", { class: "groups" });
  follow("results", () => holder.replaceChildren(...Object.entries(run().groups).map(([key, rows]) => groupTable(key, rows))));
  const about = "Recall is the fraction of objects found, AP50 also counts what is wrong; both without a threshold, at IoU 0.5.";
  return wide(card("What is easy and what is hard", about, holder));
}
function groupTable(key, rows) {
  const [title, about] = GROUPS[key] ?? [key, ""];
  const body = rows.map(({ name, num_objects, recall, AP50 }) => element("tr", {}, element("td", {}, name), numberCell(digits.format(num_objects)),
    numberCell(fixed(recall, 2)), numberCell(fixed(AP50, 2), meter(known(AP50) ?? 0))));
  return element("div", {}, element("h3", {}, title), element("p", {}, about),
    table(title, ["", "Objects", "Recall", "AP50"], element("tbody", {}, ...body)));
}

function numbersCard() {
  const holder = element("div");
  const shown = (value) => value === null ? NONE_TEXT : value === -1 ? "−1, no such objects" : String(value);
  follow("results", () => {
    const body = element("tbody"), rows = [...Object.entries(run().metrics), ...Object.entries(run().losses)];
    const more = listing(body, rows, ([tag, value]) => element("tr", {},
      element("td", {}, tag, element("span", { class: "note" }, metricWords(tag)[2])), numberCell(shown(value))), 40, 200);
    holder.replaceChildren(table("All numbers", null, body), more);
  });
  return element("details", { class: "card wide" }, element("summary", {}, "All numbers, under their names in TensorBoard"), holder);
}

// ---- Confusions ----

const MATRIX = 30;  // classes in the matrix at first, and as many more on demand
let matrixSize = MATRIX;

function showConfusions() {
  const view = byId("confusions");
  if (!view.childElementCount) view.append(element("div", { class: "cards" }, matrixCard(), rankingCard()));
  refresh();
}
function matrixCard() {
  const matrix = element("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": "Confusion matrix" });
  const more = button("", () => { matrixSize += MATRIX; refresh(); }), part = element("p");
  follow("confusions", () => {
    const left = classes.length - matrixSize;
    matrix.replaceChildren(matrixTable(matrixClasses()));
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(MATRIX, left)} more classes`;
    part.textContent = left > 0 ? `These are the ${matrixSize} of ${digits.format(classes.length)} classes with most confusions.` : "";
  });
  const about = "A row is what is there, a column what it was found as, at the threshold above. On the diagonal the class is right."
    + " Boxes are paired by overlap (IoU 0.5 or more), whatever their class. A number leads to its images.";
  return wide(card("What is taken for what", about, part, matrix, element("div", { class: "row" }, more)));
}
function rankingCard() {
  const holder = element("div");
  follow("confusions", () => holder.replaceChildren(...confusionRanking()));
  return wide(card("Most frequent confusions", null, holder));
}

const cellAt = (row, column) => counts(run()).matrix[row * (BACKGROUND + 1) + column];
/** The classes with most confusions, in their own order. */
function matrixClasses() {
  if (matrixSize >= classes.length) return range(0, classes.length);
  const confused = new Float64Array(BACKGROUND + 1);
  counts(run()).matrix.forEach((number, cell) => {
    const row = Math.floor(cell / (BACKGROUND + 1)), column = cell % (BACKGROUND + 1);
    if (row === column) return;
    const weight = row === BACKGROUND || column === BACKGROUND ? 1e-6 : 1;  // what is missed or nothing decides between equals
    confused[row] += weight * number;
    confused[column] += weight * number;
  });
  return range(0, classes.length).sort((a, b) => confused[b] - confused[a] || a - b).slice(0, matrixSize).sort((a, b) => a - b);
}
function matrixTable(shown) {
  const places = [...shown, BACKGROUND], apart = (place) => place === BACKGROUND ? "apart" : null;
  const name = (place, last) => place === BACKGROUND ? last : classes[place];
  const heads = places.map((column) => element("th", { scope: "col", class: apart(column), title: name(column, "missed") },
    element("span", {}, name(column, "missed"))));
  const rows = places.map((row) => {
    const head = element("th", { scope: "row", title: name(row, "nothing there") }, name(row, "nothing there"));
    const total = sum(places.map((column) => cellAt(row, column)));
    return element("tr", { class: apart(row) }, head, ...places.map((column) => matrixCell(row, column, total)));
  });
  return element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "there ↓  found as →"), ...heads)),
    element("tbody", {}, ...rows));
}
const pairWords = (row, column) => row === BACKGROUND ? `nothing there, found as ${classes[column]}`
  : column === BACKGROUND ? `${classes[row]}, missed` : row === column ? `${classes[row]}, found` : `${classes[row]}, found as ${classes[column]}`;
const pairOf = (row, column) => `${row === BACKGROUND ? "" : row}>${column === BACKGROUND ? "" : column}`;

function matrixCell(row, column, total) {
  const number = cellAt(row, column), apart = column === BACKGROUND ? "apart" : null, words = pairWords(row, column);
  if (!number) return element("td", { class: apart }, row === BACKGROUND && column === BACKGROUND ? "" : "·");
  return element("td", { class: apart }, element("button", {
    type: "button", "--fraction": String(number / total), "--tint": row === column ? "#4f9d78" : "#e0704a",
    "aria-label": `${digits.format(number)}: ${words}`, title: `${words}: ${percent(number / total)} of the row`,
    click: () => toImages({ pair: pairOf(row, column) }),
  }, digits.format(number)));
}
function confusionRanking() {
  const found = [];
  counts(run()).matrix.forEach((number, cell) => {
    const row = Math.floor(cell / (BACKGROUND + 1)), column = cell % (BACKGROUND + 1);
    if (number && row !== column && row !== BACKGROUND && column !== BACKGROUND) found.push([number, row, column]);
  });
  if (!found.length) return [element("p", { class: "muted" }, "No class is taken for another.")];
  const list = element("ol", { class: "ranking", "aria-label": "Most frequent confusions" });
  const item = ([number, row, column]) => element("li", {},
    element("button", { type: "button", click: () => toImages({ pair: pairOf(row, column) }) },
      element("span", {}, pairWords(row, column)), element("b", {}, digits.format(number))));
  return [list, listing(list, found.sort((a, b) => b[0] - a[0]), item, 10, 50)];
}

// ---- Comparison of two runs ----

const isFixed = (object) => isCounted(object) && !isMissed(runs[0], object) && isMissed(runs[1], object);
const isBroken = (object) => isCounted(object) && isMissed(runs[0], object) && !isMissed(runs[1], object);

function showComparison() {
  const view = byId("comparison");
  if (!view.childElementCount) view.append(element("div", { class: "cards" }, verdictCard(), changeCard(), differenceCard()));
  refresh();
}
function verdictCard() {
  const heads = ["", "Before", "Now", "Difference", "95 % confidence interval"];
  const rows = headlines(runs[0]).map((tag) => withHeads(metricRow(tag), heads));
  const numbers = table("Numbers of both runs", heads, element("tbody", {}, ...rows));
  numbers.firstChild.classList.add("upright");
  return wide(card("Which run is better?", inTime(runs).map((of) => `${titleOf(of)}.`).join(" "), element("p", { class: "verdict" }, verdict()), numbers));
}
function metricRow(tag) {
  const [now, before] = runs.map((of) => known(of.metrics[tag])), interval = judgement(tag)?.interval;
  const difference = now === null || before === null ? null : now - before;
  return element("tr", {}, element("td", {}, metricName(tag)), numberCell(fixed(before)), numberCell(fixed(now)),
    numberCell(element("span", { class: tone(difference) }, signed(difference))),
    numberCell(interval ? interval.map((value) => signed(value)).join(" to ") : NONE_TEXT));
}
const tone = (difference) => difference > 0 ? "better" : difference < 0 ? "worse" : "";
const judgement = (tag) => data.comparison?.differences.find(({ name }) => name === tag);

function verdict() {
  const judged = data.comparison?.differences.find(({ p_value }) => p_value !== null);
  if (!judged) return "Whether the difference is more than chance is not known: the runs were not compared by resampling.";
  const { name, difference, interval, p_value: p } = judged;
  const change = `${metricName(name)} ${difference < 0 ? "fell" : "rose"} by ${Math.abs(difference).toFixed(3)}`;
  const where = interval ? ` (${between(interval, signed)})` : "";
  const chance = p < 0.001 ? "less than 0.1%" : percent(p);
  return p < 0.05 ? `${change}${where}. That is more than chance: of equally good runs, only ${chance} would differ so much.`
    : `${change}${where}. That may be chance: of equally good runs, ${chance} would differ as much.`;
}

function changeCard() {
  const body = element("tbody");
  const leading = (change, text) => link(text, () => toImages({ change, run: "0" }));
  follow("comparison", () => {
    const numbers = { fixed: 0, broken: 0, both: 0, neither: 0 };
    for (let object = 0; object < numObjects; object++) if (isCounted(object)) numbers[changeOf(object)]++;
    const rows = [
      [leading("fixed", "Fixed: found now, missed before"), numbers.fixed], [leading("broken", "Broken: missed now, found before"), numbers.broken],
      ["Found by both", numbers.both], ["Missed by both", numbers.neither],
    ];
    body.replaceChildren(...rows.map(([text, number]) => element("tr", {}, element("td", {}, text), numberCell(digits.format(number)))));
  });
  return card("Fixed and broken objects", "At the threshold above.", table("Fixed and broken objects", null, body));
}
const changeOf = (object) => isFixed(object) ? "fixed" : isBroken(object) ? "broken" : isMissed(runs[0], object) ? "neither" : "both";

function differenceCard() {
  const of = (which) => (number) => known(runs[which].per_class[number].AP50), now = of(0), before = of(1);
  const difference = (number) => now(number) === null || before(number) === null ? null : now(number) - before(number);
  const { node, draw } = sortable("Classes of both runs", [
    { name: "Class", text: true, value: (number) => classes[number], cell: classButton },
    { name: "Before", value: before, cell: (number) => fixed(before(number)) },
    { name: "Now", value: now, cell: (number) => fixed(now(number)) },
    { name: "Difference", value: difference, cell: (number) => element("span", { class: tone(difference(number)) }, signed(difference(number))) },
  ], { sort: "Difference", few: 15 });
  follow("comparison", draw);
  return card("AP50 by class", "Average precision at IoU 0.5.", node);
}

// ---- Choosing images ----

const NEVER = () => false;
let fits = null;  // does a detection, an object, fit the filters? See objectTest

const chosenBy = () => JSON.stringify([...FILTERS, "sort", "run", "threshold"].map((name) => state[name]));
function chooseImages() {
  const of = run();
  fits = objectTest();
  const tests = [
    nameTest(), state.kind === "none" ? (image) => !mistakesIn(of, image) : null, fits.all ? null : (image) => anyFits(of, image),
  ].filter(Boolean);
  const fitting = range(0, numImages).filter((image) => tests.every((test) => test(image)));
  return sortedBy(fitting, SORTS[state.sort].key);
}
/** Return what the filters ask of a detection and of an object, of a run each. */
function objectTest() {
  const tests = [classTest(), kindTest(), pairTest(), scoreTest(), changeTest()].filter(Boolean);
  return {
    all: !tests.length,
    found: (of, d) => tests.every((test) => test.found(of, d)),
    groundtruth: (of, object) => tests.every((test) => test.groundtruth(of, object)),
  };
}
function classTest() {
  const number = Number(state.class);
  return state.class === "" ? null : { found: (of, d) => of.class[d] === number, groundtruth: (of, object) => groundtruth.class[object] === number };
}
function kindTest() {
  if (state.kind === "" || state.kind === "none") return null;
  if (state.kind === "mistake") return { found: isWrong, groundtruth: isMissed };
  if (state.kind === "missed") return { found: NEVER, groundtruth: isMissed };
  const number = kinds.indexOf(state.kind);
  return { found: (of, d) => of.kind[d] === number, groundtruth: NEVER };
}
function pairTest() {
  if (state.pair === "") return null;
  const [there, found] = pairParts();
  const ofClass = (object) => isCounted(object) && groundtruth.class[object] === there;
  if (found === BACKGROUND) return { found: NEVER, groundtruth: (of, object) => ofClass(object) && of.pairedAt[object] < threshold() };
  const paired = (object) => object < 0 ? there === BACKGROUND : ofClass(object);
  return { found: (of, d) => of.class[d] === found && paired(of.confusion[d]), groundtruth: NEVER };
}
const pairParts = () => state.pair.split(">").map((part) => part === "" ? BACKGROUND : Number(part));
function scoreTest() {
  if (state.scores === "") return null;
  const [low, high] = state.scores.split("~").map((value) => Math.fround(Number(value)));
  return { found: (of, d) => of.score[d] >= low && (of.score[d] < high || high >= bounds.high) && of.kind[d] !== IGNORED, groundtruth: NEVER };
}
function changeTest() {
  if (state.change === "") return null;
  const changed = state.change === "fixed" ? isFixed : isBroken;
  return { found: (of, d) => of.kind[d] === CORRECT && changed(of.match[d]), groundtruth: (of, object) => changed(object) };
}
function anyFits(of, image) {
  let any = false;
  eachKept(of, image, (d) => { any ||= fits.found(of, d); });
  eachObject(image, (object) => { any ||= fits.groundtruth(of, object); });
  return any;
}
/** How many detections are wrong and objects are missed, of those that fit the filters. */
function mistakesIn(of, image) {
  let number = 0;
  eachKept(of, image, (d) => { number += isWrong(of, d) && fits.found(of, d); });
  eachObject(image, (object) => { number += isMissed(of, object) && fits.groundtruth(of, object); });
  return number;
}
function surestMistake(of, image) {
  let surest = -Infinity;
  eachKept(of, image, (d) => { if (isWrong(of, d) && fits.found(of, d)) surest = Math.max(surest, of.score[d]); });
  return surest;
}

const rankOfName = new Uint32Array(numImages);
range(0, numImages).sort((a, b) => images.name[a] < images.name[b] ? -1 : 1).forEach((image, rank) => { rankOfName[image] = rank; });
const orWorst = (value, otherwise) => Number.isNaN(value) ? otherwise : value;
/** To sort images by: of equally many mistakes those of the lowest AP50 come first. */
const worstFirst = (image, number) => orWorst(run().AP50[image], 1) / 2 - number;
const SORTS = {
  __proto__: null,
  "": { name: "Worst first: most mistakes", key: (image) => worstFirst(image, mistakesIn(run(), image)) },
  AP50: { name: "Lowest AP50 first", key: (image) => orWorst(run().AP50[image], 2) },
  surest: { name: "Surest mistake first", key: (image) => -surestMistake(run(), image) },
  name: { name: "By name", key: (image) => rankOfName[image] },
};

// ---- Images ----

const CAPTION = 26;
const GALLERY_COVER = { narrow: 180, wide: 200 };

function makeFilters() {
  const named = (some) => some.map((kind) => [kind, kindName(kind)]);
  const right = ["correct", "ignored"].filter((kind) => kinds.includes(kind));
  const wrong = [...kinds.filter((kind) => !right.includes(kind)), "missed"];
  const ofKind = [["mistake", "Any mistake"], ...named(wrong), ["none", "Without mistakes"], ...named(right)];
  const changes = [["fixed", "Fixed: only found now"], ["broken", "Broken: only found before"]];
  const orders = Object.entries(SORTS).filter(([value]) => value).map(([value, { name }]) => [value, name]);
  byId("filters").append(...[
    searchBox(), unfolder(),
    control("class", "Class", select(["All", ""], classes.map((name, i) => [String(i), name]))),
    control("kind", "Kind", select(["All", ""], ofKind)),
    runs.length > 1 ? control("change", "Between runs", select(["All", ""], changes)) : null,
    control("sort", "Order", select([SORTS[""].name, ""], orders)),
  ].filter(Boolean));
}

function showImages() {
  refresh();
  byId("chips").replaceChildren(...chips());
  showGallery();
}
function chips() {
  const chip = (text, name) => element("span", { class: "chip" }, text,
    element("button", { type: "button", "aria-label": `Without: ${text}`, click: () => go({ [name]: "" }) }, "×"));
  const made = [];
  if (state.pair) made.push(chip(pairWords(...pairParts()), "pair"));
  if (state.scores) made.push(chip(`scores ${state.scores.replace("~", " to ")}`, "scores"));
  return made;
}

function makeCell(position, width, height) {
  const image = chosen[position], numbers = tallies(run(), image);
  return galleryCell(position, width, height, {
    label: `${images.name[image]}: ${tallyWords(numbers)}`, drawn: overlay(run(), image), below: caption(image, numbers),
  });
}
/** Return the line below an image: its name, and what is found, wrong and missed in it. */
function caption(image, numbers) {
  const tally = ([key, number]) => number ? element("span", { class: `tally ${key}`, title: `${number} ${key}` }, digits.format(number)) : null;
  return element("span", { class: "caption" }, element("span", { class: "name" }, basename(images.name[image])), ...Object.entries(numbers).map(tally));
}
const tallyWords = (numbers) => Object.entries(numbers).map(([key, number]) => `${number} ${key}`).join(", ");
const mistakes = ({ wrong, missed }) => wrong + missed;
function tallies(of, image) {
  const numbers = { correct: 0, wrong: 0, missed: 0 };
  eachKept(of, image, (d) => {
    numbers.correct += of.kind[d] === CORRECT;
    numbers.wrong += isWrong(of, d);
  });
  eachObject(image, (object) => { numbers.missed += isMissed(of, object); });
  return numbers;
}

const stateOfFound = (of, d) => of.kind[d] === CORRECT ? "correct" : of.kind[d] === IGNORED ? "ignored" : "wrong";
const stateOfObject = (of, object) => !isCounted(object) ? "ignored" : isMissed(of, object) ? "missed" : "there";

/** Draw the boxes of an image: one path for each state, so that a thousand boxes are few elements. */
function overlay(of, image) {
  const outlines = new Map();
  const add = (key, text) => outlines.set(key, (outlines.get(key) ?? "") + text);
  eachObject(image, (object) => {
    const state = stateOfObject(of, object);
    add(`groundtruth ${fits.groundtruth(of, object) || state === "there" ? state : "other"}`, outline(groundtruth.box, object));
  });
  eachKept(of, image, (d) => add(`found ${fits.found(of, d) ? stateOfFound(of, d) : "other"}`, outline(of.box, d)));
  const order = ["groundtruth other", "found other", "groundtruth ignored", "found ignored", "groundtruth there", "found correct", "found wrong", "groundtruth missed"];
  return drawing("svg", { viewBox: `0 0 ${images.width[image]} ${images.height[image]}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...order.filter((key) => outlines.has(key)).flatMap((key) => [
      key.endsWith("other") ? null : drawing("path", { class: `halo ${key.split(" ")[0]}`, d: outlines.get(key) }),
      drawing("path", { class: key.endsWith("other") ? `other ${key.split(" ")[0]}` : `line ${key}`, d: outlines.get(key) })]));
}
function outline(boxes, number) {
  const [ymin, xmin, ymax, xmax] = boxes.subarray(4 * number, 4 * number + 4).map((value) => Math.round(10 * value) / 10);
  return `M${short(xmin)} ${short(ymin)}H${short(xmax)}V${short(ymax)}H${short(xmin)}Z`;
}
const short = (value) => value.toFixed(1);

// ---- One image ----

let hot = null;  // the box that the pointer or the keyboard is at: { of, boxes, number }

function showImage(image) {
  const numbers = tallies(run(), image);
  hot = null;
  showHead(image, [`${by([images.width[image], images.height[image]])} pixels`,
    runs.length > 1 ? "" : tallyWords(numbers)]);
  byId("frames").replaceChildren(...inTime(runs).map((of) => frameOf(of, image)));
  byId("lists").replaceChildren(...inTime(runs).flatMap((of) => listOf(of, image)));
  byId("lists").parentElement.scrollTop = 0;
  drawHot();
}
function frameOf(of, image) {
  const source = preview(image), words = tallyWords(tallies(of, image));
  const img = source ? element("img", { src: source, alt: `${images.name[image]}: ${words}` }) : noPreview();
  const frame = element("div", { class: "frame", "--aspect": String(images.width[image] / images.height[image]) },
    img, overlay(of, image), element("div", { class: "labels", "aria-hidden": "true" }));
  frame.addEventListener("pointermove", (event) => setHot(pointedAt(of, image, frame, event)));
  frame.addEventListener("pointerleave", () => setHot(null));
  return element("figure", {}, element("div", { class: "fit" }, frame),
    runs.length > 1 ? element("figcaption", {}, `${titleOf(of)} · ${words}`) : null);
}

/** Return the rows of what is missed, wrong, correct and does not count, in this order. */
function listOf(of, image) {
  const items = [], order = ["missed", "wrong", "correct", "ignored"];
  eachObject(image, (object) => {
    const state = stateOfObject(of, object);
    if (state !== "there") items.push({ of, boxes: groundtruth.box, number: object, state });
  });
  eachKept(of, image, (d) => items.push({ of, boxes: of.box, number: d, state: stateOfFound(of, d) }));
  items.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const title = runs.length > 1 ? titleOf(of) : "Boxes";
  const list = element("ol", { class: "objects", "aria-label": title });
  const nothing = items.length ? [] : [element("p", { class: "muted small" }, "There is nothing, and nothing was found.")];
  return [element("h3", {}, title), list, listing(list, items, itemRow, 100), ...nothing];
}
function itemRow(item) {
  const enter = () => setHot(item);
  const leave = () => setHot(null), events = { focus: enter, blur: leave, click: enter, pointerenter: enter, pointerleave: leave };
  const row = element("button", { type: "button", ...events },
    element("span", { class: `state ${item.state}` }),
    element("span", { class: "what" }, nameOf(item), element("span", { class: "muted small" }, ` ${noteOf(item)}`)),
    item.boxes === groundtruth.box ? null : element("span", { class: "score" }, `score ${item.of.score[item.number].toFixed(2)}`));
  item.row = element("li", {}, row);
  return item.row;
}
const isGroundtruth = ({ boxes }) => boxes === groundtruth.box;
const nameOf = (item) => classes[isGroundtruth(item) ? groundtruth.class[item.number] : item.of.class[item.number]];
function noteOf(item) {
  const { of, number: d } = item;
  if (isGroundtruth(item)) return isCounted(d) ? `missed${changeNote(d)}` : groundtruth.flags[d] & 1 ? "a crowd, does not count" : "difficult, does not count";
  const iou = `IoU ${of.iou[d].toFixed(2)}`, kind = kinds[of.kind[d]];
  if (kind === "correct") return iou + changeNote(of.match[d]);
  if (kind === "class" && of.confusion[d] >= 0) return `instead of ${classes[groundtruth.class[of.confusion[d]]]}, ${iou}`;
  return `${kindName(kind).toLowerCase()}, ${iou}`;
}
const changeNote = (object) => runs.length < 2 || object < 0 ? "" : isFixed(object) ? ", fixed" : isBroken(object) ? ", broken" : "";

function setHot(item) {
  if (hot?.boxes === item?.boxes && hot?.number === item?.number) return;
  hot = item;
  drawHot();
}
function drawHot() {
  for (const row of document.querySelectorAll("#lists .hot")) row.classList.remove("hot");
  hot?.row?.classList.add("hot");
  document.querySelectorAll("#frames .frame").forEach((frame, i) => {
    const of = inTime(runs)[i], shown = hot && (isGroundtruth(hot) || hot.of === of);
    frame.querySelector(".hot")?.remove();
    if (shown) frame.querySelector("svg").append(drawing("path", { class: "hot", d: outline(hot.boxes, hot.number) }));
    frame.querySelector(".labels").replaceChildren(...labels(frame, of, shown ? hot : null));
  });
}
/** Return the names of boxes; where they would hide the image, only that of the box pointed at. */
function labels(frame, of, pointed) {
  const items = [];
  eachKept(of, viewed, (d) => { if (fits.found(of, d)) items.push({ of, boxes: of.box, number: d }); });
  eachObject(viewed, (object) => { if (isMissed(of, object) && fits.groundtruth(of, object)) items.push({ of, boxes: groundtruth.box, number: object }); });
  const few = byId("labels").checked && items.length * 6000 < frame.clientWidth * frame.clientHeight ? items : [];
  const named = pointed && !few.some(({ boxes, number }) => boxes === pointed.boxes && number === pointed.number) ? [...few, pointed] : few;
  const taken = [];
  return named.map((item) => label(of, item, frame, taken));
}
const LABEL = { width: 90, height: 18 };
/** Return the name of a box: of what was found above it, of what is there below it, apart from the names at `taken` places. */
function label(of, item, frame, taken) {
  const below = isGroundtruth(item), [ymin, xmin, ymax] = item.boxes.subarray(4 * item.number, 4 * item.number + 3);
  const scale = frame.clientWidth / images.width[viewed];
  const x = Math.round(Math.max(0, xmin * scale)), lowest = frame.clientHeight - LABEL.height;
  let y = Math.round(Math.max(0, Math.min(lowest, below ? ymax * scale : ymin * scale - LABEL.height)));
  const covers = (place) => Math.abs(place.x - x) < LABEL.width && Math.abs(place.y - y) < LABEL.height;
  for (let place = taken.find(covers); place && y < lowest; place = taken.find(covers)) y = place.y + LABEL.height;  // whole pixels: y grows
  taken.push({ x, y });
  const state = below ? stateOfObject(of, item.number) : stateOfFound(of, item.number);
  const text = below ? `${nameOf(item)}${state === "missed" ? " missed" : ""}` : `${nameOf(item)} ${of.score[item.number].toFixed(2)}`;
  const made = element("span", { class: `${below ? "groundtruth" : "found"} ${state}` }, text);
  made.style.left = `${x}px`;
  made.style.top = `${y}px`;
  return made;
}

/** The smallest box under the pointer. */
function pointedAt(of, image, frame, event) {
  const place = frame.getBoundingClientRect();
  const x = (event.clientX - place.left) / place.width * images.width[image];
  const y = (event.clientY - place.top) / place.height * images.height[image];
  let best = null, least = Infinity;
  const look = (boxes, number) => {
    const [ymin, xmin, ymax, xmax] = boxes.subarray(4 * number, 4 * number + 4), area = (ymax - ymin) * (xmax - xmin);
    if (xmin <= x && x <= xmax && ymin <= y && y <= ymax && area < least) [best, least] = [{ of, boxes, number }, area];
  };
  eachObject(image, (object) => look(groundtruth.box, object));
  eachKept(of, image, (d) => look(of.box, d));
  return best;
}

// ---- Keyboard and switches ----

function switchLayer(layer, visible) {
  document.documentElement.classList.toggle(`no-${layer}`, !visible);
  for (const box of document.querySelectorAll(`[data-layer=${layer}]`)) box.checked = visible;
}
const turnLayer = (layer) => switchLayer(layer, !document.querySelector(`[data-layer=${layer}]`).checked);
function turnNames() {
  byId("labels").checked = !byId("labels").checked;
  if (viewed >= 0) drawHot();
}
const KEYS = {
  t: () => turnLayer("groundtruth"), f: () => turnLayer("found"), n: turnNames,
  "-": () => moveThreshold(-5), "+": () => moveThreshold(5), "=": () => moveThreshold(5),
};

// ---- Start ----

function listenHere() {
  for (const box of document.querySelectorAll("[data-layer]")) box.addEventListener("input", () => switchLayer(box.dataset.layer, box.checked));
  byId("labels").addEventListener("input", drawHot);
  byId("clear").addEventListener("click", () => go({ ...NO_FILTERS, sort: state.sort }));
  addEventListener("resize", drawHot);
  addEventListener("beforeprint", () => {
    for (const plot of document.querySelectorAll(".plot")) plot.dispatchEvent(new Event("seen"));
  });
}

/** Put in the previews that had not been read yet when the page was first drawn. */
function complete() {
  clearCells();
  renderCells();
  refresh();
  if (viewed >= 0) showImage(viewed);
}

tellOfPreviews("they were drawn by lot");
byId("num-images").textContent = digits.format(numImages);
makeThresholds();
makeFilters();
start(KEYS);
