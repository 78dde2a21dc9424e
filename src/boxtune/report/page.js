"use strict";

// What all pages of this package share; other shared scripts (gallery.js, charts.js) and the page's own follow.

// ---- Columns ----

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const array = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) array[i] = text.charCodeAt(i);
  return array;
}

// ---- Words and elements ----

const byId = (id) => document.getElementById(id);
const digits = new Intl.NumberFormat("en");
const many = (number, one, more = `${one}s`) => `${digits.format(number)} ${number === 1 ? one : more}`;

const COLORS = [
  "#ffb224", "#3ddbd9", "#ff6b8b", "#8fd14f", "#7aa7ff", "#e879f9", "#ff8b4d", "#2fd08a", "#c4a5ff", "#f4e04d", "#5cc8ff", "#ff9ecb",
];
const color = (number) => COLORS[number] ?? `hsl(${Math.round(number * 137.5) % 360} 80% 68%)`;

/** Make an element; text goes in as text, never as HTML. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
/** A name that may be long, in a line that breaks behind its slashes and underscores rather than in a word. */
const breakable = (name) => name.split(/(?<=[/_])/).flatMap((part, i) => i ? [element("wbr"), part] : [part]);

/** A row whose cells know the heads of their columns, so that a narrow table can stand upright. */
function withHeads(row, heads) {
  [...row.children].forEach((cell, i) => { cell.dataset.head = heads[i]; });
  return row;
}

function card(title, about, ...content) {
  return element("section", { class: "card", "aria-label": title },
    element("h2", {}, title), about && element("p", {}, about), ...content);
}
/** A table that scrolls sideways, by the keyboard, too. */
const scrolling = (label, table) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
