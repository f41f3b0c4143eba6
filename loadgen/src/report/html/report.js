// What plots tell under the pointer: beside the axis, and in all plots over time at once. Without
// this the browser shows the same words by itself.
const told = new Map();
for (const hint of document.querySelectorAll(".hint")) {
  const title = hint.querySelector("title");
  told.set(hint, title.textContent);
  title.remove();
}
const tell = (hint, figure) => {
  for (const old of document.querySelectorAll(".hint.here")) old.classList.remove("here");
  for (const old of document.querySelectorAll(".reading")) old.textContent = "";
  if (!hint) return;
  const same = figure.matches(".over-time")
    ? document.querySelectorAll(`.over-time .hint[x="${CSS.escape(hint.getAttribute("x"))}"]`)
    : [hint];
  for (const one of same) {
    one.classList.add("here");
    one.closest(".plot").querySelector(".reading").textContent = told.get(one);
  }
};
for (const figure of document.querySelectorAll(".plot")) {
  figure.addEventListener("pointermove", (event) => tell(event.target.closest(".hint"), figure));
  figure.addEventListener("pointerleave", () => tell(null, figure));
}
