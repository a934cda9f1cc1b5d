"use strict";
// Everything is built from the JSON block. Text reaches the document through textContent only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http:" + "//www.w3.org/2000/svg"; // the name of a format, not an address that is loaded

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

let numbered = 0;
const fresh = () => `n${numbered++}`;
const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
const shown = (value) => (value === null || value === undefined ? "" : String(value));

// Text with `code` in it; text in small grey letters; a number with its interval below.
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
const quiet = (text) => el("p", { class: "quiet" }, prose(text));
function withInterval(text) {
  if (!text) return "";
  const [number, ends] = text.split(" (");
  return ends ? [number, " ", el("span", { class: "ci" }, `(${ends}`)] : number;
}

// A table that scrolls sideways in a frame of its own, which takes the focus so that keys can scroll it.
function scrolled(caption, ...content) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "unseen" }, caption), ...content));
}
