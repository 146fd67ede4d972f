// Tables are sorted by a click on a heading: numbers by value, texts by letter, empty cells last.
"use strict";

function compare(a, b, numeric) {
  if (a === "" || b === "") return (a === "") - (b === "") || 0;
  return numeric ? Number(a) - Number(b) : a.localeCompare(b);
}

function sortBy(heading) {
  const table = heading.closest("table"), column = heading.cellIndex;
  const numeric = heading.classList.contains("number");
  const down = heading.getAttribute("aria-sort") === "ascending";
  const key = row => row.cells[column].dataset.key;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x === "" || y === "" ? compare(x, y) : (down ? -1 : 1) * compare(x, y, numeric);
  });
  table.tBodies[0].append(...rows);
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.parentElement));
}

// A link into a folded part opens it; on paper all are open.
function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

// The planner begins to work when it is first seen, since it measures the room it has.
const planner = document.getElementById("planner");
if (planner) {
  planner.addEventListener("toggle", () => {
    const frame = planner.querySelector("iframe");
    frame.srcdoc ||= frame.dataset.page;
  });
}

const contents = document.querySelector("nav details");
const narrow = matchMedia("(max-width: 70rem)");
const fold = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
