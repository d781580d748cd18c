"use strict";
const charts = [...document.querySelectorAll(".chart")];

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: color("--line"), linecolor: color("--line"), tickfont: { color: color("--quiet") } };
  return {
    ...layout,
    colorway: [color("--first"), color("--second"), color("--third")],
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("--ink") },
    hoverlabel: { bgcolor: color("--panel"), bordercolor: color("--line"), font: { color: color("--ink") } },
    xaxis: { ...layout.xaxis, ...axis },
    yaxis: { ...layout.yaxis, ...axis },
  };
}

for (const chart of charts) {
  const figure = JSON.parse(chart.querySelector("script").textContent);
  chart.layoutOfPage = figure.layout;
  Plotly.newPlot(chart, figure.data, themed(figure.layout), { displayModeBar: false, responsive: true });
  chart.on("plotly_click", (event) => {
    const anchor = event.points[0].customdata;
    if (anchor) location.hash = anchor;
  });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) Plotly.relayout(chart, themed(chart.layoutOfPage));
});

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const value = (row) => row.children[head.cellIndex].dataset.value ?? "";
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return ascending ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
