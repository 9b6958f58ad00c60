// Tables: a heading sorts, a field filters. Both say what they did.
(() => {
  const status = document.getElementById("status");
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.trim() : Number(cell.dataset.sort);
  };

  const compare = (one, other) => {
    const numbers = [one, other].map((value) => typeof value === "number");
    if (numbers[0] && numbers[1]) return one - other;
    return words.compare(one, other);
  };

  const sort = (table, column, order) => {
    const numeric = table.tHead.rows[0].cells[column].classList.contains("number");
    const missing = (value) => numeric && typeof value !== "number";
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([one], [other]) => {
      if (missing(one) || missing(other)) return missing(one) - missing(other); // last in either order
      return order * compare(one, other);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll(".scroll table")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const first = heading.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((each) => each.setAttribute("aria-sort", each === heading ? order : "none"));
      sort(table, column, order === "ascending" ? 1 : -1);
      status.textContent = `Sorted by ${heading.textContent.trim()}, ${order}`;
    }));
  }

  for (const field of document.querySelectorAll("[data-filters]")) {
    const place = document.getElementById(field.dataset.filters);
    const rows = [...place.querySelectorAll("tbody tr")], count = place.querySelector(".count");
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = field.value.trim() ? `${shown} of ${rows.length} rows` : "";
    });
  }
})();
