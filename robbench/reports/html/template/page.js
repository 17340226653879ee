"use strict";
(() => {
  const config = JSON.parse(document.getElementById("plotly-config").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Figures carry the colours of data; those of text and lines are the page's.
  const theme = (layout) => {
    const changes = {
      "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--panel"), "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--ink"), "modebar.color": colour("--soft"), "modebar.activecolor": colour("--ink"),
    };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      changes[`${axis}.gridcolor`] = colour("--grid");
      changes[`${axis}.linecolor`] = colour("--line");
    }
    return changes;
  };
  if (matchMedia("(hover: none)").matches) config.displayModeBar = false; // it would lie over the figure all the time
  const drawn = new Set();
  const draw = (div) => {
    if (drawn.has(div)) return;
    drawn.add(div);
    const figure = JSON.parse(document.querySelector(`script[data-for="${div.id}"]`).textContent);
    const layout = { ...figure.layout, height: Number(div.dataset.height) };
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger on a figure scrolls the page
    Plotly.newPlot(div, figure.data, layout, config).then(() => {
      // The label of the figure says what it shows; ticks and numbers read out one by one would not.
      div.querySelectorAll("svg.main-svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
      return Plotly.relayout(div, theme(layout));
    });
  };
  const visible = (div) => !div.closest("details:not([open])");
  const plots = [...document.querySelectorAll(".plot")];
  if (!window.Plotly) { // the library could not be loaded: the numbers have to do
    plots.forEach((div) => {
      const figure = div.closest("figure"), note = document.createElement("p");
      note.className = "missing";
      note.textContent = "This figure needs the network: its library could not be loaded. Its numbers are in the table below.";
      div.replaceWith(note);
      figure.querySelectorAll("details.data").forEach((details) => { details.open = true; });
    });
    plots.length = 0;
  }
  plots.filter(visible).forEach(draw);
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", () => {
    plots.filter(visible).forEach(draw);
  }));
  const repaint = () => drawn.forEach((div) => Plotly.relayout(div, theme(div.layout)));
  dark.addEventListener("change", repaint);
  // Paper is white, and narrower and shorter than most windows.
  const short = (height) => Math.min(Math.max(0.6 * height, 250), Math.max(0.35 * height, 410), 900);
  const paper = (printed) => {
    document.documentElement.classList.toggle("printed", printed);
    drawn.forEach((div) => {
      const titles = (div.layout.annotations ?? []).map((_, i) => [`annotations[${i}].font.size`, printed ? 8 : 13]);
      Plotly.relayout(div, {
        ...theme(div.layout), ...Object.fromEntries(titles), width: printed ? 680 : null, autosize: !printed,
        height: printed ? short(Number(div.dataset.height)) : Number(div.dataset.height),
        "font.size": printed ? 9 : 13,
      });
    });
  };
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));

  // A figure as a file, in the colours of paper; also for those without a mouse.
  const save = (button) => {
    const div = document.getElementById(button.dataset.of), layout = structuredClone(div.layout);
    document.documentElement.classList.add("printed");
    for (const [path, value] of Object.entries(theme(layout))) {
      const keys = path.split("."), last = keys.pop();
      keys.reduce((part, key) => (part[key] ??= {}), layout)[last] = value;
    }
    document.documentElement.classList.remove("printed");
    const size = { width: div.clientWidth, height: Number(div.dataset.height) };
    return Plotly.downloadImage({ data: div.data, layout }, { ...size, format: "svg", filename: div.id });
  };
  document.querySelectorAll("button.save").forEach((button) => {
    button.hidden = !window.Plotly;
    button.addEventListener("click", () => save(button));
  });

  // Tables that are wider than the page say so.
  const measure = () => document.querySelectorAll(".scroll").forEach((box) => {
    box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
  });
  addEventListener("resize", measure);
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", measure));
  measure();

  // Tables: a press on a title sorts by it, another one turns it round; cells without a value stay last.
  const sort = (table, heads, column) => {
    const order = heads[column].getAttribute("aria-sort") === "descending" ? "ascending" : heads[column].hasAttribute("aria-sort") ? "descending"
      : heads[column].classList.contains("number") ? "descending" : "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => {
      const cell = row.cells[column];
      return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent.trim();
    };
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    for (const body of table.tBodies) {
      body.append(...[...body.rows].filter((row) => !row.classList.contains("group")).sort(compare));
    }
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(table, heads, column)));
  });
})();
