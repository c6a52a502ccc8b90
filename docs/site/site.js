// What the theme leaves out for readers without a mouse or a screen: the level of the menu's headings, and a way to scroll.
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".caption[role=heading]").forEach(caption => caption.setAttribute("aria-level", "2"));
  document.querySelectorAll("pre, .table-wrapper, .output").forEach(box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
});
