"use strict";
// Shows the texts of systems for the same prompts. Whatever a text is, it is set as text and never as HTML.
const PAGE = 10;

for (const root of document.querySelectorAll(".browser")) start(root);

function start(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const last = data.systems.length - 1;
  const state = { find: "", a: last > 0 ? 0 : last, b: last, metric: 0, order: "given", page: 0 };
  const form = element("form", "");
  form.addEventListener("submit", event => event.preventDefault());
  form.append(
    field("Find in prompts and texts", element("input", "", { type: "search" }), "find"),
    field("System", choice(data.systems), "a"),
    field("compared with", choice([...data.systems, "all systems"]), "b"),
    field("Values of", choice(data.metrics.map(([name, up]) => name + (up === null ? "" : up ? " ↑" : " ↓"))), "metric"),
    field("Order", choice({
      given: "as in the data", low: "lowest values first", high: "highest values first",
      gain: "largest gain first", loss: "largest loss first",
    }), "order"),
  );
  const told = element("p", "", { className: "note" });
  told.setAttribute("aria-live", "polite");
  const shown = element("div", "");
  const turn = element("div", "", { className: "turn" });
  const back = element("button", "Previous", { type: "button" }), on = element("button", "Next", { type: "button" });
  back.addEventListener("click", () => { state.page -= 1; draw(); told.scrollIntoView(); });
  on.addEventListener("click", () => { state.page += 1; draw(); told.scrollIntoView(); });
  turn.append(back, on);
  root.append(form, told, shown, turn);
  draw();

  function field(name, control, key) {
    const label = element("label", name);
    if (control.tagName === "SELECT") control.value = String(state[key]);
    control.addEventListener("input", () => {
      state[key] = ["a", "b", "metric"].includes(key) ? Number(control.value) : control.value;
      state.page = 0;
      draw();
    });
    label.append(control);
    return label;
  }

  function draw() {
    const { a, b, metric, order } = state, wanted = state.find.toLowerCase(), all = b > last;
    const value = (row, system) => row.values[system]?.[metric] ?? null;
    const sign = data.metrics[metric]?.[1] === false ? -1 : 1;
    const gain = row => {
      const ours = value(row, a), theirs = value(row, all ? 0 : b);
      return ours === null || theirs === null ? null : sign * (theirs - ours);
    };
    const keys = {
      low: row => value(row, a), high: row => negative(value(row, a)),
      gain: row => negative(gain(row)), loss: gain,
    };
    let rows = data.rows.filter(row =>
      !wanted || [row.id, row.prompt, ...row.references, ...row.texts].some(text => (text ?? "").toLowerCase().includes(wanted)));
    if (order in keys) {
      const key = keys[order];  // those without a value come last
      rows = rows.map(row => [key(row), row]).sort(([x], [y]) => x === null ? (y === null ? 0 : 1) : y === null ? -1 : x - y)
        .map(([, row]) => row);
    }
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * PAGE, part = rows.slice(first, first + PAGE);
    told.textContent = rows.length
      ? `${first + 1} to ${first + part.length} of ${rows.length} prompts` + (rows.length < data.rows.length ? ` (${data.rows.length} in all)` : "")
      : `No prompt and no text has this in it; there are ${data.rows.length}.`;
    back.disabled = state.page === 0;
    on.disabled = state.page >= pages - 1;
    turn.hidden = pages === 1;
    const systems = all ? data.systems.map((_, i) => i) : [...new Set([a, b])];
    shown.replaceChildren(...part.map(row => article(row, systems, a)));
  }

  function article(row, systems, base) {
    const item = element("article", "");
    item.append(element("h4", `Prompt ${row.id}`), element("p", row.prompt));
    if (row.references.length)
      item.append(element("h4", row.references.length > 1 ? "References" : "Reference"), element("p", row.references.join("\n")));
    const texts = element("div", "", { className: "texts" });
    for (const system of systems) {
      const box = element("div", "");
      const values = data.metrics.map(([name], i) => [name, row.values[system]?.[i] ?? null])
        .filter(([, value]) => value !== null).map(([name, value]) => `${name} ${Number(value.toFixed(3))}`);
      box.append(
        element("h4", data.systems[system]),
        written(row.texts[system], system === base ? null : row.texts[base]),
        element("div", values.join(" · "), { className: "values" }),
      );
      texts.append(box);
    }
    item.append(texts);
    return item;
  }

  function written(text, before) {
    if (text === null) return element("p", "(no text)");
    if (text.trim() === "") return element("p", "(empty)");
    if (before === null) return element("p", text);
    const line = element("p", "");
    for (const [piece, isNew] of changed(before, text)) line.append(isNew ? element("mark", piece) : piece);
    return line;
  }
}

// The pieces of a text, with whether each is new against the other: what no longest common sequence of words has.
function changed(before, after) {
  const old = before.split(/\s+/).filter(Boolean), words = after.match(/\s*\S+|\s+$/g) ?? [];
  const common = Array.from({ length: old.length + 1 }, () => new Uint16Array(words.length + 1));
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = words.length - 1; j >= 0; j--)
      common[i][j] = old[i] === words[j].trim() ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const pieces = [];
  let i = 0;
  for (let j = 0; j < words.length; j++) {
    while (i < old.length && old[i] !== words[j].trim() && common[i + 1][j] >= common[i][j + 1]) i++;
    const same = i < old.length && old[i] === words[j].trim();
    if (same) i++;
    const word = words[j].trimStart(), space = words[j].slice(0, words[j].length - word.length);
    if (space) pieces.push([space, false]);
    if (word) pieces.push([word, !same]);
  }
  return pieces;
}

function negative(value) {
  return value === null ? null : -value;
}

function choice(names) {
  const control = element("select", "");
  const entries = Array.isArray(names) ? names.map((name, i) => [String(i), name]) : Object.entries(names);
  control.append(...entries.map(([value, name]) => element("option", name, { value })));
  return control;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  return Object.assign(made, attributes);
}
