"use strict";
// Draws the plots: each .chart holds its figure as JSON. Colours are those of the page, light or dark.
{
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
      if (anchor && location.hash === `#${anchor}`) dispatchEvent(new Event("hashchange")); // once more to the same clip
      else if (anchor) location.hash = anchor;
    });
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts) Plotly.relayout(chart, themed(chart.layoutOfPage));
  });
}
