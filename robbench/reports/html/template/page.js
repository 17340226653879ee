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
  plots.filter(visible).forEach(draw);
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", () => {
    plots.filter(visible).forEach(draw);
  }));
  const repaint = () => drawn.forEach((div) => Plotly.relayout(div, theme(div.layout)));
  dark.addEventListener("change", repaint);
  // Paper is white, and narrower than most windows.
  const paper = (printed) => {
    document.documentElement.classList.toggle("printed", printed);
    drawn.forEach((div) => Plotly.relayout(div, { ...theme(div.layout), width: printed ? 680 : null, autosize: !printed }));
  };
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));

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
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(table, heads, column)));
  });
})();
