// ---- Charts, drawn by plotly.js ----

const SHADES = ["#4a7fd4", "#dd7f2a", "#2b9f6f", "#c94f80", "#8468cc", "#95733f", "#2c9cb1", "#9c9a2f"];
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false };
const LAYOUT = {
  paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, hovermode: "closest", dragmode: false,
  margin: { l: 48, r: 12, t: 10, b: 44 }, font: { family: getComputedStyle(document.body).fontFamily, size: 12 },
  hoverlabel: { bgcolor: "#22262c", bordercolor: "#22262c", font: { color: "#fff" }, align: "left" },
};
const AXIS = { fixedrange: true, zeroline: false, automargin: true, ticks: "" };

let library = null;
/** Start plotly.js, which lies in the page compressed. */
function plotly() {
  library ??= (async () => {
    const packed = new Blob([bytes(byId("charts").textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = element("script");
    script.textContent = await new Response(packed).text();
    document.head.append(script);
  })();
  return library;
}
/** Text for plotly.js, which knows a few tags. */
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) target.dispatchEvent(new Event("seen"));
}, { rootMargin: "300px" });

/** Return a chart that is drawn when it first comes near the view. `figure` gives traces, layout and a summary. */
function chart(figure, click) {
  const plot = element("div", { class: "plot", role: "img" });
  let visible = false;
  async function draw() {
    const { traces, layout, summary } = figure();
    plot.setAttribute("aria-label", summary);
    if (!visible) return;
    try {
      await plotly();
    } catch {
      plot.textContent = "This browser cannot draw the chart. The tables have its numbers.";
      return;
    }
    const first = !plot.classList.contains("js-plotly-plot");
    await Plotly.react(plot, traces, { ...LAYOUT, ...layout }, CONFIG);
    byId("js-plotly-tester").setAttribute("aria-hidden", "true");  // where it measures texts
    if (first && click) plot.on("plotly_click", ({ points: [point] }) => click(point));
  }
  plot.addEventListener("seen", () => {
    if (visible) return;
    visible = true;
    draw();
  });
  seen.observe(plot);
  return { plot, draw };
}
const LEGEND = {
  showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
  margin: { ...LAYOUT.margin, t: 36 },
};
const axis = (title, more = {}) => ({ ...AXIS, title: { text: title, standoff: 8 }, ...more });

// ---- Runs: how they were made, and how they have learned ----

/** The words of a command line, each in a piece. */
const commandWords = (command) => command.split(" ").flatMap((word) => [element("span", {}, ...breakable(word)), " "]);

/** Names and values, without those that have no value. */
const factList = (facts) => element("dl", { class: "facts" }, ...facts.filter(([, value]) => value).flatMap(([name, value]) =>
  [element("dt", {}, name), element("dd", {}, ...[value].flat())]));

/** Return a chart of lines over the steps of runs: of `name`, `color`, `dash`, `x` and `y`, where null makes a gap. */
function learningFigure(title, lines, range = null) {
  const last = ({ name, x, y }) => x.length ? `${name} ${y.at(-1)?.toFixed(3) ?? "unknown"} at step ${x.at(-1)}` : `${name} unknown`;
  return {
    traces: lines.map(({ name, color, dash = "solid", x, y }) => ({
      type: "scatter", mode: x.length > 50 ? "lines" : "lines+markers", x, y, name: plain(name), marker: { size: 6 },
      line: { color, width: 2, dash }, hovertemplate: "%{fullData.name}<br>step %{x:,}: %{y:.3f}<extra></extra>",
    })),
    summary: `${title} by step. ${lines.map(last).join(", ")}`,
    layout: { ...LEGEND, xaxis: axis("step", { rangemode: "tozero" }), yaxis: axis(title, range ? { range } : { rangemode: "tozero" }) },
  };
}
