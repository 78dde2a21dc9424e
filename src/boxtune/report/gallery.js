// Views, filters, the gallery of images and the viewer of one, for the pages that have images. The page's own script, which
// follows this one, gives
//   data, images                          the columns; of images: name, width, height, preview (0: none, else from 1 on)
//   NEUTRAL, FILTERS, MEANINGFUL, VIEWS     the state: what it starts with, what chooses images, what has a meaning; VIEWS
//                                           draws each view
//   KEPT                                    what of the state the links between views keep
//   chosenBy, chooseImages                which images the gallery shows, in which order, and by what that was decided
//   makeCell, CAPTION, GALLERY_COVER        a cell of the gallery, the height below its image, what sticks above the gallery
//   showImage                             what the viewer shows

// ---- Columns, words and elements ----

const integers = (base64) => new Uint32Array(bytes(base64).buffer);
const floats = (base64) => new Float32Array(bytes(base64).buffer);
const range = (start, end) => Array.from({ length: end - start }, (_, i) => start + i);
const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0 && fraction < 0.0995 || fraction > 0.9905 && fraction < 1 ? 1 : 0)}%`;
const by = ([width, height]) => `${Math.round(width)} × ${Math.round(height)}`;
const basename = (name) => name.slice(name.lastIndexOf("/") + 1);

function drawing(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const button = (text, click, attributes = {}) =>
  element("button", { type: "button", class: "button", ...attributes, click }, text);

/** Append the elements made of `items`: a few at first, and more at a time on demand, by a button that is returned. */
function listing(parent, items, make, few, more = few) {
  let next = 0;
  const demand = button("", () => { append(more); }, { class: "button plain" });
  function append(number) {
    const added = items.slice(next, next + number).map(make);
    parent.append(...added);
    if (next) added[0].querySelector("button, input")?.focus();
    next += added.length;
    const left = items.length - next;
    demand.textContent = left > more ? `Show ${digits.format(more)} more of ${digits.format(left)}` : `Show the other ${digits.format(left)}`;
    demand.hidden = left === 0;
  }
  append(few);
  return demand;
}

// ---- Previews ----

// Previews lie behind the scripts in blocks; the blocks last used are kept taken apart.
const blocks = new Map();
function preview(image) {
  const number = images.preview[image] - 1;
  if (number < 0) return "";
  const block = Math.floor(number / data.previews.block);
  if (!blocks.has(block)) {
    const element = byId(`previews-${block}`);
    const whole = element && (element.nextElementSibling || document.readyState !== "loading");
    if (!whole) return "";
    if (blocks.size === 8) blocks.delete(blocks.keys().next().value);
    blocks.set(block, element.textContent.split("\n"));
  }
  const base64 = blocks.get(block)[number % data.previews.block];
  return base64 && `data:image/jpeg;base64,${base64}`;
}
function thumbnail(image) {
  const source = preview(image);
  return source ? element("img", { src: source, alt: "", decoding: "async" }) : null;
}
/** Say how large previews are, and which images have none; `chosen` says how these were chosen. */
function tellOfPreviews(chosen) {
  const { side, most, megabytes } = data.previews, without = images.preview.filter((number) => number === 0).length;
  const size = `Images are kept in this page at up to ${digits.format(side)} pixels on the longer side`;
  const reduced = side < most ? `${size}, so that all of them take at most ${megabytes} MB.` : "";
  const missing = without ? `For want of room ${digits.format(without)} of ${many(images.name.length, "image")} have no preview: ${chosen}.` : "";
  byId("about-previews").textContent = reduced || `${size}.`;
  byId("without-preview").textContent = [reduced, missing].filter(Boolean).join(" ");
  byId("without-preview").hidden = !reduced && !missing;
}
const noPreview = () => element("span", { class: "no-preview" }, "No preview");

// ---- State: what is shown; the part behind # of the address keeps it ----

let state = {};
let writing = 0;
let openedHere = false;

/** Read the state from the address; what means nothing in this page (any more) is as if it were not there. */
function fromAddress() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const read = { ...NEUTRAL, ...(Object.hasOwn(VIEWS, view) && { view }) };
  for (const [name, value] of new URLSearchParams(query)) {
    if (MEANINGFUL[name]?.(value)) read[name] = value;
  }
  return read;
}

function address(of) {
  const given = new URLSearchParams(Object.entries(of).filter(([name, value]) => name !== "view" && value !== NEUTRAL[name]));
  return `#/${of.view}?${given}`.replace(/\?$/, "");
}

/** Change the state; with `push` the browser's back button undoes it. */
function go(change, { push = false } = {}) {
  if (writing) writeAddress();
  state = { ...state, ...change };
  if (push) history.pushState(null, "", address(state));
  else writing = setTimeout(writeAddress, 200);  // browsers refuse many changes in a short time
  show();
}
function writeAddress() {
  clearTimeout(writing);
  writing = 0;
  history.replaceState(null, "", address(state));
}

function show() {
  const kept = Object.fromEntries(KEPT.map((name) => [name, state[name]]));
  for (const link of document.querySelectorAll(".top nav a")) {
    const { view } = link.dataset;
    link.href = address({ ...NEUTRAL, ...kept, view });
    if (view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const turned = byId(state.view).hidden;
  for (const view in VIEWS) byId(view).hidden = view !== state.view;
  if (turned) scrollTo(0, 0);
  choose();
  VIEWS[state.view]();
  showViewer();
}

// ---- Choosing images ----

let chosen = [];  // the images that fit the filters, in the order to show them
let chosenKey = null;
let numChoices = 0;  // how often other images, or another order, have been chosen

function choose() {
  const key = chosenBy();
  if (key === chosenKey) return;
  chosenKey = key;
  const last = chosen;
  chosen = chooseImages();
  if (chosen.length !== last.length || chosen.some((image, i) => image !== last[i])) numChoices++;
}
function sortedBy(some, key) {
  const keys = new Map(some.map((image) => [image, key(image)]));
  return some.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
}

/** Return a test of names for the words searched for, null if there is none. */
function nameTest() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  return (image) => {
    const name = images.name[image].toLowerCase();
    return words.every((word) => name.includes(word));
  };
}

// ---- Images: filters ----

const controls = {};  // the input of each filter

function control(name, text, input) {
  controls[name] = input;
  input.setAttribute("aria-label", text);
  input.addEventListener("input", () => go({ [name]: input.value }));
  return element("label", { class: name === "search" ? "search" : "folds" }, element("span", {}, text), input);
}
function select([first, value], ...groups) {
  const options = groups.flatMap((group) => group.map(([value, text]) => element("option", { value }, text)));
  return element("select", {}, element("option", { value }, first), ...options);
}
const searchBox = () => control("search", "Search by name", element("input", { type: "search", autocomplete: "off", spellcheck: "false" }));
function unfolder() {
  const unfold = (event) => event.currentTarget.setAttribute("aria-expanded", String(byId("filters").classList.toggle("unfolded")));
  return element("button", { type: "button", class: "button", id: "unfold", "aria-expanded": "false", click: unfold }, "Filters");
}

function showGallery() {
  for (const [name, input] of Object.entries(controls)) {
    if (input.value !== state[name]) input.value = state[name];
    input.parentElement.classList.toggle("active", state[name] !== "");
  }
  const filtered = FILTERS.some((name) => state[name] !== ""), all = many(images.name.length, "image");
  byId("count").textContent = filtered ? `${digits.format(chosen.length)} of ${all}` : all;
  byId("clear").hidden = !filtered;
  byId("nothing").hidden = chosen.length > 0;
  byId("zoom").value = rowHeight();
  if (state.open === "") layOut();
}

// ---- Images: the gallery holds only the cells that are in view ----

const GAP = 12;
const cells = new Map();  // from a position among the chosen to its element
let cursor = 0;  // the position of the image that the keyboard is at
let layout = { key: null, choice: 0, drawn: null, rows: [], x: [], width: [] };

const rowHeight = () => Math.max(90, Math.min(420, Number(state.zoom) || (innerWidth < 600 ? 130 : 190)));
/** Width to height of a cell: very long and very high images get a mat around them. */
const aspect = (image) => Math.max(0.5, Math.min(2.5, images.width[image] / images.height[image]));

/** Divide the chosen images into rows of equal height that fill the width. */
function layOut() {
  const width = byId("gallery").clientWidth;
  const key = `${numChoices} ${width} ${rowHeight()}`;
  if (layout.drawn !== chosenKey) clearCells();
  layout.drawn = chosenKey;
  if (layout.key === key) return renderCells();
  const moved = layout.key !== null && layout.choice !== numChoices;
  layout = { ...layout, key, choice: numChoices, rows: [], x: new Float32Array(chosen.length), width: new Float32Array(chosen.length) };
  let top = 0, start = 0, sum = 0;
  for (let i = 0; i < chosen.length; i++) {
    sum += aspect(chosen[i]);
    const gaps = (i - start) * GAP, last = i === chosen.length - 1;
    if (sum * rowHeight() + gaps < width && !last) continue;
    const height = Math.min(last ? rowHeight() : Infinity, (width - gaps) / sum);
    placeRow(start, i + 1, top, height);
    top += height + CAPTION + GAP;
    start = i + 1;
    sum = 0;
  }
  byId("gallery").style.height = `${Math.max(0, top - GAP)}px`;
  clearCells();
  if (moved) cursor = 0;
  if (moved && scrollY > byId("images").offsetTop) scrollTo(0, 0);
  renderCells();
}
function placeRow(start, end, top, height) {
  layout.rows.push({ start, end, top, height });
  let x = 0;
  for (let i = start; i < end; i++) {
    layout.x[i] = x;
    layout.width[i] = aspect(chosen[i]) * height;
    x += layout.width[i] + GAP;
  }
}
function clearCells() {
  for (const cell of cells.values()) cell.remove();
  cells.clear();
}

/** The index of the last row that starts at or above `y`. */
function rowAt(y) {
  let low = 0, high = layout.rows.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (layout.rows[middle].top <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}
const rowOf = (position) => layout.rows.findIndex(({ start, end }) => start <= position && position < end);

function renderCells() {
  if (byId("images").hidden || !layout.rows.length) return;
  const above = scrollY - byId("gallery").offsetTop, margin = innerHeight / 2;
  const first = rowAt(above - margin), last = rowAt(above + innerHeight + margin);
  const from = layout.rows[first].start, to = layout.rows[last].end;
  cells.forEach((cell, position) => {
    if (position >= from && position < to) return;
    cell.remove();
    cells.delete(position);
  });
  for (let row = first; row <= last; row++) {
    for (let i = layout.rows[row].start; i < layout.rows[row].end; i++) if (!cells.has(i)) addCell(i, layout.rows[row]);
  }
}

function addCell(position, row) {
  const cell = makeCell(position, layout.width[position], row.height);
  cell.style.transform = `translate(${layout.x[position]}px, ${row.top}px)`;
  // In the order of the images, so that the tabulator key follows it.
  let after = position + 1;
  while (after < row.end && !cells.has(after)) after++;
  const next = cells.get(after) ?? [...cells].find(([other]) => other > position)?.[1] ?? null;
  cells.set(position, cell);
  byId("gallery").insertBefore(cell, next);
}

/** Return a cell: an image with `drawn` over it, which `label` tells, and the line `below` it. */
function galleryCell(position, width, height, { label, drawn, below }) {
  const image = chosen[position], shape = images.width[image] / images.height[image];
  const frame = element("span", { class: "frame" }, thumbnail(image) ?? noPreview(), drawn);
  frame.style.width = `${Math.min(width, height * shape)}px`;
  frame.style.height = `${Math.min(height, width / shape)}px`;
  const mat = element("span", { class: "mat" }, frame);
  mat.style.height = `${height}px`;
  const cell = element("li", { "aria-setsize": chosen.length, "aria-posinset": position + 1 },
    element("button", { type: "button", class: "cell", "aria-label": label, title: images.name[image],
      click: () => openImage(image), focus: () => { cursor = position; } }, mat, below));
  cell.style.width = `${width}px`;
  return cell;
}

function moveCursor(position) {
  if (!chosen.length) return;
  cursor = Math.max(0, Math.min(chosen.length - 1, position));
  const row = layout.rows[rowOf(cursor)];
  const above = scrollY - byId("gallery").offsetTop;
  const covered = GALLERY_COVER[matchMedia("(max-width: 900px)").matches ? "narrow" : "wide"];
  if (row.top < above + covered) scrollBy(0, row.top - above - covered);
  else if (row.top + row.height + CAPTION > above + innerHeight) scrollBy(0, row.top + row.height + CAPTION + GAP - above - innerHeight);
  renderCells();
  cells.get(cursor)?.querySelector("button").focus({ preventScroll: true });
}

/** Move to the image of a neighbouring row that is nearest in place. */
function moveByRow(step) {
  const row = layout.rows[rowOf(cursor) + step];
  if (!row) return;
  const middle = (position) => layout.x[position] + layout.width[position] / 2;
  const distance = (position) => Math.abs(middle(position) - middle(cursor));
  moveCursor(range(row.start, row.end).reduce((best, other) => distance(other) < distance(best) ? other : best));
}

// ---- One image ----

let viewed = -1;

/** Look at an image closely; with filters, step from there through those that fit them. */
function openImage(image, filters = {}) {
  openedHere = true;
  go({ ...filters, open: String(image) }, { push: true });
  cursor = Math.max(0, chosen.indexOf(image));
}
function closeImage() {
  if (openedHere) history.back();
  else go({ open: "" });
  openedHere = false;
}
function step(distance) {
  const position = chosen.indexOf(Number(state.open)) + distance;
  if (position < 0 || position >= chosen.length) return;
  cursor = position;
  go({ open: String(chosen[position]) });
}

function showViewer() {
  const viewer = byId("viewer");
  const image = state.open === "" ? -1 : Number(state.open);
  if (image < 0) {
    if (viewer.open) viewer.close();
    if (viewed >= 0 && state.view === "images") moveCursor(cursor);
    viewed = -1;
    return;
  }
  if (!viewer.open) viewer.showModal();
  if (viewed < 0) viewer.focus();
  if (image === viewed) return;
  viewed = image;
  showImage(image);
}

/** Write the head of the viewer: the image's name, where it stands among the chosen, and what else is said of it. */
function showHead(image, about) {
  const position = chosen.indexOf(image);
  const place = position < 0 ? "" : `${digits.format(position + 1)} of ${digits.format(chosen.length)}`;
  byId("image-name").replaceChildren(...breakable(images.name[image]));
  byId("image-about").textContent = [place, ...about].filter(Boolean).join(" · ");
  byId("previous").disabled = position <= 0;
  byId("next").disabled = position < 0 || position === chosen.length - 1;
}

/** Step by swiping over `stage`. */
function watchSwipes(stage) {
  let start = null;
  stage.addEventListener("pointerdown", (event) => { start = event.pointerType === "touch" ? event.clientX : null; });
  stage.addEventListener("pointerup", (event) => {
    const moved = start === null ? 0 : event.clientX - start;
    if (Math.abs(moved) > 50) step(moved < 0 ? 1 : -1);
  });
}

// ---- Keyboard ----

/** Return the keys of the viewer, of the gallery and of the other views, each with those of `own`. */
function keyTables(own) {
  const everywhere = { ...own, "?": () => byId("help").showModal() };
  const page = { ...everywhere, "/": () => { go({ view: "images" }); controls.search.focus(); } };
  return {
    viewer: {
      ...everywhere, ArrowLeft: () => step(-1), k: () => step(-1), ArrowRight: () => step(1), j: () => step(1), Escape: closeImage,
    },
    page,
    gallery: {
      ...page,
      ArrowLeft: () => moveCursor(cursor - 1), k: () => moveCursor(cursor - 1),
      ArrowRight: () => moveCursor(cursor + 1), j: () => moveCursor(cursor + 1),
      ArrowUp: () => moveByRow(-1), ArrowDown: () => moveByRow(1),
      Home: () => moveCursor(0), End: () => moveCursor(chosen.length - 1),
      Enter: () => chosen.length && openImage(chosen[cursor]),
    },
  };
}

function onKey(event, tables) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const { target } = event;
  if (target.matches("select, input[type=search], input[type=range]")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "Enter" && target.matches("button, a, summary")) return;  // which does its own work
  const keys = byId("viewer").open ? tables.viewer : state.view === "images" ? tables.gallery : tables.page;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
}

// ---- Start ----

/** Show what the address says, and complete it once the whole page has been read. */
function start(ownKeys) {
  listen(ownKeys);
  listenHere();
  state = fromAddress();
  show();
  addEventListener("DOMContentLoaded", complete);
}

function listen(ownKeys) {
  const tables = keyTables(ownKeys);
  history.scrollRestoration = "manual";
  addEventListener("popstate", () => { state = fromAddress(); show(); });
  addEventListener("scroll", () => requestAnimationFrame(renderCells), { passive: true });
  addEventListener("resize", () => { if (state.view === "images") layOut(); });
  addEventListener("keydown", (event) => onKey(event, tables));
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
  byId("viewer").addEventListener("cancel", (event) => { event.preventDefault(); closeImage(); });
  byId("close").addEventListener("click", closeImage);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("close-help").addEventListener("click", () => byId("help").close());
  byId("zoom").addEventListener("input", (event) => go({ zoom: event.target.value }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  watchSwipes(document.querySelector(".stage"));
}
