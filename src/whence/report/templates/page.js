// Convenience only: the page says everything without it.
"use strict";

// Click a column head to sort; click again to turn the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      const key = (row) => {
        const cell = row.cells[head.cellIndex];
        const number = Number.parseFloat(cell.dataset.value ?? cell.textContent);
        return Number.isNaN(number) ? cell.textContent : number;
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "number" && typeof y === "number") return x - y;
        return String(x).localeCompare(String(y));
      };
      const rows = [...body.rows].sort((a, b) => (falling ? order(b, a) : order(a, b)));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      body.append(...rows);
    });
  }
}

// Show only the ranked rows of one planted kind.
for (const filter of document.querySelectorAll(".filter:not(.painter)")) {
  filter.hidden = false;
  filter.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of filter.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button === chosen));
    }
    for (const row of filter.parentElement.querySelectorAll("li[data-kind]")) {
      row.hidden = chosen.dataset.kind !== "" && row.dataset.kind !== chosen.dataset.kind;
    }
  });
}

// Colour the sentences of a trace by another of its columns.
for (const painter of document.querySelectorAll(".painter")) {
  const table = painter.parentElement.querySelector("table.trace");
  const buttons = [...painter.querySelectorAll("button")];
  painter.hidden = false;
  painter.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    const column = buttons.indexOf(chosen) + 1; // the first cell of a row is its place
    for (const row of table.rows) {
      [...row.cells].forEach((cell, at) => cell.classList.toggle("chosen", at === column));
      const words = row.querySelector(".words");
      if (!words) continue;
      const shade = [...row.cells[column].classList].filter((name) => /^[pn][1-4]$/.test(name));
      words.className = ["words", ...shade].join(" ");
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
  });
}
