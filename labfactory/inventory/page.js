const rows = [...document.querySelectorAll("tbody tr")];
const texts = rows.map((row) => row.textContent.toLowerCase());
document.getElementById("search").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  rows.forEach((row, n) => { row.hidden = !words.every((word) => texts[n].includes(word)); });
  for (const section of document.querySelectorAll("section")) {
    const left = section.querySelectorAll("tbody tr:not([hidden])").length;
    section.hidden = words.length > 0 && left === 0;
    section.querySelector("small").textContent = left;
  }
});
