// ---- The data, as boxtune.report.runs_page writes them ----

const { runs, best } = JSON.parse(byId("data").textContent);

const NONE = "–";
const fixed = (value) => value === null || value < 0 ? NONE : value.toFixed(3);
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
const nameOf = ({ number }) => `Run ${number}`;
const shade = ({ number }) => SHADES[(number - 1) % SHADES.length];

// ---- The table ----

const onSameImages = runs.some((run) => run.same_images !== null);
const HEADS = ["Run", "Images", "Classes", "Steps", "mAP", "Best before", "Difference", ...(onSameImages ? ["Same images"] : [])];
function tableCard() {
  const body = element("tbody", {}, ...runs.map((run) => withHeads(rowOf(run), HEADS)));
  const heads = HEADS.map((head, i) => element("th", { scope: "col", class: i ? "number" : null }, head));
  const table = element("table", { class: "upright" }, element("thead", {}, element("tr", {}, ...heads)), body);
  const made = card("Runs", "Images: for training and for validation. mAP is that of a run on its own validation images, with its"
    + " 95 % confidence interval. Best before: the best of the runs before, on the same images; the difference is of these two."
    + (onSameImages ? ` Same images: mAP on the validation images of run ${runs.length}, over the classes that both know.` : ""),
  scrolling("Runs", table));
  made.classList.add("wide");
  return made;
}
function rowOf(run) {
  const number = (...content) => element("td", { class: "number" }, ...content);
  const name = [element("span", { class: "swatch", "--color": shade(run) }), ` ${nameOf(run)} `,
    runs.indexOf(run) === best ? element("span", { class: "best" }, "the best") : null];
  return element("tr", {}, element("td", {}, ...name.filter(Boolean)), number(run.images.join(" + ")), number(String(run.num_classes ?? NONE)),
    number(run.step === null ? "not ended" : digits.format(run.step)), number(fixed(run.mean_average_precision), note(run.interval, fixed)),
    number(fixed(run.before)), number(...differenceOf(run)), ...(onSameImages ? [number(fixed(run.same_images))] : []));
}
const note = (interval, shown, more = "") => interval ? element("span", { class: "note" }, `${interval.map(shown).join(" to ")}${more}`) : "";
function differenceOf({ difference: found }) {
  if ((found?.difference ?? null) === null) return [NONE];
  return [signed(found.difference), note(found.interval, signed), found.interval
    ? element("span", { class: "note" }, found.significant ? "more than chance" : "may be chance") : ""];
}

// ---- Curves ----

function curveCard(title, about, lines, range = null) {
  const { plot, draw } = chart(() => learningFigure(title, lines, range), null);
  draw();
  return card(title, about, plot);
}
const told = runs.filter(({ history }) => history !== null);
const lineOf = (run, x, y) => ({ name: nameOf(run), color: shade(run), x, y });

// ---- What changed ----

function runCard(run) {
  const { history } = run;
  const facts = [
    ["Folder", breakable(run.folder)], ["Weights from", breakable(run.start)], ["Model", history && breakable(history.model)],
    ["Length", history?.steps.length ? `${many(history.steps.at(-1), "step")} of ${many(history.batch_size, "image")}` : null],
    ["Started", history?.time.slice(0, 16).replace("T", " ")],
    ["Command", history?.command && element("code", {}, ...commandWords(history.command))],
  ];
  const changes = run.changes.length ? [element("h3", {}, "What had changed"),
    element("ul", { class: "changes" }, ...run.changes.map((change) => element("li", {}, ...breakable(change))))] : [];
  return card(nameOf(run), null, factList(facts), ...changes);
}

byId("cards").append(
  tableCard(),
  curveCard("mAP", "On the validation images of each run.",
    told.map((run) => lineOf(run, run.history.evaluated, run.history.mean_average_precision)), [0, 1.03]),
  curveCard("Loss", "In training.", told.map((run) => lineOf(run, run.history.steps, run.history.losses))),
  ...runs.map(runCard),
);
