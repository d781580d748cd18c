"use strict";
// Tables that a click on a column's head sorts, and a filter above them narrows. Rows with data-card have a card further down
// the page, which is hidden, shown and put in order with its row.
{
  const cardOf = (row) => document.getElementById(row.dataset.card ?? "");

  function sort(table, head) {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what was not measured comes last in both directions
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return ascending ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
    const cards = [...body.rows].map(cardOf).filter(Boolean);
    if (cards.length) cards[0].parentElement.append(...cards);
  }

  function filter(table, tools) {
    const part = (name) => tools.querySelector(`[data-part=${name}]`);
    const words = part("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = part("status")?.value ?? "";
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.cells[0].textContent.toLowerCase(); // the clip, its whole path and its reason
      const fits = words.every((word) => text.includes(word)) && (!status || row.dataset.status === status);
      row.hidden = !fits;
      if (cardOf(row)) cardOf(row).hidden = !fits;
      shown += fits;
    }
    const all = table.tBodies[0].rows.length;
    part("count").textContent = shown < all ? `${shown} of ${all} clips` : `${all} ${all === 1 ? "clip" : "clips"}`;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => sort(table, button.closest("th")));
    }
    const tools = document.querySelector(`.tools[data-table="${table.id}"]`);
    if (!tools) continue;
    const narrow = () => filter(table, tools);
    tools.addEventListener("input", narrow);
    tools.querySelector("[data-part=paths]")?.addEventListener("change", (event) => {
      document.body.classList.toggle("paths", event.target.checked);
    });
    addEventListener("hashchange", () => {
      const target = document.getElementById(location.hash.slice(1));
      if (!target) return;
      if (target.hidden) {
        for (const field of tools.querySelectorAll("input[type=search], select")) field.value = ""; // a point may lead to any clip
        narrow();
      }
      target.scrollIntoView();
    });
    narrow(); // a browser that goes back keeps what was typed
  }
}
