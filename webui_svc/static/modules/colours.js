// The colours of the page, as a canvas needs them.

export const SERIES = 8;

export function pageColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const size = parseFloat(style.fontSize);
  return {
    ...Object.fromEntries(["line", "fill", "grid", "quiet", "ink", "card", "good", "late", "bad", "shade"].map((name) => [name, colour(name)])),
    series: [...Array.from({ length: SERIES }, (_, index) => colour(`series-${index + 1}`)), colour("others")],
    font: `${Math.round(size * 0.8)}px system-ui, sans-serif`,
    size,
  };
}

// Returns what ends it.
export function onColourChange(listener) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", listener);
  document.addEventListener("restyled", listener);
  return () => {
    dark.removeEventListener("change", listener);
    document.removeEventListener("restyled", listener);
  };
}
