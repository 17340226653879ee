"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const at = (id) => document.getElementById(id);
  const content = read("content"), files = read("files"), { runs, states, classes, attacks } = content;
  const hex = content.ids.map((id) => BigInt(id).toString(16).padStart(16, "0"));
  const n = content.ids.length, everyone = [...content.ids.keys()];

  // Elements take texts only as texts.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(name === "svg" || SHAPES.has(name) ? SVG : HTML, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const SVG = "http://www.w3.org/2000/svg", HTML = "http://www.w3.org/1999/xhtml";
  const SHAPES = new Set(["path", "line", "circle", "text"]);
  const image = (file, attributes) => make("img", { ...attributes, decoding: "async", src: `data:image/png;base64,${files[file]}` });
  const number = (value, digits = 3) => value === null ? "-" : String(Number(value.toPrecision(digits)));
  const named = (prediction) => prediction === null ? "no answer" : classes[prediction];
  const times = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  const state = (run, i) => run.columns.state[i] === null ? null : states[run.columns.state[i]];

  // The filters: controls whose values are kept in the address.
  const CONTROLS = ["run", "state", "by", "label", "pred", "marginFrom", "marginTo", "distanceFrom", "distanceTo", "broken", "kept", "id", "sort", "down", "pictured", "traced"];
  const controls = CONTROLS.map(at).filter(Boolean);
  const value = (id) => { const control = at(id); return !control ? "" : control.type === "checkbox" ? control.checked : control.value; };
  const bound = (id, otherwise) => value(id) === "" || Number.isNaN(Number(value(id))) ? otherwise : Number(value(id));
  const runOf = (id) => runs.find((run) => run.id === value(id));
  const chosen = () => runOf("run") ? [runOf("run")] : runs;
  const within = (number, from, to) => (from === -Infinity && to === Infinity) || (number !== null && from <= number && number <= to);
  let fitting = new Map(); // of each sample found, the runs that the filters are met in
  const filter = () => {
    const [wanted, by, label, pred] = ["state", "by", "label", "pred"].map(value), among = chosen();
    const margins = [bound("marginFrom", -Infinity), bound("marginTo", Infinity)];
    const sizes = [bound("distanceFrom", -Infinity), bound("distanceTo", Infinity)];
    const fits = (run, i) => {
      const c = run.columns;
      return c.state[i] !== null && (!wanted || states[c.state[i]] === wanted) && (!by || attacks[c.by[i]] === by)
        && (!pred || c.advPred[i] === Number(pred)) && within(c.advMargin[i], ...margins) && within(c.distance[i], ...sizes);
    };
    const [fell, held, text] = [runOf("broken"), runOf("kept"), value("id").trim().toLowerCase().replace(/^0x/, "")];
    const pictured = value("pictured"), traced = value("traced");
    const found = everyone.filter((i) => (!label || content.label[i] === Number(label)) && among.some((run) => fits(run, i))
      && (!fell || state(fell, i) === "broken") && (!held || (state(held, i) !== null && state(held, i) !== "broken"))
      && (!text || hex[i].includes(text) || content.ids[i].includes(text))
      && (!pictured || content.clean[i] !== null || i in content.features) && (!traced || among.some((run) => i in run.traces)));
    fitting = new Map(found.map((i) => [i, fell && !runOf("run") ? [fell] : among.filter((run) => fits(run, i))]));
    return found;
  };
  const sorted = (found) => {
    const by = value("sort"), sign = value("down") ? -1 : 1;
    if (!by) return value("down") ? found.reverse() : found;
    const key = by === "id" ? (i) => hex[i] : (i) => {
      const known = fitting.get(i).map((run) => run.columns[by][i]).filter((v) => v !== null);
      return known.length ? Math.min(...known) : null;
    };
    const keys = new Map(found.map((i) => [i, key(i)]));
    return found.sort((i, j) => { // what has no value stays last
      const [a, b] = [keys.get(i), keys.get(j)];
      return a === null || b === null ? (a === null) - (b === null) : sign * (a < b ? -1 : a > b ? 1 : 0);
    });
  };

  // The list draws only the rows that can be seen.
  const list = at("list"), rows = list.firstElementChild, detail = at("detail"), pane = at("sample"), browse = pane.parentElement;
  const narrow = matchMedia("(max-width: 55rem)");
  let shown = [], active = 0, open = null;
  const height = () => parseFloat(getComputedStyle(document.documentElement).fontSize) * (3.4 + 1.35 * (Math.ceil(runs.length / (narrow.matches ? 3 : 4)) - 1));
  const said = (run, i) => {
    const c = run.columns, result = state(run, i);
    return `${run.letter} ${result}${result === "broken" ? ` at ${number(c.distance[i])}` : ""}`;
  };
  const row = (place) => {
    const i = shown[place], tall = height();
    const marks = runs.filter((run) => state(run, i)).map((run) => make("span", { class: `sign ${state(run, i)}` },
      `${run.letter}${state(run, i) === "broken" ? ` ${number(run.columns.distance[i], 2)}` : ""}`));
    const option = make("div", {
      role: "option", id: `o${i}`, "aria-selected": place === active, "aria-setsize": shown.length, "aria-posinset": place + 1,
      "aria-label": `Sample ${hex[i].slice(0, 8)}, class ${classes[content.label[i]]}; ${runs.filter((run) => state(run, i)).map((run) => said(run, i)).join("; ")}`,
    }, content.clean[i] === null ? make("span", { class: "none" }) : image(content.clean[i], { alt: "" }),
    make("div", {}, make("div", {}, make("b", {}, classes[content.label[i]]), " ", make("code", {}, hex[i].slice(0, 8))), make("div", { class: "marks" }, ...marks)));
    option.style.top = `${place * tall}px`;
    option.style.height = `${tall}px`;
    option.addEventListener("click", () => { move(place, false); show(i); });
    return option;
  };
  const draw = () => {
    const tall = height(), first = Math.max(0, Math.floor(list.scrollTop / tall) - 4);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / tall) + 4);
    rows.style.height = `${shown.length * tall}px`;
    rows.replaceChildren(...everyone.slice(first, last).map(row));
    if (active >= first && active < last) list.setAttribute("aria-activedescendant", `o${shown[active]}`);
    else list.removeAttribute("aria-activedescendant");
  };
  const move = (place, follow = true) => {
    if (!shown.length) return;
    const tall = height();
    active = Math.max(0, Math.min(shown.length - 1, place));
    if (active * tall < list.scrollTop) list.scrollTop = active * tall;
    else if ((active + 1) * tall > list.scrollTop + list.clientHeight) list.scrollTop = (active + 1) * tall - list.clientHeight;
    draw();
    if (follow && open !== null) show(shown[active], false);
  };
  const update = () => {
    const before = shown[active];
    shown = sorted(filter());
    active = Math.max(0, shown.indexOf(open ?? before));
    at("count").textContent = `${shown.length} of ${times(n, "sample")}`;
    at("runs").tBodies[0].querySelectorAll("tr").forEach((line, r) => {
      const counts = states.map(() => 0);
      for (const i of shown) if (runs[r].columns.state[i] !== null) counts[runs[r].columns.state[i]] += 1;
      line.querySelectorAll("td.number").forEach((cell, s) => { cell.textContent = counts[s]; });
    });
    if (active === 0) list.scrollTop = 0;
    move(active, false);
    draw();
  };

  // One sample in each run.
  const picture = (file, alt, caption) => make("figure", {}, image(file, { alt, loading: "lazy" }), make("figcaption", {}, caption));
  const fact = (name, text) => make("div", {}, make("dt", {}, name), make("dd", {}, text));
  const pictures = (run, i) => {
    const c = run.columns, worst = run.pictures[i], who = `sample ${hex[i].slice(0, 8)}`;
    if (content.clean[i] === null) return [];
    const box = make("div", { class: "pictures" }, picture(content.clean[i], `${who}, clean`, `clean: ${named(c.cleanPred[i])}`));
    if (!worst) return [box, make("p", { class: "missing" }, run.kept ? "The worst point is the clean input." : "The run kept no points: attack with --store-points to see them.")];
    const amplified = `difference, ${number(1 / worst[2])} times: full colour is ${number(worst[2])}; red brighter, blue darker`;
    box.append(picture(worst[0], `${who}, worst point of ${run.letter}`, `worst: ${named(c.advPred[i])}`),
      picture(worst[1], `${who}, ${amplified}`, amplified));
    return [box];
  };
  const features = (run, i) => {
    const [clean, moved] = [content.features[i], run.moved[i]];
    if (!clean) return [];
    const cell = (text) => make("td", { class: "number" }, text);
    const heads = ["feature", "clean", ...(moved ? ["worst", "change"] : [])].map((text) => make("th", { scope: "col" }, text));
    const lines = clean.map((v, f) => make("tr", {}, make("th", { scope: "row" }, f), cell(number(v)),
      ...(moved ? [cell(number(moved[f])), cell(number(moved[f] - v))] : [])));
    return [make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Features in [0,1], run ${run.letter}` },
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines)))];
  };
  const trace = (run, i) => {
    if (!(i in run.traces)) return [];
    const [attack, margins] = run.traces[i], known = margins.filter((m) => m !== null);
    if (!known.length) return [];
    const [low, high, last] = [Math.min(0, ...known), Math.max(0, ...known), Math.max(1, margins.length - 1)];
    const x = (step) => 44 + (step / last) * 346, y = (m) => 10 + ((high - m) / (high - low || 1)) * 110;
    const fell = margins.findIndex((m) => m !== null && m < 0);
    const text = `Margin along ${times(margins.length - 1, "step")} of ${attack}: from ${number(known[0])} to ${number(known.at(-1))}, lowest ${number(Math.min(...known))}; `
      + (fell < 0 ? "never below 0" : `below 0 from step ${fell}`);
    const points = margins.map((m, step) => m === null ? "" : `${step && margins[step - 1] !== null ? "L" : "M"}${x(step)} ${y(m)}`).join("");
    const mark = (where, what) => make("text", { x: 38, y: where + 4, "text-anchor": "end" }, what);
    const svg = make("svg", { class: "trace", viewBox: "0 0 400 150", role: "img", "aria-label": text },
      make("line", { class: "zero", x1: 44, x2: 390, y1: y(0), y2: y(0) }), make("path", { d: points }), mark(y(0), "0"),
      ...[low, high].filter((m) => Math.abs(y(m) - y(0)) > 12).map((m) => mark(y(m), number(m, 2))),
      ...(fell < 0 ? [] : [make("circle", { cx: x(fell), cy: y(margins[fell]), r: 4 })]),
      make("text", { x: 44, y: 143 }, "step 0"), make("text", { x: 390, y: 143, "text-anchor": "end" }, String(margins.length - 1)));
    return [make("p", { class: "facts", "aria-hidden": "true" }, `${text}.`), svg];
  };
  const card = (run, i) => {
    const c = run.columns, result = state(run, i), title = make("h3", {}, make("b", { class: "letter" }, run.letter), ` ${run.name}, ${run.threat}`, make("small", {}, `run ${run.id}, ${run.attack}`));
    if (!result) return make("section", { class: "one" }, title, make("p", { class: "missing" }, "The run has no such sample."));
    const queries = `after ${times(c.forward[i], "forward")} and ${times(c.backward[i], "backward")}`;
    const how = result === "misclassified" || result === "rejected" ? "without an attack" : c.by[i] === null ? `${queries}${run.attack === "none" ? "" : `, by ${run.attack}`}` : `by ${attacks[c.by[i]]}, variant ${c.variant[i] ?? "-"}, at step ${c.step[i] ?? "-"}, ${queries}`;
    const facts = make("dl", {}, fact("clean prediction", named(c.cleanPred[i])), fact("clean margin", number(c.cleanMargin[i])),
      fact("worst prediction", named(c.advPred[i])), fact("worst margin", number(c.advMargin[i])), fact(`distance, ${run.norm}`, number(c.distance[i])),
      ...(c.target[i] === null ? [] : [fact("target", classes[c.target[i]] ?? c.target[i])]));
    return make("section", { class: "one", "aria-label": `Run ${run.letter}: ${run.name}, ${run.threat}` }, title,
      make("p", {}, make("span", { class: `sign ${result}` }, ` ${result}`), ` ${how}`, ...(c.note[i] ? [`; ${c.note[i]}`] : [])),
      ...pictures(run, i), facts, ...features(run, i), ...trace(run, i));
  };
  const show = (i, focus = true) => {
    open = i;
    at("sample-head").textContent = `Sample ${hex[i].slice(0, 8)}: class ${classes[content.label[i]]}`;
    detail.replaceChildren(make("p", { class: "facts" }, `sample_id ${content.ids[i]}, in hexadecimal ${hex[i]}; place ${content.index[i]} in the data`),
      ...runs.map((run) => card(run, i)));
    pane.hidden = false;
    at("hint").hidden = true;
    browse.classList.add("open");
    if (focus) {
      at("sample-head").focus();
      if (narrow.matches) pane.scrollIntoView();
    }
    remember();
  };
  const close = () => {
    if (open === null) return;
    open = null;
    pane.hidden = true;
    at("hint").hidden = false;
    browse.classList.remove("open");
    move(active, false);
    list.focus();
    remember();
  };

  // The address keeps the view.
  const remember = () => {
    const kept = new URLSearchParams();
    for (const control of controls) if (value(control.id)) kept.set(control.id, control.type === "checkbox" ? "1" : value(control.id));
    if (open !== null) kept.set("sample", hex[open]);
    history.replaceState(null, "", `#${kept}`);
  };
  const recall = () => {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const control of controls) {
      if (control.type === "checkbox") control.checked = kept.has(control.id);
      else control.value = kept.get(control.id) ?? "";
      if (control.selectedIndex === -1) control.selectedIndex = 0; // what this page does not have
    }
    const i = hex.indexOf(kept.get("sample"));
    update();
    if (i >= 0) { active = Math.max(0, shown.indexOf(i)); move(active, false); show(i, false); }
    else close();
  };
  const changed = () => { update(); remember(); };
  controls.forEach((control) => control.addEventListener("input", changed));
  document.forms[0].addEventListener("submit", (event) => event.preventDefault());
  document.forms[0].addEventListener("reset", () => setTimeout(changed));
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / height()) - 1);
    const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: shown.length - 1 }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (to !== undefined) move(to);
    else if ((event.key === "Enter" || event.key === " ") && shown.length) show(shown[active]);
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.defaultPrevented && !event.target.closest?.("form")) close(); });
  const step = (by) => { // the focus stays on the button, so the sample is announced
    if (!shown.length) return;
    move(shown.includes(open) ? active + by : active, false);
    show(shown[active], false);
    at("said").textContent = at("sample-head").textContent;
  };
  at("before").addEventListener("click", () => step(-1));
  at("after").addEventListener("click", () => step(1));
  at("close").addEventListener("click", close);
  document.querySelector(".skip").addEventListener("click", (event) => { // the address is the view's
    event.preventDefault();
    const to = list.offsetParent ? list : at("sample-head");
    to.focus();
    to.scrollIntoView({ block: "nearest" });
  });
  addEventListener("resize", draw);
  addEventListener("hashchange", recall);
  if (narrow.matches) document.querySelector(".filters").open = false;
  recall();
})();
