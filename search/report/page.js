// Draws each figure when it comes near the window: twenty at once would keep a telephone busy for seconds.
(() => {
  const touch = matchMedia("(pointer: coarse)").matches;
  const narrow = () => innerWidth < 560;
  const config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: "reset", showTips: false };

  function fit(layout) {
    const fitted = { ...layout, autosize: true };
    if (touch) fitted.dragmode = false; // a finger scrolls the page, it does not zoom the figure
    if (narrow()) {
      fitted.font = { ...layout.font, size: 11 };
      fitted.margin = { ...layout.margin, l: 4, r: 6 };
    }
    return fitted;
  }

  function draw(place) {
    if (place.dataset.drawn) return;
    place.dataset.drawn = "yes";
    const spec = JSON.parse(place.nextElementSibling.textContent);
    Plotly.newPlot(place, spec.data, fit(spec.layout), config);
  }

  const places = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((seen) => seen.forEach((item) => item.isIntersecting && draw(item.target)), {
    rootMargin: "600px 0px",
  });
  places.forEach((place) => near.observe(place));
  addEventListener("beforeprint", () => places.forEach(draw));

  const contents = document.querySelector("nav details");
  if (contents && innerWidth < 1000) contents.open = false;

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const here = new IntersectionObserver(
    (seen) =>
      seen.forEach((item) => {
        if (!item.isIntersecting) return;
        links.forEach((a) => a.removeAttribute("aria-current"));
        links.get(item.target.id)?.setAttribute("aria-current", "true");
      }),
    { rootMargin: "-10% 0px -80% 0px" },
  );
  document.querySelectorAll("main section[id]").forEach((section) => here.observe(section));
})();
