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

const FRAME = 1 / 24; // seconds of a step: a browser does not tell how long a frame is shown

for (const player of document.querySelectorAll(".player")) {
  const videos = [...player.querySelectorAll("video")];
  const [range, speed, play] = ["input", "select", "[data-do=play]"].map((part) => player.querySelector(part));
  if (!videos.length) continue;
  const longest = () => videos.reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a));
  const seek = (share) => {
    for (const video of videos) video.currentTime = share * (video.duration || 0);
    range.value = 1000 * share;
  };
  const share = () => longest().currentTime / (longest().duration || 1);
  let playing = false;

  function follow() {
    if (!playing) return;
    const [lead, at] = [longest(), share()];
    for (const video of videos) {
      const wanted = at * (video.duration || 0);
      if (video !== lead && Math.abs(video.currentTime - wanted) > 0.1) video.currentTime = wanted;
      video.playbackRate = (speed.value * (video.duration || 1)) / (lead.duration || 1);
    }
    range.value = 1000 * at;
    if (lead.ended) {
      seek(0);
      for (const video of videos) video.play();
    }
    requestAnimationFrame(follow);
  }

  function set(now) {
    playing = now;
    play.textContent = now ? "Pause" : "Play";
    for (const video of videos) now ? video.play() : video.pause();
    if (now) requestAnimationFrame(follow);
  }

  function step(frames) {
    set(false);
    seek(Math.min(Math.max(share() + (frames * FRAME) / (longest().duration || 1), 0), 1));
  }

  play.addEventListener("click", () => set(!playing));
  player.querySelector("[data-do=back]").addEventListener("click", () => step(-1));
  player.querySelector("[data-do=on]").addEventListener("click", () => step(1));
  range.addEventListener("input", () => {
    set(false);
    seek(range.value / 1000);
  });
}
