// Start: the data, the explorer, links into it, buttons that copy command lines.

(() => {
  const data = load(JSON.parse(byId("data").textContent));
  // Before anything reads the address as an SLO and writes it anew.
  if (new URLSearchParams(location.hash.slice(1)).has("selftest")) byId("selftest-result").textContent = selftest(data);
  const explorer = new Explorer(data);
  explorer.recall();
  // Anchors of the page's sections are no SLO.
  window.addEventListener("hashchange", () => location.hash.includes("=") && explorer.recall());
  byId("controls").addEventListener("submit", (event) => event.preventDefault());

  for (const block of document.querySelectorAll(".command")) {
    const button = element(block.querySelector("p"), "button", "Copy", { type: "button" });
    button.addEventListener("click", async () => {
      const code = block.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        // Not allowed here: select it, so that a key press copies.
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
})();
